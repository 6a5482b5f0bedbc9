"""What jobs print. SQL: `sql/log.sql`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import psycopg
from msgspec import Struct

from mill_actors.store.arrays import literal
from mill_actors.store.connection import Connection, is_outage
from mill_actors.store.decoding import job_id, storable
from mill_actors.store.queries import sql

logger = logging.getLogger(__name__)


class LogChunk(Struct, frozen=True):
    """A piece of one attempt's output. `position` orders the pieces: its offset in bytes."""

    job: str
    workspace: str
    attempt: int
    position: int
    text: str


def write_logs(connection: Connection, chunks: Sequence[LogChunk]) -> None:
    """Append pieces; a piece that is sent again is read once."""
    connection.execute(
        sql.write_logs,
        {
            "jobs": literal(c.job for c in chunks),
            "positions": literal(str(c.position) for c in chunks),
            "attempts": literal(str(c.attempt) for c in chunks),
            "workspaces": [c.workspace for c in chunks],
            "texts": [storable(c.text) for c in chunks],
        },
    )


def write_what_goes(connection: Connection, chunks: Sequence[LogChunk]) -> None:
    """Append pieces one by one; one that Postgres refuses is dropped, and the log says so."""
    for chunk in chunks:
        try:
            write_logs(connection, [chunk])
        except psycopg.Error as error:
            if is_outage(error):
                raise
            logger.warning("job %s: the database refused a piece of its log: %s", chunk.job, error)


def read_logs(
    connection: Connection, workspace: str, job: str, after: tuple[int, int] = (0, -1)
) -> list[LogChunk]:
    """Return what came after (attempt, position), in order."""
    rows = connection.execute(
        sql.read_logs,
        {"workspace": workspace, "id": job_id(job), "attempt": after[0], "position": after[1]},
    ).fetchall()
    return [LogChunk(job, workspace, attempt, position, text) for attempt, position, text in rows]


def read_many_logs(connection: Connection, workspace: str, jobs: Sequence[str]) -> dict[str, str]:
    """Return what each of these jobs has printed, if it has."""
    texts: dict[str, list[str]] = {}
    rows = connection.execute(sql.read_many_logs, {"workspace": workspace, "ids": list(jobs)}).fetchall()
    for job, text in rows:
        texts.setdefault(job, []).append(text)
    return {job: "".join(parts) for job, parts in texts.items()}
