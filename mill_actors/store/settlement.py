"""The one door into a final state: finish, retry, cancel, expire, and who may start next.

SQL and lock order: `sql/settle.sql`. Each function says which of its jobs did *not* land, because a
finish whose claim was lost is dropped and counted, whatever its result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from time import monotonic

import psycopg
from msgspec import Struct

from mill_actors.errors import StoreRefused
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome, Verdict, error_result
from mill_actors.store.arrays import JsonArray, literal
from mill_actors.store.concurrency import Key, free_and_admit
from mill_actors.store.connection import Connection, is_outage
from mill_actors.store.flow_rows import Written, settle_places, wake_flows
from mill_actors.store.logs import LogChunk, write_logs
from mill_actors.store.notify import CANCEL, notify
from mill_actors.store.queries import sql
from mill_actors.store.transitions import (
    FlowWorker,
    StepEnded,
    advance_flows,
    cancel_flow,
    cancel_left,
    fail_flow,
    step_ended,
)

logger = logging.getLogger(__name__)

#: Steps of a cancelled flow that are just being claimed or settled are looked at again so often.
CANCEL_LOOKS = 5


#: A job, and the claim by which it is held.
Fence = tuple[str, str]


class Retrial(Struct, frozen=True):
    """A failed attempt that is tried again after `delay_seconds`."""

    outcome: Outcome
    delay_seconds: float


class Settled(Struct, frozen=True):
    """What a settle did: ids that were stale, ids somebody waits for, tags that have work now.

    `handed`: steps that come next and are ours already. `ended`: flows, and bodies of flows, that are
    over, with their final status.
    """

    stale: frozenset[str] = frozenset()
    awaited: tuple[str, ...] = ()
    admitted_tags: frozenset[str] = frozenset()
    handed: tuple[ClaimedJob, ...] = ()
    ended: tuple[tuple[str, str], ...] = ()
    #: flows we have claimed and that are to be cancelled: `cancel_claimed_flow`
    cancelled: tuple[ClaimedJob, ...] = ()


class FlowPart(Struct, frozen=True):
    """The flows' part of a batch: who makes transitions, the claim of what he takes, flows that begin."""

    worker: FlowWorker
    claim: str
    begun: Sequence[ClaimedJob] = ()


def settle(
    connection: Connection,
    finished: Sequence[Outcome],
    retried: Sequence[Retrial] = (),
    logs: Sequence[LogChunk] = (),
    flows: FlowPart | None = None,
) -> Settled:
    """Write a batch of outcomes, the last of what they printed, and what follows in their flows.

    One transaction. Raises `StoreRefused` if Postgres refuses a row, or a flow cannot go on: then
    nothing of the batch is written. A retry whose job was asked to be cancelled is settled as cancelled
    instead.
    """
    try:
        return _settle(connection, finished, retried, logs, flows)
    except psycopg.Error as error:
        if is_outage(error):
            raise
        raise StoreRefused(str(error), error.sqlstate) from error


def _settle(
    connection: Connection,
    finished: Sequence[Outcome],
    retried: Sequence[Retrial],
    logs: Sequence[LogChunk],
    flows: FlowPart | None,
) -> Settled:
    keys = _keys(finished)
    has_flows = flows is not None and (flows.begun or any(o.job.depth is not None for o in finished))
    if not retried and not keys and not logs and not has_flows:
        stale, awaited = _finish(connection, finished)
        return Settled(stale=frozenset(job for job, _ in stale), awaited=tuple(awaited))
    with connection.transaction():
        back = _retry(connection, retried) if retried else set()
        refused = [r.outcome for r in retried if r.outcome.job.id not in back]
        cancelled = _cancelled_instead(connection, refused)
        ended = [*finished, *cancelled]
        stale, awaited = _finish(connection, ended)
        stale |= {(o.job.id, o.job.claim) for o in refused} - {(o.job.id, o.job.claim) for o in cancelled}
        keys |= _keys([r.outcome for r in retried])
        written = Written()
        if flows is not None:
            sound = [o for o in ended if (o.job.id, o.job.claim) not in stale]
            events = [event for o in sound if (event := step_ended(o)) is not None]
            if events or flows.begun:
                written = _advance(connection, flows, events)
        tags = settle_places(connection, written, [o.job.id for o in ended], keys)
        if logs:
            write_logs(connection, logs)
    return Settled(
        stale=frozenset(job for job, _ in stale),
        awaited=(*awaited, *written.awaited),
        admitted_tags=frozenset(tags | written.tags),
        handed=tuple(written.handed),
        ended=tuple((end.run.id, end.status) for end in written.ended),
        cancelled=tuple(written.cancelled),
    )


