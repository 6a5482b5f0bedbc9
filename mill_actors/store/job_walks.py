"""Walks along the queue and along history, as far as a page may go. SQL: `sql/job_lists.sql`.

A page costs a bounded number of rows, whatever its filters match: at the end of its budget it is answered as
far as it got, with a cursor to go on from. What is asked of arguments and results is asked here, since the
database cannot look into all JSON; those above 64 KB as they are stored are not looked into.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from mill_actors.store.connection import Connection
from mill_actors.store.job_reading import JobView
from mill_actors.store.queries import sql

#: Rows that one page may meet.
BUDGET = 20_000
#: … of which arguments or results are looked into.
JSON_BUDGET = 2_000
JSON_CHUNK = 200
MOST_BYTES = 64 * 1024
#: `page` costs what it skips: who wants to see more goes on by the cursor.
MOST_OFFSET = 100_000
#: A job that was open at a moment is looked for among so many that have ended after it.
STRADDLING = 5_000


_WORDS = frozenset({"created_by", "path", "path_start", "tag", "worker", "kinds", "statuses"})


class Words(Struct, frozen=True):
    """LIKE patterns, any of them, or none of them."""

    patterns: tuple[str, ...]
    is_negated: bool = False


class JobFilters(Struct, frozen=True, kw_only=True):
    """What is wanted; None: anything. `me` and `readable` (LIKE patterns of paths) say who asks."""

    me: str
    readable: tuple[str, ...] | None = None
    created_by: Words | None = None
    path: Words | None = None
    path_start: Words | None = None
    tag: Words | None = None
    worker: Words | None = None
    kinds: Words | None = None
    statuses: Words | None = None
    success: bool | None = None
    is_skipped: bool | None = None
    script_hash: str | None = None
    is_flow_step: bool | None = None
    has_null_parent: bool | None = None
    parent_job: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    started_before: datetime | None = None
    started_after: datetime | None = None
    completed_before: datetime | None = None
    completed_after: datetime | None = None
    running: bool | None = None
    suspended: bool | None = None
    #: of open ones: whether their time has come
    due: bool | None = None
    concurrency_key: str | None = None
    #: a LIKE pattern for path, tag and creator
    words: str | None = None
    #: asked of arguments and results
    accepts: Callable[[JobView], bool] | None = None
    needs_args: bool = False
    needs_result: bool = False


class Cursor(Struct, frozen=True):
    """The job after which a list goes on. `at`: when it ended; None, it is open."""

    at: datetime | None
    id: str


class JobPage(Struct, frozen=True):
    """Some jobs, and where to go on; there may be more after a page that is not full, too."""

    jobs: list[JobView]
    cursor: Cursor | None


class Wanted(Struct, frozen=True, kw_only=True):
    """Which part of a list."""

    limit: int
    offset: int = 0
    cursor: Cursor | None = None
    ascending: bool = False
    #: whether the answer has the arguments
    args: bool = False


class Walk(ABC):
    """A walk along one table."""

    def __init__(self, connection: Connection, workspace: str, filters: JobFilters) -> None:
        self._connection = connection
        self._workspace = workspace
        self._told = {**_parameters(filters), "workspace": workspace}
        self.accepts = filters.accepts

    @abstractmethod
    def rows(self, wanted: Wanted, budget: int) -> list[JobView]:
        """Return what fits among so many rows."""

    @abstractmethod
    def end(self, wanted: Wanted, budget: int) -> Cursor | None:
        """Return the last of so many rows; None if there are not as many."""

    def _part(self, wanted: Wanted, budget: int) -> dict[str, Any]:
        told = self._told
        return {
            **told,
            "args": told["needs_args"] or wanted.args,
            "result": told["needs_result"],
            "limit": wanted.limit,
            "offset": wanted.offset,
            "ascending": wanted.ascending,
            "budget": budget,
            "most_bytes": MOST_BYTES,
        }


class OpenJobs(Walk):
    """The queue."""

    def rows(self, wanted: Wanted, budget: int) -> list[JobView]:
        rows = self._connection.execute(sql.list_open, self._place(wanted, budget)).fetchall()
        return [JobView(*row) for row in rows]

    def end(self, wanted: Wanted, budget: int) -> Cursor | None:
        row = self._connection.execute(sql.open_walk_end, self._place(wanted, budget)).fetchone()
        return None if row is None else Cursor(None, row[0])

    def _place(self, wanted: Wanted, budget: int) -> dict[str, Any]:
        after = None if wanted.cursor is None else wanted.cursor.id
        told = {"before_id": after, "since_id": None}
        if wanted.ascending:
            told = {"before_id": None, "since_id": after}
        return {**self._part(wanted, budget), **told}


class EndedJobs(Walk):
    """History."""

    def __init__(
        self, connection: Connection, workspace: str, filters: JobFilters, cursor: Cursor | None
    ) -> None:
        super().__init__(connection, workspace, filters)
        # Nothing ends before it was made, or began.
        after = (filters.completed_after, filters.created_after, filters.started_after)
        self._since = max((moment for moment in after if moment is not None), default=None)
        self._before = filters.completed_before
        made = [moment for moment in (filters.created_before, filters.started_before) if moment is not None]
        if cursor is None and made and filters.parent_job is None:
            self._pass_by(min(made))

    def _pass_by(self, moment: datetime) -> None:
        """Begin behind what has ended long after a moment: it would be all that has ended since."""
        told = {"workspace": self._workspace, "after": moment, "many": STRADDLING}
        row = self._connection.execute(sql.completed_after_many, told).fetchone()
        if row is not None:
            self._before = row[0] if self._before is None else min(row[0], self._before)

    def rows(self, wanted: Wanted, budget: int) -> list[JobView]:
        rows = self._connection.execute(sql.list_completed, self._place(wanted, budget)).fetchall()
        return [JobView(*row) for row in rows]

    def end(self, wanted: Wanted, budget: int) -> Cursor | None:
        row = self._connection.execute(sql.completed_walk_end, self._place(wanted, budget)).fetchone()
        return None if row is None else Cursor(*row)

    def _place(self, wanted: Wanted, budget: int) -> dict[str, Any]:
        told: dict[str, Any] = {
            "before": self._before,
            "since": self._since,
            "before_id": None,
            "since_id": None,
        }
        cursor = wanted.cursor
        if cursor is not None and wanted.ascending:
            told |= {"since": cursor.at, "since_id": cursor.id}
        elif cursor is not None:
            told |= {"before": cursor.at, "before_id": cursor.id}
        return {**self._part(wanted, budget), **told}


def walk(place: Walk, wanted: Wanted) -> JobPage:
    """Return one page of a walk."""
    if place.accepts is not None:
        return _searched(place, wanted, place.accepts)
    budget = BUDGET + wanted.offset + wanted.limit
    found = place.rows(wanted, budget)
    if len(found) == wanted.limit:
        return JobPage(found, _after(found[-1]))
    return JobPage(found, place.end(wanted, budget))


def _searched(place: Walk, wanted: Wanted, accepts: Callable[[JobView], bool]) -> JobPage:
    """Return one page of those whose JSON fits, as far as the budget goes."""
    found: list[JobView] = []
    part = replace(wanted, limit=JSON_CHUNK, offset=0)
    budget = BUDGET * JSON_CHUNK // JSON_BUDGET
    for _ in range(JSON_BUDGET // JSON_CHUNK):
        rows = place.rows(part, budget)
        for row in rows:
            if accepts(row):
                found.append(row)
                if len(found) == wanted.offset + wanted.limit:
                    return JobPage(found[wanted.offset :], _after(row))
        cursor = _after(rows[-1]) if len(rows) == part.limit else place.end(part, budget)
        part = replace(part, cursor=cursor)
        if cursor is None:
            break
    return JobPage(found[wanted.offset :], part.cursor)


def _after(job: JobView) -> Cursor:
    return Cursor(job.completed_at, job.id)


def _parameters(filters: JobFilters) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in asdict(filters).items():
        if name in _WORDS:
            told[name] = None if value is None else list(value.patterns)
            told[f"{name}_not"] = value is not None and value.is_negated
        elif isinstance(value, tuple):
            told[name] = list(value)
        elif name != "accepts":
            told[name] = value
    return told
