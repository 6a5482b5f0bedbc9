"""Claim, look again, give back: what a Puller does with the queue. SQL: `sql/queue.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mill_actors.jobs.job import ClaimedJob
from mill_actors.store.arrays import literal
from mill_actors.store.connection import Connection
from mill_actors.store.holder import Holder
from mill_actors.store.notify import ring_queue, ring_settled
from mill_actors.store.queries import sql
from mill_actors.store.settlement import settle_cancelled

__all__ = [
    "Holder",
    "claim_jobs",
    "claim_woken_flows",
    "claimed_jobs",
    "held_jobs",
    "next_due_seconds",
    "release_jobs",
]

#: A claim never takes more arguments than this into memory, unless a single job has more.
MAX_CLAIM_BYTES = 8 * 1024 * 1024


def claim_jobs(
    connection: Connection, holder: Holder, claim: str, tags: Sequence[str], limit: int
) -> list[ClaimedJob]:
    """Claim up to `limit` due jobs of `tags`, highest priority first; equal ones in the tags' order.

    `claim` is minted by the caller: after a lost reply `claimed_jobs` tells what it holds.
    """
    rows = connection.execute(
        sql.claim_jobs,
        {
            "tags": list(tags),
            "limit": limit,
            "max_bytes": MAX_CLAIM_BYTES,
            "node": holder.node,
            "worker": holder.worker,
            "claim": claim,
            "now": None,
        },
    ).fetchall()
    return _jobs(rows, claim)


def claim_woken_flows(
    connection: Connection, holder: Holder, claim: str, tags: Sequence[str], limit: int
) -> list[ClaimedJob]:
    """Claim flows under way that are due or were woken: to look at them, not to run anything."""
    rows = connection.execute(
        sql.claim_woken_flows,
        {
            "tags": list(tags),
            "limit": limit,
            "node": holder.node,
            "worker": holder.worker,
            "claim": claim,
            "now": None,
        },
    ).fetchall()
    return _jobs(rows, claim)


def claimed_jobs(connection: Connection, holder: Holder, claim: str) -> list[ClaimedJob]:
    """Return what a claim holds, whoever remembers it."""
    rows = connection.execute(sql.claimed_jobs, {"node": holder.node, "claim": claim}).fetchall()
    return _jobs(rows, claim)


def _jobs(rows: Sequence[Any], claim: str) -> list[ClaimedJob]:
    # UPDATE … RETURNING answers in the order of the heap.
    jobs = [ClaimedJob(claim, *row) for row in rows]
    jobs.sort(key=lambda job: (-job.priority, job.due, job.id))
    return jobs


def next_due_seconds(connection: Connection, tags: Sequence[str]) -> float | None:
    """Return how long until the next scheduled job of `tags` falls due; None: nothing is scheduled."""
    row = connection.execute(sql.next_due, {"tags": list(tags)}).fetchone()
    return None if row is None else row[0]


def release_jobs(connection: Connection, fences: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give jobs back, named by (id, claim); return (id, tag) of those that were ours to give.

    One whose cancel was asked for is settled as cancelled, and is not among them.
    """
    rows = connection.execute(
        sql.release_jobs,
        {"ids": literal(f[0] for f in fences), "claims": literal(f[1] for f in fences)},
    ).fetchall()
    if len(rows) < len(fences):
        given = {row[0] for row in rows}
        cancelled = settle_cancelled(connection, [f for f in fences if f[0] not in given])
        ring_settled(connection, cancelled.awaited)
        ring_queue(connection, cancelled.admitted_tags)
    return [(row[0], row[1]) for row in rows]


def held_jobs(connection: Connection, holder: Holder) -> dict[str, str]:
    """Return id → claim of all that the database says this worker holds."""
    rows = connection.execute(sql.held_jobs, {"node": holder.node, "worker": holder.worker}).fetchall()
    return {row[0]: row[1] for row in rows}
