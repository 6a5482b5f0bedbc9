"""The one door into a final state: finish, retry, cancel, expire, and who may start next.

SQL and lock order: `sql/settle.sql`. Each function says which of its jobs did *not* land, because a
finish whose claim was lost is dropped and counted, whatever its result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from time import monotonic

import psycopg
from msgspec import Struct

from mill_actors.errors import StoreRefused
from mill_actors.jobs.outcome import Outcome, Verdict
from mill_actors.store.arrays import JsonArray, literal
from mill_actors.store.connection import Connection, is_outage
from mill_actors.store.logs import LogChunk, write_logs
from mill_actors.store.queries import sql

Key = tuple[str, str]


class Retrial(Struct, frozen=True):
    """A failed attempt that is tried again after `delay_seconds`."""

    outcome: Outcome
    delay_seconds: float


class Settled(Struct, frozen=True):
    """What a settle did: ids that were stale, ids somebody waits for, tags of jobs it admitted."""

    stale: frozenset[str] = frozenset()
    awaited: tuple[str, ...] = ()
    admitted_tags: frozenset[str] = frozenset()


def settle(
    connection: Connection,
    finished: Sequence[Outcome],
    retried: Sequence[Retrial] = (),
    logs: Sequence[LogChunk] = (),
) -> Settled:
    """Write a batch of outcomes, and the last of what they printed, in one transaction.

    Raises `StoreRefused` if Postgres refuses a row: then nothing of the batch is written. A retry
    whose job was asked to be cancelled is settled as cancelled instead.
    """
    try:
        return _settle(connection, finished, retried, logs)
    except psycopg.Error as error:
        if is_outage(error):
            raise
        raise StoreRefused(str(error), error.sqlstate) from error


def _settle(
    connection: Connection,
    finished: Sequence[Outcome],
    retried: Sequence[Retrial],
    logs: Sequence[LogChunk],
) -> Settled:
    keys = _keys(finished)
    if not retried and not keys and not logs:
        stale, awaited = _finish(connection, finished)
        return Settled(stale=frozenset(stale), awaited=tuple(awaited))
    with connection.transaction():
        back = _retry(connection, retried) if retried else set()
        refused = [r.outcome for r in retried if r.outcome.job.id not in back]
        cancelled = _cancelled_instead(connection, refused)
        ended = [*finished, *cancelled]
        stale, awaited = _finish(connection, ended)
        stale += {o.job.id for o in refused} - {o.job.id for o in cancelled}
        keys |= _keys([r.outcome for r in retried])
        tags = free_and_admit(connection, [o.job.id for o in ended], keys)
        if logs:
            write_logs(connection, logs)
    return Settled(stale=frozenset(stale), awaited=tuple(awaited), admitted_tags=frozenset(tags))


def _keys(outcomes: Sequence[Outcome]) -> set[Key]:
    return {(o.job.workspace, o.job.concurrency_key) for o in outcomes if o.job.concurrency_key is not None}


def _finish(connection: Connection, outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    if not outcomes:
        return [], []
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
    return row[0], row[1]


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
        keys = {(workspace, key) for workspace, key in asked.values() if key is not None}
        tags = free_and_admit(connection, [f[0] for f in ended], keys)
    return Settled(frozenset(row[0]), tuple(row[1]), frozenset(tags))


def landed(connection: Connection, worker: str, ids: Iterable[str]) -> set[str]:
    """Return which of `ids` this worker has finished already: asked after a lost COMMIT reply."""
    rows = connection.execute(sql.landed_jobs, {"ids": list(ids), "worker": worker}).fetchall()
    return {row[0] for row in rows}


def free_and_admit(connection: Connection, ended: Sequence[str], keys: Iterable[Key]) -> set[str]:
    """Inside a transaction: free the slots of jobs that ended, admit who waits; return their tags."""
    ordered = sorted(set(keys))
    if not ordered:
        return set()
    names = {"workspaces": [k[0] for k in ordered], "keys": [k[1] for k in ordered]}
    connection.execute(sql.lock_concurrency_keys, names)
    if ended:
        connection.execute(sql.free_slots, {"ids": list(ended)})
    rows = connection.execute(sql.admit_jobs, {**names, "now": None}).fetchall()
    return {row[1] for row in rows}


def admit_waiting(connection: Connection, limit: int = 1000) -> set[str]:
    """The sweep: admit due jobs whose key has a free place; return the tags to wake."""
    rows = connection.execute(sql.keys_to_admit, {"now": None, "limit": limit}).fetchall()
    tags: set[str] = set()
    for workspace, key, places in sorted(rows):
        with connection.transaction():
            connection.execute(
                sql.restore_concurrency_key, {"workspace": workspace, "key": key, "limit": places}
            )
            tags |= free_and_admit(connection, [], [(workspace, key)])
    return tags


def cancelled_result(by: str, reason: str | None) -> bytes:
    """Return the result of a cancelled job, in Windmill's shape."""
    why = f": {reason}" if reason else ""
    message = f"Job canceled{why} by {by}"
    return json.dumps(
        {"error": {"name": "Canceled", "message": message, "reason": reason, "canceler": by}}
    ).encode()
