"""The Completer: outcomes become rows, in one transaction a batch.

Group commit without a timer: while one commit is under way, outcomes gather in the inbox; when it
is done the inbox is drained and the next commit takes all of them. What Postgres refuses is found
by halving the batch and fails alone. An outage makes it wait, not crash: the outcomes stay here, and
the Puller, which hears of nothing settled, claims nothing more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from time import monotonic
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import Holding, Outcomes, Release, Settled
from mill_actors.errors import StoreRefused
from mill_actors.events import Moved
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.lifecycle import Action, State, move
from mill_actors.jobs.outcome import Outcome, Verdict, error_result
from mill_actors.store import settlement
from mill_actors.store.claims import release_jobs
from mill_actors.store.connection import Connection, Session
from mill_actors.store.jobs import job_attempts
from mill_actors.store.logs import LogChunk, write_what_goes
from mill_actors.store.notify import ring_queue, ring_settled
from mill_actors.store.settlement import Retrial
from supervisors import Process, Reason, send

logger = logging.getLogger(__name__)

#: A commit takes at most this many jobs: beyond it the time per job no longer falls.
MAX_BATCH = 1000
#: … and at most this much result text, unless one job alone has more.
MAX_BATCH_BYTES = 32 * 1024 * 1024

_ACTIONS = {
    Verdict.SUCCESS: Action.SUCCEED,
    Verdict.FAILURE: Action.FAIL,
    Verdict.CANCELLED: Action.CANCEL,
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
        #: of the batch in hand: ids that failed because Postgres refused their result
        self._refused: set[str] = set()

    def handle(self, message: Outcomes | Release | Holding) -> object:
        match message:
            case Outcomes(finished, retried, logs):
                self._finished.extend(finished)
                if retried:
                    self._retried.extend(retried)
                if logs:
                    self._logs.extend(logs)
            case Release(jobs):
                self._released.extend(jobs)
            case Holding():
                return frozenset(
                    [o.job.id for o in self._finished]
                    + [r.outcome.job.id for r in self._retried]
                    + [job.id for job in self._released]
                )
            case _:
                assert_never(message)
        return None

    def idle(self) -> None:
        while self._finished or self._retried:
            if not self._settle():
                return
        if self._released:
            self._release()

    def terminate(self, reason: Reason) -> None:
        self._session.close()

    # -- settling ------------------------------------------------------------------

    def _settle(self) -> bool:
        """Settle one batch; False if we were stopped before the database came back."""
        finished, self._finished = _cut(self._finished)
        retried, self._retried = self._retried, []
        logs, self._logs = self._logs, []
        self._refused.clear()
        began = monotonic()
        done = self._session.insist(
            lambda connection, failed: self._write(connection, finished, retried, logs, failed),
            self._give_up(),
            "settle",
        )
        if done is None:
            # They stay `running` under our claims; the Rescuer brings them back.
            logger.error(
                "stopped during an outage: %d outcomes are not written", len(finished) + len(retried)
            )
            return False
        self._tell(finished, retried, done)
        self.info = {
            "batch": len(finished) + len(retried),
            "commit_ms": round((monotonic() - began) * 1000, 1),
        }
        return True

    def _write(
        self,
        connection: Connection,
        finished: Sequence[Outcome],
        retried: Sequence[Retrial],
        logs: Sequence[LogChunk] = (),
        failed: int = 0,
    ) -> settlement.Settled:
        # The reply to an earlier COMMIT may be lost: what we have written ourselves is not stale.
        ours = self._landed(connection, finished, retried) if failed else frozenset[str]()
        if ours:
            finished = [o for o in finished if o.job.id not in ours]
            retried = [r for r in retried if r.outcome.job.id not in ours]
            logs = [chunk for chunk in logs if chunk.job not in ours]
        try:
            done = settlement.settle(connection, finished, retried, logs)
        except StoreRefused as error:
            done = self._isolate(connection, finished, retried, logs, error)
        return settlement.Settled(done.stale, (*done.awaited, *ours), done.admitted_tags)

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
        error: Exception,
    ) -> settlement.Settled:
        """Halve the batch until the row that Postgres refuses is alone, and fail that job."""
        if logs:
            # Settled first, so that what a job printed can't cost it its result.
            parts = [self._write(connection, finished, retried)]
            write_what_goes(connection, logs)
        elif finished and retried:
            parts = [self._write(connection, finished, ()), self._write(connection, (), retried)]
        elif len(finished) + len(retried) > 1:
            half, rest = len(finished) // 2, len(retried) // 2
            first = (finished[:half], retried[:rest])
            second = (finished[half:], retried[rest:])
            parts = [
                self._write(connection, part[0], part[1]) for part in (first, second) if part[0] or part[1]
            ]
        else:
            outcome = finished[0] if finished else retried[0].outcome
            logger.warning("job %s: the database refused its result: %s", outcome.job.id, error)
            self._refused.add(outcome.job.id)
            failed = Outcome(
                outcome.job,
                Verdict.FAILURE,
                error_result("ResultRefused", f"the database refused the result: {error}".strip()),
                0,  # its duration may be what was refused
                monotonic(),
            )
            return settlement.settle(connection, [failed])
        return settlement.Settled(
            frozenset().union(*(part.stale for part in parts)),
            tuple(job for part in parts for job in part.awaited),
            frozenset().union(*(part.admitted_tags for part in parts)),
        )

    def _tell(
        self, finished: Sequence[Outcome], retried: Sequence[Retrial], done: settlement.Settled
    ) -> None:
        size = sum([len(o.result) for o in finished])
        send(self._puller, Settled(len(finished) + len(retried), size))
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
        if done.awaited or tags:
            self._ring(done.awaited, tags)

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
