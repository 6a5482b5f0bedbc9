"""Partitions, retention, expired keys. SQL: `sql/maintenance.sql`."""

from __future__ import annotations

from msgspec import Struct

from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql

DAYS_AHEAD = 14
BATCH = 5000


class Pruned(Struct, frozen=True):
    """What one round did."""

    partitions_made: int
    partitions_dropped: int
    keys_forgotten: int
    results_forgotten: int = 0
    previews_dropped: int = 0
    notes_forgotten: int = 0


def prune(connection: Connection, completed_days: int, logs_days: int) -> Pruned:
    """Do one bounded round; each statement is a transaction of its own."""
    row = connection.execute(sql.ensure_partitions, {"days_ahead": DAYS_AHEAD}).fetchone()
    made = row[0] if row else 0
    dropped = 0
    for parent, days in (
        ("completed_job", completed_days),
        ("job_attempt", completed_days),
        ("job_log", logs_days),
    ):
        row = connection.execute(sql.drop_partitions, {"parent": parent, "days": days}).fetchone()
        dropped += row[0] if row else 0
    forgotten = connection.execute(sql.prune_submission_keys, {"limit": BATCH}).rowcount
    connection.execute(sql.prune_slots)
    with connection.transaction():
        unused = connection.execute(sql.lock_unused_concurrency_keys, {"limit": BATCH}).fetchall()
        if unused:
            connection.execute(
                sql.prune_concurrency_keys,
                {"workspaces": [row[0] for row in unused], "keys": [row[1] for row in unused]},
            )
    results = connection.execute(sql.prune_cached_results, {"limit": BATCH}).rowcount
    row = connection.execute(sql.drop_previews, {"days": completed_days, "limit": BATCH}).fetchone()
    previews = row[0] if row else 0
    old = {"days": completed_days, "limit": BATCH}
    notes = connection.execute(sql.prune_user_states, old).rowcount
    notes += connection.execute(sql.prune_progress, old).rowcount
    return Pruned(made, dropped, forgotten, results, previews, notes)


def delete_due(connection: Connection) -> float | None:
    """Delete what is due to be (`delete_after_secs`); return in how many seconds the next is, None: never."""
    while connection.execute(sql.delete_due, {"limit": BATCH}).rowcount >= BATCH:
        continue
    row = connection.execute(sql.next_deletion).fetchone()
    return None if row is None else row[0]


def open_flows(connection: Connection) -> list[str]:
    """Return the ids of all flows that are not over."""
    return [row[0] for row in connection.execute(sql.open_flows).fetchall()]
