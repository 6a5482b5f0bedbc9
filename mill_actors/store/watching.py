"""What is new about many jobs, in one statement. SQL: `sql/watch.sql`."""

from __future__ import annotations

from collections.abc import Sequence

from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql


def job_marks(connection: Connection, jobs: Sequence[str]) -> dict[str, str]:
    """Return a word a job, which is another one whenever something about it is new."""
    return dict(connection.execute(sql.watch_jobs, {"ids": list(jobs)}).fetchall())