def _advance(connection: Connection, flows: FlowPart, events: Sequence[StepEnded]) -> Written:
    try:
        return advance_flows(connection, flows.worker, flows.claim, events, flows.begun)
    except psycopg.Error:
        raise
    except Exception as error:
        # A fault of ours, or a flow that should not have been let in: it must not end the worker, who
        # has other flows in the same batch.
        logger.exception("a flow cannot go on")
        raise StoreRefused(f"the flow cannot go on: {error!r}", None) from error


def settle_apart(connection: Connection, outcome: Outcome) -> Settled:
    """Settle a step whose flow cannot take it: the flow is woken, and then ended by who claims it."""
    with connection.transaction():
        done = _settle(connection, [outcome], (), (), None)
        tags = wake_flows(connection, [str(outcome.job.parent_job)])
    return Settled(done.stale, done.awaited, done.admitted_tags | tags)


def settle_broken_flow(
    connection: Connection, worker: FlowWorker, claim: str, job: ClaimedJob, why: str
) -> Settled:
    """End a claimed flow whose own transition is what was refused.

    If what follows in its parent is refused too, only this flow ends, and the parent is woken.
    """
    try:
        with connection.transaction():
            written = fail_flow(connection, worker, claim, job, why)
            written.tags |= settle_places(connection, written)
    except Exception as error:
        if isinstance(error, psycopg.Error) and is_outage(error):
            raise
        logger.exception("flow %s is ended alone", job.id)
        return _end_alone(connection, job, Verdict.FAILURE, error_result("InternalError", why))
    return Settled(
        awaited=tuple(written.awaited),
        admitted_tags=frozenset(written.tags),
        handed=tuple(written.handed),
        ended=tuple((end.run.id, end.status) for end in written.ended),
    )


def cancel_claimed_flow(connection: Connection, worker: FlowWorker, claim: str, job: ClaimedJob) -> Settled:
    """End a flow that we have claimed as cancelled, with all that is inside it. One transaction.

    The workers that run steps of it are told; steps that somebody had locked are asked afterwards.
    """
    try:
        with connection.transaction():
            words = connection.execute(sql.cancel_words, {"id": job.id}).fetchone()
            written = cancel_flow(connection, worker, claim, job)
            written.tags |= settle_places(connection, written)
    except Exception as error:
        if isinstance(error, psycopg.Error) and is_outage(error):
            raise
        logger.exception("flow %s is cancelled alone", job.id)
        return _end_alone(connection, job, Verdict.CANCELLED, b"null")
    by, reason = words or (None, None)
    asked = written.asked
    for _ in range(CANCEL_LOOKS):
        left = cancel_left(connection, [end.run.id for end in written.ended], by, reason)
        if left is None:
            break
        asked += left
    for step in asked:
        notify(connection, CANCEL, step)
    return Settled(
        awaited=tuple(written.awaited),
        admitted_tags=frozenset(written.tags),
        handed=tuple(written.handed),
        ended=tuple((end.run.id, end.status) for end in written.ended),
    )


def _end_alone(connection: Connection, job: ClaimedJob, verdict: Verdict, result: bytes) -> Settled:
    """End a flow that nothing can be made of any more, by its row alone; its parent is woken."""
    with connection.transaction():
        stale, awaited = _finish(connection, [Outcome(job, verdict, result, 0, monotonic())])
        tags: set[str] = set()
        if not stale:
            is_part = job.parent_job is not None and job.step is not None
            connection.execute(sql.end_bodies_of, {"root": job.id, "whole": not is_part})
            tags = wake_flows(connection, [str(job.parent_job)] if is_part else [])
            if job.concurrency_key is not None:
                tags |= free_and_admit(connection, [job.id], [(job.workspace, job.concurrency_key)])
    for step in cancel_left(connection, [job.id], "mill", "its flow has ended") or ():
        notify(connection, CANCEL, step)
    ended = () if stale else ((job.id, str(verdict)),)
    return Settled(awaited=tuple(awaited), admitted_tags=frozenset(tags), ended=ended)


