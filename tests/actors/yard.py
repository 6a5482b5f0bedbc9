"""A Puller in its yard: a real queue, Runners and a Completer that do what the test says."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from pykka import ActorRef

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import (
    Adopt,
    Adopted,
    Broke,
    Cancel,
    Drain,
    Holding,
    Outcomes,
    Progress,
    Ready,
    Release,
    Returned,
    Run,
    Settled,
    Wake,
)
from mill_actors.actors.puller import Puller
from mill_actors.events import Moved
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.script import Script, ScriptOptions, make_script
from mill_actors.store.client import Client
from mill_actors.store.submission import Submission
from supervisors import SHUTDOWN, DynamicSupervisor, Process, ProcessRef, stop
from tests.system.proxy import wait_until

WORKER = "worker"


class Hand(Process):
    """Takes the place of a Runner: holds what it gets, and does nothing by itself."""

    def init(
        self,
        context: NodeContext,
        worker: str,
        number: int,
        script: Script,
        completer: str,
        puller: ActorRef[Any],
    ) -> None:
        yard = YARDS[context.node]
        self.yard = yard
        self.number = number
        self.script = script
        self.puller = puller
        self.held: list[ClaimedJob] = []
        self.is_ready = False
        self.is_draining = False
        self.is_obedient = True
        self.returns = 0
        if yard.spawn_error is not None:
            raise yard.spawn_error
        yard.hands.put(self)

    def handle(self, message: Any) -> object:
        match message:
            case Run(jobs):
                self.held.extend(jobs)
                self.yard.runs.put((self.number, list(jobs)))
            case Holding():
                return frozenset(job.id for job in self.held)
            case Adopt(puller):
                self.puller = puller
                return Adopted(
                    self.number, self.script, frozenset(job.id for job in self.held), self.is_ready,
                    self.is_draining,
                )  # fmt: skip
            case Drain():
                self.is_draining = True
                self.yard.drained.put(self.number)
                if self.is_obedient:
                    self.exit()
            case Cancel(jobs):
                self.yard.cancels.put((self.number, jobs))
            case _:
                return message(self)
        return None


class Ledger(Process):
    """Takes the place of the Completer: remembers what it was told."""

    def init(self, yard: Yard) -> None:
        self.yard = yard
        self.holding: frozenset[str] = frozenset()

    def handle(self, message: Outcomes | Release | Holding) -> object:
        if isinstance(message, Holding):
            return self.yard.in_completer
        self.yard.told.put(message)
        return None


class WatchedPuller(Puller):
    """A Puller that can be waited for until it has been idle."""

    handled = 0
    rested = 0

    def handle(self, message: Any) -> None:
        super().handle(message)
        self.handled += 1

    def idle(self) -> None:
        handled = self.handled
        super().idle()
        self.rested = handled


YARDS: dict[str, Yard] = {}


@dataclass
class Yard:
    """The Puller and everything around it."""

    context: NodeContext
    client: Client
    look: psycopg.Connection[Any]
    hands: queue.SimpleQueue[Hand] = field(default_factory=queue.SimpleQueue)
    runs: queue.SimpleQueue[tuple[int, list[ClaimedJob]]] = field(default_factory=queue.SimpleQueue)
    drained: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    cancels: queue.SimpleQueue[tuple[int, frozenset[str]]] = field(default_factory=queue.SimpleQueue)
    told: queue.SimpleQueue[Outcomes | Release] = field(default_factory=queue.SimpleQueue)
    claims: queue.SimpleQueue[Moved] = field(default_factory=queue.SimpleQueue)
    in_completer: frozenset[str] = frozenset()
    spawn_error: Exception | None = None
    puller: ProcessRef[WatchedPuller] | None = None
    completer: ProcessRef[Ledger] | None = None
    runners: ProcessRef[DynamicSupervisor] | None = None

    # -- the cast ------------------------------------------------------------------

    def open(self) -> None:
        YARDS[self.context.node] = self
        at = self.context.address
        self.completer = Ledger.spawn(self, name=at("worker/completer"))
        self.runners = DynamicSupervisor.spawn(name=at("worker/runners"))
        self.context.events.subscribe(self.claims.put)

    def start(self) -> ProcessRef[WatchedPuller]:
        at = self.context.address
        self.puller = WatchedPuller.spawn(
            self.context, WORKER, at("worker/runners"), at("worker/completer"), name=at("worker/puller")
        )
        return self.puller

    def close(self) -> None:
        self.context.hurry.set()
        for ref in (self.puller, self.runners, self.completer):
            if ref is not None:
                stop(ref, SHUTDOWN, 15.0)
        del YARDS[self.context.node]

    @property
    def ref(self) -> ProcessRef[WatchedPuller]:
        assert self.puller is not None
        return self.puller

    def tell(self, message: object) -> None:
        self.ref.tell(message)

    def settle(self) -> None:
        """Return once the Puller has handled everything so far, and has been idle."""
        self.ref.ask(Wake(frozenset()), timeout=15.0)
        actor = self.ref.actor()
        assert actor is not None
        handled = actor.handled
        wait_until(lambda: actor.rested >= handled, "the Puller has nothing to do")

    # -- jobs ----------------------------------------------------------------------

    def deploy(self, name: str = "a", body: str = "1", **options: Any) -> Script:
        script = make_script(
            "default", f"f/test/{name}", "python3", f"def main(): return {body}", ScriptOptions(**options)
        )
        self.client.deploy(script)
        return script

    def submit(self, count: int, name: str = "a", **options: Any) -> list[str]:
        given = [Submission(path=f"f/test/{name}", **options) for _ in range(count)]
        return [receipt.id for receipt in self.client.submit_many(given)]

    def wake(self) -> None:
        self.tell(Wake())
        self.settle()

    def held(self) -> set[str]:
        """What the database says that this worker holds."""
        rows = self.look.execute(
            "select id::text from mill.queue where running and node = %s", [self.context.node]
        )
        return {row[0] for row in rows.fetchall()}

    # -- what the Runners do -------------------------------------------------------

    def hand(self, timeout: float = 10.0) -> Hand:
        """The next Runner that was started."""
        return self.hands.get(timeout=timeout)

    def ready(self, hand: Hand) -> None:
        hand.is_ready = True
        self.tell(Ready(hand.number, 0.01))
        self.settle()

    def run(self, timeout: float = 10.0) -> tuple[int, list[ClaimedJob]]:
        """The next `Run` that a Runner got."""
        return self.runs.get(timeout=timeout)

    def finish(self, hand: Hand, jobs: Sequence[ClaimedJob], us_each: int = 100) -> None:
        """Be done with these, and let the Completer be done with them too."""
        ids = [job.id for job in jobs]
        hand.held[:] = [job for job in hand.held if job.id not in ids]
        self.look.execute("delete from mill.queue where id = any (%s::uuid[])", [ids])
        self.tell(Progress(hand.number, len(jobs), us_each * len(jobs)))
        self.tell(Settled(len(jobs), 0))
        self.settle()

    def give_back(self, hand: Hand, jobs: Sequence[ClaimedJob], *, ends: bool = False) -> None:
        ids = [job.id for job in jobs]
        hand.held[:] = [job for job in hand.held if job.id not in ids]
        hand.returns += 1
        self.tell(Returned(hand.number, jobs, hand.returns, ends))
        self.settle()

    def broke(self, hand: Hand, jobs: Sequence[ClaimedJob], error: bytes) -> None:
        """Fail to import, as a Runner does: its jobs are its own business."""
        hand.held.clear()
        self.tell(Broke(hand.number, error))
        self.tell(Progress(hand.number, len(jobs), -1))
        self.end(hand)
        self.settle()

    @staticmethod
    def end(hand: Hand, *, crash: bool = False) -> None:
        """Make a Runner end; what it holds it takes with it."""

        def leave(self: Hand) -> None:
            if crash:
                raise RuntimeError("told to crash")
            self.exit()

        ref = hand.actor_ref
        ref.tell(leave)
        assert ref.exited.wait(10.0)

    # -- what the Completer heard ----------------------------------------------------

    def heard(self) -> list[Outcomes | Release]:
        if self.ref.is_alive():
            self.settle()
        if self.completer is not None and self.completer.is_alive():
            self.completer.ask(Holding(), timeout=10.0)
        found = []
        while not self.told.empty():
            found.append(self.told.get())
        return found

    def wait_for(self, condition: Any, what: str) -> None:
        wait_until(condition, what)


Yarder = Callable[..., Yard]
