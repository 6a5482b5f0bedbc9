"""A Completer at its desk: a real database, jobs claimed by its worker, a Puller that listens."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import psycopg

from mill_actors.actors.completer import Completer
from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import Holding, Outcomes, Settled
from mill_actors.events import Moved
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.lifecycle import Action
from mill_actors.jobs.outcome import Outcome, Verdict
from mill_actors.jobs.script import ScriptOptions, make_script
from mill_actors.store.claims import claim_jobs
from mill_actors.store.client import Client
from mill_actors.store.settlement import Retrial
from mill_actors.store.submission import Submission
from supervisors import ProcessRef
from supervisors.testing import Probe, Signals

PATH = "f/test/script"
WORKER = "worker"


@dataclass
class Desk:
    """Everything the Completer sees, and what it did."""

    context: NodeContext
    client: Client
    look: psycopg.Connection[Any]
    puller: ProcessRef[Probe]
    to_puller: Signals[Any]
    ref: ProcessRef[Completer]
    moves: queue.SimpleQueue[Moved] = field(default_factory=queue.SimpleQueue)

    def jobs(self, count: int, **options: Any) -> list[ClaimedJob]:
        """Submit and claim; in the order of their submission."""
        given = [Submission(path=PATH, args={"n": n}, **options) for n in range(count)]
        order = {receipt.id: n for n, receipt in enumerate(self.client.submit_many(given))}
        holder = self.context.holder(WORKER)
        with psycopg.connect(self.client.database.dsn, autocommit=True) as own:
            claimed = claim_jobs(own, holder, new_id(), ["python3"], count)
        assert len(claimed) == count
        return sorted(claimed, key=lambda job: order[job.id])

    def tell(
        self,
        finished: Sequence[Outcome] = (),
        retried: Sequence[Retrial] = (),
        logs: Sequence[Any] = (),
    ) -> None:
        self.ref.tell(Outcomes(finished, retried, logs))

    def holding(self, timeout: float = 15.0) -> frozenset[str]:
        held: Any = self.ref.ask(Holding(), timeout=timeout)
        return frozenset(held)

    def settled(self, count: int) -> int:
        """Wait until the Puller has heard of so many; return the bytes of their results."""
        jobs = size = 0
        while jobs < count:
            told = self.to_puller.next(10.0)
            if isinstance(told, Settled):
                jobs += told.jobs
                size += told.result_bytes
        assert jobs == count
        return size

    def moved(self) -> list[Moved]:
        """What was published so far."""
        found = []
        while not self.moves.empty():
            found.append(self.moves.get())
        return found

    def moved_ids(self, action: Action) -> list[str]:
        return [job for move in self.moved() if move.action is action for job in move.jobs]

    def final(self) -> dict[str, str]:
        """Id → status of all that is over; no id is there twice."""
        rows = self.look.execute("select id::text, status from mill.completed_job").fetchall()
        assert len(rows) == len({row[0] for row in rows})
        return dict(rows)

    def result(self, job: str) -> str:
        row = self.look.execute("select result::text from mill.completed_job where id = %s", [job]).fetchone()
        assert row is not None
        return str(row[0])

    def count(self, query: Any) -> int:
        row = self.look.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def waits_for_a_lock(self) -> bool:
        """Whether the Completer's statement waits for the test's lock."""
        return bool(
            self.count(
                "select count(*) from pg_stat_activity where application_name = 'mill completer' "
                "and wait_event_type = 'Lock' and datname = current_database()"
            )
        )


def success(job: ClaimedJob, result: bytes = b"null", us: int = 5) -> Outcome:
    return Outcome(job, Verdict.SUCCESS, result, us, monotonic())


def failure(job: ClaimedJob, result: bytes = b'{"error":{"name":"E"}}') -> Outcome:
    return Outcome(job, Verdict.FAILURE, result, 5, monotonic())


def the_script(options: ScriptOptions = ScriptOptions()) -> Any:
    return make_script("default", PATH, "python3", "def main(n): ...", options)
