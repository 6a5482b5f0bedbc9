"""What jobs say about themselves while they run: values of a flow's own, and how far they are.

Both go with history. SQL: `sql/job_notes.sql`.
"""

from __future__ import annotations

from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql


def put_user_state(connection: Connection, workspace: str, flow: str, key: str, value: bytes) -> None:
    """Keep a value under a flow's job; `value` is JSON."""
    connection.execute(
        sql.put_user_state, {"workspace": workspace, "job": flow, "key": key, "value": value.decode()}
    )


def user_state(connection: Connection, workspace: str, flow: str, key: str) -> str | None:
    """Return a value as JSON."""
    row = connection.execute(sql.user_state, {"workspace": workspace, "job": flow, "key": key}).fetchone()
    return None if row is None else row[0]


def put_progress(connection: Connection, workspace: str, job: str, percent: int) -> None:
    """Keep how far a job is, in percent."""
    connection.execute(sql.put_progress, {"workspace": workspace, "job": job, "percent": percent})


def progress(connection: Connection, workspace: str, job: str) -> int | None:
    """Return how far a job said that it is."""
    row = connection.execute(sql.progress, {"workspace": workspace, "job": job}).fetchone()
    return None if row is None else row[0]


def is_draining(connection: Connection, workspace: str, job: str) -> bool:
    """Whether the node that runs a job is about to stop."""
    row = connection.execute(sql.is_draining, {"workspace": workspace, "job": job}).fetchone()
    return row is not None and bool(row[0])