def _keys(outcomes: Sequence[Outcome]) -> set[Key]:
    return {(o.job.workspace, o.job.concurrency_key) for o in outcomes if o.job.concurrency_key is not None}


def _finish(connection: Connection, outcomes: Sequence[Outcome]) -> tuple[set[Fence], list[str]]:
    if not outcomes:
        return set(), []
    now = monotonic()
    if len({o.job.id for o in outcomes}) < len(outcomes):
        # Told twice in one batch: the first counts.
        outcomes = list({(o.job.id, o.job.claim): o for o in reversed(outcomes)}.values())
    jobs = [o.job for o in outcomes]
    row = connection.execute(
        sql.finish_jobs,
        {
            "ids": literal([job.id for job in jobs]),
            "claims": literal([job.claim for job in jobs]),
            "statuses": literal([o.verdict for o in outcomes]),
            "results": JsonArray([o.result for o in outcomes]),
            "durations_us": literal([str(o.duration_us) for o in outcomes]),
            "ages_us": literal([str(int((now - o.ended_at) * 1e6)) for o in outcomes]),
            "now": None,
        },
    ).fetchone()
    assert row is not None
    return _fences(row[0]), row[1]


def _fences(told: Sequence[str]) -> set[Fence]:
    pairs = (each.split(" ") for each in told)
    return {(job, claim) for job, claim in pairs}


def _retry(connection: Connection, retried: Sequence[Retrial]) -> set[str]:
    now = monotonic()
    outcomes = [r.outcome for r in retried]
    rows = connection.execute(
        sql.retry_jobs,
        {
            "ids": literal(o.job.id for o in outcomes),
            "claims": literal(o.job.claim for o in outcomes),
            "errors": JsonArray([o.result for o in outcomes]),
            "durations_us": literal(str(o.duration_us) for o in outcomes),
            "ages_us": literal(str(int((now - o.ended_at) * 1e6)) for o in outcomes),
            "delays_seconds": literal(str(r.delay_seconds) for r in retried),
            "now": None,
        },
    ).fetchall()
    return {row[0] for row in rows}


def _cancelled_instead(connection: Connection, outcomes: Sequence[Outcome]) -> list[Outcome]:
    if not outcomes:
        return []
    rows = connection.execute(sql.cancel_requested, {"ids": [o.job.id for o in outcomes]}).fetchall()
    asked = {row[0] for row in rows}
    return [
        Outcome(o.job, Verdict.CANCELLED, o.result, o.duration_us, o.ended_at)
        for o in outcomes
        if o.job.id in asked
    ]


def settle_cancelled(connection: Connection, fences: Sequence[tuple[str, str]]) -> Settled:
    """Settle those of (id, claim) whose cancel was asked for, although nobody has started them."""
    rows = connection.execute(sql.cancel_requested, {"ids": [f[0] for f in fences]}).fetchall()
    asked = {row[0]: row[1:] for row in rows}
    ended = [f for f in fences if f[0] in asked]
    if not ended:
        return Settled()
    with connection.transaction():
        row = connection.execute(
            sql.finish_jobs,
            {
                "ids": literal(f[0] for f in ended),
                "claims": literal(f[1] for f in ended),
                "statuses": literal(Verdict.CANCELLED for _ in ended),
                "results": JsonArray([b"null"] * len(ended)),
                "durations_us": literal("0" for _ in ended),
                "ages_us": literal("0" for _ in ended),
                "now": None,
            },
        ).fetchone()
        assert row is not None
        keys = {(workspace, key) for workspace, key, _ in asked.values() if key is not None}
        tags = wake_flows(connection, [parent for *_, parent in asked.values() if parent is not None])
        tags |= free_and_admit(connection, [f[0] for f in ended], keys)
    return Settled(frozenset(job for job, _ in _fences(row[0])), tuple(row[1]), frozenset(tags))


def landed(connection: Connection, worker: str, ids: Iterable[str]) -> set[str]:
    """Return which of `ids` this worker has finished already: asked after a lost COMMIT reply."""
    rows = connection.execute(sql.landed_jobs, {"ids": list(ids), "worker": worker}).fetchall()
    return {row[0] for row in rows}
