"""Nodes: who is alive, and what the dead held. SQL: `sql/node.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from msgspec import Struct

from mill_actors.jobs.outcome import error_result
from mill_actors.store.cancelled import cancelled_result
from mill_actors.store.concurrency import free_and_admit
from mill_actors.store.connection import Connection
from mill_actors.store.flow_rows import wake_flows
from mill_actors.store.notify import ring_queue, ring_settled
from mill_actors.store.queries import sql

#: A job that was rescued this often has killed its nodes: it fails as `WorkerLost`.
MAX_RESCUES = 3


class Beat(Struct, frozen=True):
    """What one beat told. `alive` is False when our row is gone: somebody declared us dead."""

    alive: bool
    beats: dict[str, int]
    cancels: tuple[str, ...]
    admissions_wait: bool
    expiries_wait: bool


class Rescue(Struct, frozen=True):
    """What became of a dead node's jobs; ids."""

    requeued: tuple[str, ...]
    lost: tuple[str, ...]
    cancelled: tuple[str, ...]


class ListedNode(Struct, frozen=True):
    """A node's row, for people."""

    id: str
    name: str
    beat: int
    beat_at: datetime
    started_at: datetime
    stopping: bool
    tags: list[str]
    workers: Any
    silent_seconds: float


def register_node(connection: Connection, node: str, name: str, tags: Sequence[str], workers: object) -> None:
    """Write the row of a node that starts; its beats fail without it."""
    connection.execute(
        sql.register_node,
        {"id": node, "name": name, "tags": list(tags), "workers": orjson.dumps(workers).decode()},
    )


def serve_tags(connection: Connection, node: str, tags: Sequence[str]) -> None:
    """Say which tags this node serves now."""
    connection.execute(sql.serve_tags, {"id": node, "tags": list(tags)})


def beat(connection: Connection, node: str) -> Beat:
    """Count one up, and read what a beat brings."""
    row = connection.execute(sql.beat, {"id": node}).fetchone()
    assert row is not None
    own, nodes, beats, cancels, admissions, expiries = row
    return Beat(own is not None, dict(zip(nodes, beats, strict=True)), tuple(cancels), admissions, expiries)


def stop_node(connection: Connection, node: str) -> None:
    """Say that this node claims no more."""
    connection.execute(sql.stop_node, {"id": node})


def forget_node(connection: Connection, node: str) -> None:
    """Remove the row of a node that stopped in order."""
    connection.execute(sql.forget_node, {"id": node})


def rescue_node(connection: Connection, node: str, beat_seen: int | None) -> Rescue | None:
    """Declare a node dead and take its jobs back, in one transaction; None if it beat after all.

    `beat_seen=None`: the node has no row any more (`orphaned_nodes`), only jobs.
    """
    first = _rescue(connection, node, beat_seen)
    if first is None:
        return None
    row = connection.execute(sql.holds_jobs, {"node": node}).fetchone()
    if row is None or not row[0]:
        return first
    # Rows that somebody had locked for a moment: a cancel, a waiter, a last finish.
    second = _rescue(connection, node, None) or first
    return Rescue(
        first.requeued + second.requeued, first.lost + second.lost, first.cancelled + second.cancelled
    )


def _rescue(connection: Connection, node: str, beat_seen: int | None) -> Rescue | None:
    with connection.transaction():
        if beat_seen is not None:
            found = connection.execute(sql.lock_dead_node, {"id": node, "beat": beat_seen}).fetchone()
            if found is None:
                return None
        # What is lost first: it wakes its flow, whose state is locked before its row. (A cancel that comes
        # between leaves a job that the second look finds.)
        lost = connection.execute(
            sql.lose_jobs,
            {
                "node": node,
                "max_rescues": MAX_RESCUES,
                "lost": error_result(
                    "WorkerLost",
                    f"the job's worker died {MAX_RESCUES + 1} times while it held this job",
                ).decode(),
                "cancelled": cancelled_result("request", "its worker died").decode(),
            },
        ).fetchall()
        tags = wake_flows(connection, [row[5] for row in lost if row[5] is not None])
        back = connection.execute(
            sql.rescue_jobs, {"node": node, "max_rescues": MAX_RESCUES, "limit": 1_000_000}
        ).fetchall()
        tags |= {row[1] for row in back}
        keys = {(row[1], row[3]) for row in lost if row[3] is not None}
        tags |= free_and_admit(connection, [row[0] for row in lost], keys)
        connection.execute(sql.remove_dead_node, {"id": node})
    ring_queue(connection, tags)
    ring_settled(connection, [row[0] for row in lost if row[2]])
    return Rescue(
        tuple(row[0] for row in back),
        tuple(row[0] for row in lost if row[4] == "failure"),
        tuple(row[0] for row in lost if row[4] == "cancelled"),
    )


def orphaned_nodes(connection: Connection) -> list[str]:
    """Return nodes that hold jobs but have no row."""
    return [row[0] for row in connection.execute(sql.orphaned_nodes).fetchall()]


def admissions_wait(connection: Connection) -> bool:
    """Whether due jobs wait for a place under their concurrency key."""
    row = connection.execute(sql.admissions_wait).fetchone()
    return bool(row and row[0])


def tags_served(connection: Connection, within_seconds: float = 30.0) -> frozenset[str]:
    """Return every tag that a living node serves."""
    row = connection.execute(sql.tags_served, {"within_seconds": within_seconds}).fetchone()
    return frozenset(row[0]) if row else frozenset()


def list_nodes(connection: Connection) -> list[ListedNode]:
    """Return every node with a row, oldest first."""
    return [ListedNode(*row) for row in connection.execute(sql.list_nodes).fetchall()]


def token_keys(connection: Connection) -> dict[str, bytes]:
    """Return the key that signs each workspace's tokens."""
    return {row[0]: bytes(row[1]) for row in connection.execute(sql.token_keys).fetchall()}
