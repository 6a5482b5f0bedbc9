"""The Completer: outcomes become rows, in one transaction a batch.

Group commit without a timer: while one commit is under way, outcomes gather in the inbox; when it
is done the inbox is drained and the next commit takes all of them. What Postgres refuses is found
by halving the batch and fails alone. An outage makes it wait, not crash: the outcomes stay here, and
the Puller, which hears of nothing settled, claims nothing more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from functools import partial
from time import monotonic
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.held_flows import HeldFlows
from mill_actors.actors.messages import (
    Begin,
    CancelFlows,
    CancelRequested,
    FlowTimer,
    Handed,
    Holding,
    Outcomes,
    Release,
    Settled,
)
from mill_actors.errors import StoreRefused, StoreUnavailable
from mill_actors.events import Moved
from mill_actors.flows.effects import NewJob
from mill_actors.flows.expressions import Evaluator
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.lifecycle import Action, State, move
from mill_actors.jobs.outcome import Outcome, Verdict, error_result
from mill_actors.runtimes.warm import shared_folders
from mill_actors.store import settlement
from mill_actors.store.claims import claimed_jobs, release_jobs
from mill_actors.store.connection import Connection, Session
from mill_actors.store.flow_values import Library
from mill_actors.store.flow_versions import FLOW_TAG
from mill_actors.store.jobs import job_attempts
from mill_actors.store.logs import LogChunk, write_what_goes
from mill_actors.store.nodes import MAX_RESCUES
from mill_actors.store.notify import ring_queue, ring_settled
from mill_actors.store.settlement import FlowPart, Retrial
from mill_actors.store.transitions import FlowWorker
from supervisors import Process, Reason, send, send_after

logger = logging.getLogger(__name__)

#: A commit takes at most this many jobs: beyond it the time per job no longer falls.
MAX_BATCH = 1000
#: … that many flows that begin: each may start several steps
MAX_BEGUN = 200
#: … and at most this much result text, unless one job alone has more.
MAX_BATCH_BYTES = 32 * 1024 * 1024

_ACTIONS = {
    Verdict.SUCCESS: Action.SUCCEED,
    Verdict.FAILURE: Action.FAIL,
    Verdict.CANCELLED: Action.CANCEL,
}


_ENDINGS = {
    "success": Action.SUCCEED,
    "failure": Action.FAIL,
    "cancelled": Action.CANCEL,
    "skipped": Action.SKIP,
}


class Completer(Process):
    """One per worker, with a connection of its own."""

    idle_every = 64

    def init(self, context: NodeContext, worker: str, puller: str) -> None:
        self._context = context
        self._holder = context.holder(worker)
        self._puller = puller
        self._session = Session(context.database, "mill completer")
        self._finished: list[Outcome] = []
        self._retried: list[Retrial] = []
        self._logs: list[LogChunk] = []
        self._released: list[ClaimedJob] = []
        self._begun: list[ClaimedJob] = []
        #: asked for while their flows were about to begin
        self._cancels: set[str] = set()
        self._flows = FlowWorker(self._holder, Library(), Evaluator(), self._takes)
        self._held = HeldFlows(
            self._holder,
            self._flows.library,
            self._flows.evaluator,
            shared_folders(context.config),
            self._cancel_steps,
            self._later,
        )
        #: steps on their way to the Puller, each with the serial of its message and its claim
        self._handed: dict[str, tuple[int, str]] = {}
        self._handovers = 0
        #: of the batch in hand: ids that failed because Postgres refused their result
        self._refused: set[str] = set()

    def handle(self, message: Outcomes | Begin | CancelFlows | FlowTimer | Release | Holding) -> object:
        match message:
            case Outcomes(finished, retried, logs):
                if self._handed:
                    # What has come back has arrived.
                    for outcome in finished:
                        self._handed.pop(outcome.job.id, None)
                if self._held.flows:
                    finished, retried, logs = self._hear_held(finished, retried, logs)
                self._finished.extend(finished)
                if retried:
                    self._retried.extend(retried)
                if logs:
                    self._logs.extend(logs)
            case CancelFlows(flows):
                self._held.cancel(flows)
                if self._begun:
                    self._cancels |= flows.difference(self._held.flows)
            case FlowTimer(flow, what):
                self._held.wake(flow, what)
            case Begin(jobs):
                self._begun.extend(jobs)
            case Release(jobs):
                for job in jobs:
                    self._handed.pop(job.id, None)
                ours = [job for job in jobs if self._held.owns(job.id)]
                for job in ours:
                    self._held.give_back(job)
                if ours:
                    send(self._puller, Settled(len(ours), 0))
                self._released += [job for job in jobs if not self._held.owns(job.id)]
            case Holding(seen, here):
                self._handed = {job: sent for job, sent in self._handed.items() if sent[0] > seen}
                self._held.lost(here.union(self._handed))
                return frozenset(
                    [o.job.id for o in self._finished]
                    + [r.outcome.job.id for r in self._retried]
                    + [job.id for job in self._released]
                    + [job.id for job in self._begun]
                    + list(self._handed)
                    + list(self._held.holding())
                )
            case _:
                assert_never(message)
        return None

    def idle(self) -> None:
        while self._finished or self._retried or self._begun:
            if not self._settle():
                return
        if (self._held.has_work or self._held.to_hand or self._held.broken) and not self._settle_held():
            return
        if self._released:
            self._release()

    def terminate(self, reason: Reason) -> None:
        self._give_up_flows()
        self._session.close()

    # -- settling ------------------------------------------------------------------

    def _settle(self) -> bool:
        """Settle one batch; False if we were stopped before the database came back."""
        finished, self._finished = _cut(self._finished)
        retried, self._retried = self._retried, []
        logs, self._logs = self._logs, []
        begun, self._begun = self._begun[:MAX_BEGUN], self._begun[MAX_BEGUN:]
        if begun:
            others = self._begin_held(begun)
            if others is None:
                return False
            begun = others
            if not (finished or retried or begun):
                return True
        part = FlowPart(self._flows, new_id(), begun)
        self._refused.clear()
        began = monotonic()
        done = self._session.insist(
            lambda connection, failed: self._write(connection, finished, retried, logs, part, failed),
            self._give_up(),
            "settle",
        )
        if done is None:
            # They stay `running` under our claims; the Rescuer brings them back.
            logger.error(
                "stopped during an outage: %d outcomes are not written", len(finished) + len(retried)
            )
            return False
        if done.handed:
            self._hand_over(done.handed)
        self._tell(finished, retried, begun, done)
        for job in done.cancelled:
            self._cancel_flow(job)
        self.info = {
            "batch": len(finished) + len(retried),
            "commit_ms": round((monotonic() - began) * 1000, 1),
        }
        return True

    # -- flows that are held whole -------------------------------------------------

    def _hear_held(
        self, finished: Sequence[Outcome], retried: Sequence[Retrial], logs: Sequence[LogChunk]
    ) -> tuple[Sequence[Outcome], Sequence[Retrial], Sequence[LogChunk]]:
        """Tell the flows in hand what became of their steps; return the rest."""
        held = self._held
        held.hear_logs(chunk for chunk in logs if held.owns(chunk.job))
        logs = [chunk for chunk in logs if not held.owns(chunk.job)]
        heard, size = 0, 0
        for retrial in retried:
            if held.owns(retrial.outcome.job.id):
                heard += 1  # it will be handed over, and counted, again
                held.hear_retrial(retrial)
        retried = [r for r in retried if not held.owns(r.outcome.job.id)]
        rest: list[Outcome] = []
        for outcome in finished:
            if held.owns(outcome.job.id):
                heard += 1
                size += len(outcome.result)
                held.hear(outcome)
            else:
                rest.append(outcome)
        if heard:
            send(self._puller, Settled(heard, size))
        return rest, retried, logs

    def _begin_held(self, begun: Sequence[ClaimedJob]) -> list[ClaimedJob] | None:
        """Take the flows that are held whole; return the others, None if we were stopped before that."""
        broken = [job for job in begun if job.rescues > MAX_RESCUES]
        if broken:
            why = f"the flow's worker died {MAX_RESCUES + 1} times while it held this flow"
            self._held.broken += [(job, why) for job in broken]
            self._held.out += sum(job.tag != FLOW_TAG for job in broken)
        sound = [job for job in begun if job.rescues <= MAX_RESCUES]
        others = self._session.insist(
            lambda connection, _: self._held.begin(connection, sound), self._give_up(), "begin"
        )
        if others is not None:
            if self._cancels:
                self._held.cancel(self._cancels)
                self._cancels.clear()
            taken = len(begun) - len(others)
            if taken:
                # They are counted as flows from now on, and their steps as jobs.
                send(self._puller, Settled(taken, 0))
        return others

    def _settle_held(self) -> bool:
        """Make one round of all flows in hand; False if we were stopped before the database came back."""
        held = self._held
        done = self._session.insist(self._round, self._give_up(), "settle flows")
        if done is None:
            logger.error("stopped during an outage: %d flows are not written", len(held.flows))
            return False
        if held.to_hand:
            jobs, held.to_hand = held.to_hand, []
            self._hand_over(jobs)
        ended, held.ended = held.ended, []
        stale, held.stale = held.stale, []
        if stale:
            self._context.counters.stale += len(stale)
            logger.warning("%d flows were not ours any more: %s", len(stale), ", ".join(stale[:3]))
        if held.out:
            send(self._puller, Settled(0, 0, held.out))
            held.out = 0
        self._publish_ended(ended)
        awaited, held.awaited = held.awaited, []
        tags, held.tags = held.tags, set()
        if awaited or tags:
            self._ring(awaited, frozenset(tags))
        return True

    def _round(self, connection: Connection, failed: int) -> bool:
        held = self._held
        held.round(connection, failed)
        while held.broken:
            job, why = held.broken[0]
            done = settlement.settle_broken_flow(connection, self._flows, new_id(), job, why)
            del held.broken[0]
            held.awaited += done.awaited
            held.tags |= done.admitted_tags
            held.ended += done.ended
            held.to_hand += done.handed
        return True

    def _give_up_flows(self) -> None:
        """On a stop give the flows back as they are: somebody else goes on with them.

        And steps that were handed over while the Puller was stopping: nobody has taken them.
        """
        fences = self._held.fences()
        fences += [(job, claim) for job, (_, claim) in self._handed.items() if not self._held.owns(job)]
        if not fences:
            return
        try:
            gone = self._session.run(lambda connection: release_jobs(connection, fences))
            self._ring((), frozenset(tag for _, tag in gone))
        except (StoreUnavailable, StoreRefused) as error:
            logger.warning("%d flows are left to the Rescuer: %s", len(fences), error)

    def _cancel_steps(self, steps: Iterable[str]) -> None:
        send(self._puller, CancelRequested(frozenset(steps)))

    def _later(self, seconds: float, flow: str, what: str) -> None:
        send_after(seconds, self.actor_ref, FlowTimer(flow, what))

    # -- steps that go through the queue -------------------------------------------

    def _cancel_flow(self, job: ClaimedJob) -> None:
        done = self._session.insist(
            lambda connection, _: settlement.cancel_claimed_flow(connection, self._flows, new_id(), job),
            self._give_up(),
            "cancel a flow",
        )
        if done is None:
            return
        if done.handed:
            self._hand_over(done.handed)
        self._publish_ended(done.ended)
        self._ring(done.awaited, done.admitted_tags)

    def _takes(self, job: NewJob, tag: str) -> bool:
        return job.delay_seconds <= 0 and not self.stop_requested.is_set() and self._context.credit.take(tag)

    def _hand_over(self, jobs: Sequence[ClaimedJob]) -> None:
        self._handovers += 1
        self._handed.update({job.id: (self._handovers, job.claim) for job in jobs})
        self._context.events.publish(
            Moved(Action.CLAIM, State.QUEUED, State.RUNNING, [job.id for job in jobs], self._holder.worker)
        )
        send(self._puller, Handed(jobs, self._handovers))

    def _write(
        self,
        connection: Connection,
        finished: Sequence[Outcome],
        retried: Sequence[Retrial],
        logs: Sequence[LogChunk] = (),
        flows: FlowPart | None = None,
        failed: int = 0,
    ) -> settlement.Settled:
        # The reply to an earlier COMMIT may be lost: what we have written ourselves is not stale.
        ours = self._landed(connection, finished, retried) if failed else frozenset[str]()
        taken: list[ClaimedJob] = []
        if failed and flows is not None:
            # … and what we have taken under the claim of that batch is ours.
            taken = claimed_jobs(connection, self._holder, flows.claim)
        if ours:
            finished = [o for o in finished if o.job.id not in ours]
            retried = [r for r in retried if r.outcome.job.id not in ours]
            logs = [chunk for chunk in logs if chunk.job not in ours]
        try:
            done = settlement.settle(connection, finished, retried, logs, flows)
        except StoreRefused as error:
            done = self._isolate(connection, finished, retried, logs, flows, error)
        return settlement.Settled(
            done.stale,
            (*done.awaited, *ours),
            done.admitted_tags,
            (*done.handed, *taken),
            done.ended,
            done.cancelled,
        )

    def _landed(
        self, connection: Connection, finished: Sequence[Outcome], retried: Sequence[Retrial]
    ) -> frozenset[str]:
        """Return which of these are written already."""
        ours = settlement.landed(connection, self._holder.worker, [o.job.id for o in finished])
        for retrial in retried:
            job = retrial.outcome.job
            attempts = job_attempts(connection, job.workspace, job.id)
            if any(attempt.attempt == job.attempt for attempt in attempts):
                ours.add(job.id)
        return frozenset(ours)

    def _isolate(
        self,
        connection: Connection,
        finished: Sequence[Outcome],
        retried: Sequence[Retrial],
        logs: Sequence[LogChunk],
        flows: FlowPart | None,
        error: StoreRefused,
    ) -> settlement.Settled:
        """Halve the batch until the row that Postgres refuses is alone, and fail that job."""
        begun = [] if flows is None else flows.begun
        worker, claim = (None, "") if flows is None else (flows.worker, flows.claim)

        def part(of: Sequence[ClaimedJob]) -> FlowPart | None:
            return None if worker is None else FlowPart(worker, claim, of)

        write = partial(self._write, connection)
        if logs:
            # Settled first, so that what a job printed can't cost it its result.
            parts = [write(finished, retried, (), flows)]
            write_what_goes(connection, logs)
        elif begun and (finished or retried):
            parts = [write(finished, retried, (), part(())), write((), (), (), part(begun))]
        elif finished and retried:
            parts = [write(finished, (), (), part(())), write((), retried)]
        elif len(begun) > 1:
            half = len(begun) // 2
            parts = [write((), (), (), part(begun[:half])), write((), (), (), part(begun[half:]))]
        elif begun:
            assert worker is not None
            return settlement.settle_broken_flow(connection, worker, claim, begun[0], str(error))
        elif len(finished) + len(retried) > 1:
            half, rest = len(finished) // 2, len(retried) // 2
            halves = [(finished[:half], retried[:rest]), (finished[half:], retried[rest:])]
            parts = [write(some, others, (), part(())) for some, others in halves if some or others]
        else:
            outcome = finished[0] if finished else retried[0].outcome
            if outcome.job.step is not None and (error.sqlstate is None or outcome.job.id in self._refused):
                # Not its result, but what its flow makes of it: the step ends, the flow is looked at anew.
                return settlement.settle_apart(connection, outcome)
            logger.warning("job %s: the database refused its result: %s", outcome.job.id, error)
            self._refused.add(outcome.job.id)
            failed = Outcome(
                outcome.job,
                Verdict.FAILURE,
                error_result("ResultRefused", f"the database refused the result: {error}".strip()),
                0,  # its duration may be what was refused
                monotonic(),
            )
            return write([failed], (), (), part(()))
        return settlement.Settled(
            frozenset().union(*(each.stale for each in parts)),
            tuple(job for each in parts for job in each.awaited),
            frozenset().union(*(each.admitted_tags for each in parts)),
            tuple(job for each in parts for job in each.handed),
            tuple(end for each in parts for end in each.ended),
            tuple(job for each in parts for job in each.cancelled),
        )

    def _tell(
        self,
        finished: Sequence[Outcome],
        retried: Sequence[Retrial],
        begun: Sequence[ClaimedJob],
        done: settlement.Settled,
    ) -> None:
        size = sum([len(o.result) for o in finished])
        send(self._puller, Settled(len(finished) + len(retried) + len(begun), size))
        stale = done.stale
        if stale:
            self._context.counters.stale += len(stale)
            logger.warning(
                "%d finishes were stale and are dropped: %s", len(stale), ", ".join(sorted(stale)[:3])
            )
        events = self._context.events
        refused = self._refused
        unlike = stale | refused if refused else stale
        for verdict, action in _ACTIONS.items():
            ids = [o.job.id for o in finished if o.verdict is verdict and o.job.id not in unlike]
            if verdict is Verdict.FAILURE and refused:
                ids += refused - stale
            if ids:
                after = move(State.RUNNING, action)
                events.publish(Moved(action, State.RUNNING, after, ids, self._holder.worker))
        if retried:
            ids = [r.outcome.job.id for r in retried if r.outcome.job.id not in unlike]
            events.publish(Moved(Action.RETRY, State.RUNNING, State.QUEUED, ids, self._holder.worker))
        tags = done.admitted_tags
        if retried:
            # So that a Puller learns when they fall due.
            tags = tags | {r.outcome.job.tag for r in retried}
        self._publish_ended(done.ended)
        if done.awaited or tags:
            self._ring(done.awaited, tags)

    def _publish_ended(self, ended: Sequence[tuple[str, str]]) -> None:
        for status, action in _ENDINGS.items():
            flows = [flow for flow, became in ended if became == status]
            after = move(State.RUNNING, action)
            self._context.events.publish(Moved(action, State.RUNNING, after, flows, self._holder.worker))

    def _ring(self, awaited: Sequence[str], tags: frozenset[str]) -> None:
        def work(connection: Connection) -> None:
            if awaited:
                ring_settled(connection, awaited)
            if tags:
                ring_queue(connection, tags)

        try:
            self._session.run(work)
        except Exception as error:  # noqa: BLE001  a lost ring costs latency, and nothing else
            logger.warning("not rung: %s", error)

    # -- releasing -----------------------------------------------------------------

    def _release(self) -> None:
        released, self._released = self._released, []
        fences = [(job.id, job.claim) for job in released]

        def work(connection: Connection, _: int) -> tuple[list[tuple[str, str]], set[str]]:
            gone = release_jobs(connection, fences)
            left = {job for job, _ in fences}.difference(job for job, _ in gone)
            # Those whose cancel was asked for were settled instead; the others are not ours any more.
            return gone, settlement.landed(connection, self._holder.worker, left) if left else set()

        done = self._session.insist(work, self._give_up(), "release")
        if done is None:
            logger.error("stopped during an outage: %d jobs are not given back", len(fences))
            return
        gone, cancelled = done
        send(self._puller, Settled(len(released), 0))
        ids = [job for job, _ in gone]
        events, worker = self._context.events, self._holder.worker
        events.publish(Moved(Action.RELEASE, State.RUNNING, State.QUEUED, ids, worker))
        events.publish(Moved(Action.CANCEL, State.RUNNING, State.CANCELLED, list(cancelled), worker))
        if gone:
            self._ring((), frozenset(tag for _, tag in gone))

    def _give_up(self) -> threading.Event:
        # A stop still waits for a database that is away; only a hurry gives up at once.
        return self._context.hurry


def _cut(outcomes: list[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Take the first batch off: bounded in number and in bytes."""
    size = 0
    for place, outcome in enumerate(outcomes):
        size += len(outcome.result)
        if place >= MAX_BATCH or (size > MAX_BATCH_BYTES and place > 0):
            return outcomes[:place], outcomes[place:]
    return outcomes, []
