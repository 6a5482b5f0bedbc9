"""Lists of jobs with Windmill's filters, newest first; counts; exports. SQL: `sql/job_lists.sql`."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from mill_actors.store.connection import Connection
from mill_actors.store.job_reading import JobView
from mill_actors.store.job_walks import EndedJobs, JobFilters, JobPage, OpenJobs, Wanted, walk
from mill_actors.store.queries import sql


def list_jobs(
    connection: Connection,
    workspace: str,
    filters: JobFilters,
    wanted: Wanted,
    *,
    open_ones: bool = True,
    ended: bool = True,
) -> JobPage:
    """Return open jobs first, then those that have ended, newest first."""
    with connection.transaction():
        connection.execute(sql.one_snapshot)
        connection.execute(sql.plan_for_values)
        page = JobPage([], None)
        cursor = wanted.cursor
        if cursor is not None and cursor.at is None and not open_ones:
            cursor = None
        if open_ones and (cursor is None or cursor.at is None):
            page = walk(OpenJobs(connection, workspace, filters), wanted)
            cursor = page.cursor
        if ended and (cursor is None or cursor.at is not None):
            left = replace(wanted, limit=wanted.limit - len(page.jobs), cursor=cursor)
            rest = walk(EndedJobs(connection, workspace, filters, cursor), left)
            page = JobPage(page.jobs + rest.jobs, rest.cursor)
        # What was only looked into goes.
        jobs = [replace(job, args=job.args if wanted.args else None, result=None) for job in page.jobs]
        return JobPage(_dressed(connection, workspace, jobs), page.cursor)


def count_open(connection: Connection, workspace: str) -> tuple[int, int]:
    """Return how many jobs are open, and how many of these wait for approval."""
    row = connection.execute(sql.count_open, {"workspace": workspace}).fetchone()
    assert row is not None
    return row[0], row[1]


def count_completed(connection: Connection, workspace: str) -> int:
    """Return how many jobs have ended, as far as history is kept."""
    row = connection.execute(sql.count_completed, {"workspace": workspace}).fetchone()
    assert row is not None
    return int(row[0])


def count_earlier(connection: Connection, workspace: str, before: datetime, limit: int) -> int:
    """Return how many wait that were due before a moment: at most `limit`."""
    told = {"workspace": workspace, "before": before, "limit": limit}
    row = connection.execute(sql.count_earlier, told).fetchone()
    assert row is not None
    return int(row[0])


def export_jobs(
    connection: Connection, workspace: str, limit: int, offset: int, *, ended: bool
) -> list[JobView]:
    """Return whole jobs, oldest first."""
    told = {"workspace": workspace, "limit": limit, "offset": offset}
    statement = sql.export_completed if ended else sql.export_open
    rows = connection.execute(statement, told).fetchall()
    return _dressed(connection, workspace, [JobView(*row) for row in rows])


def _dressed(connection: Connection, workspace: str, jobs: list[JobView]) -> list[JobView]:
    """Add what members and versions know."""
    told = {
        "workspace": workspace,
        "usernames": list({job.created_by.removeprefix("u/") for job in jobs}),
        "hashes": list({job.script for job in jobs if not job.is_flow}),
    }
    emails: dict[str, str] = dict(connection.execute(sql.member_emails, told).fetchall())
    languages: dict[str, str] = dict(connection.execute(sql.script_languages, told).fetchall())
    return [
        replace(
            job,
            email=emails.get(job.created_by.removeprefix("u/")),
            language=None if job.is_flow else languages.get(job.script),
        )
        for job in jobs
    ]
