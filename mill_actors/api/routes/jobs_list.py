"""Lists of jobs, counts, and exports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp import web
from msgspec import Raw, Struct

from mill_actors.api.answers import JsonAnswer, json_answer
from mill_actors.api.job_filters import (
    ListQuery,
    cursor_of,
    cursor_text,
    filters_of,
    matches_nothing,
    only_ended,
    only_open,
)
from mill_actors.api.job_models import CompletedJob, QueuedJob, job_answer, job_kind
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, Routes
from mill_actors.store.job_lists import (
    count_completed,
    count_earlier,
    count_open,
    export_jobs,
    list_jobs,
)
from mill_actors.store.job_reading import JobView
from mill_actors.store.job_walks import MOST_OFFSET, JobPage, Wanted

routes = Routes("jobs")

PER_PAGE = 1_000
MOST_PER_PAGE = 10_000
#: A job that more wait before is told this.
LAST_POSITION = 10_000

Table = Literal["queue", "completed", "both"]


async def _listed(call: Call[ListQuery, Any], table: Table, per_page: int = PER_PAGE) -> JobPage:
    told = call.query
    if told.running and (told.success is not None or told.status is not None):
        raise Problem(400, "invalid_query", "What runs has neither success nor status.", "$.running")
    if table == "both":
        if only_open(told):
            table = "queue"
        elif only_ended(told):
            table = "completed"
    filters = filters_of(call.who, told, table)
    wanted = Wanted(
        limit=_per_page(told.per_page, per_page),
        # Where both are listed Windmill knows no pages.
        offset=0 if table == "both" else _offset(told, per_page),
        cursor=cursor_of(told.cursor),
        ascending=not told.order_desc and table != "both",
        args=told.include_args,
    )
    if matches_nothing(told):
        return JobPage([], None)
    return await call.services.run(
        lambda c: list_jobs(
            c, call.workspace, filters, wanted, open_ones=table != "completed", ended=table != "queue"
        )
    )


def _per_page(told: int | None, default: int) -> int:
    if told is not None and told < 1:
        raise Problem(400, "invalid_query", "per_page is 1 or more.", "$.per_page")
    return min(told or default, MOST_PER_PAGE)


def _offset(told: ListQuery, default: int) -> int:
    if told.cursor:
        return 0
    offset = max((told.page or 1) - 1, 0) * _per_page(told.per_page, default)
    if offset > MOST_OFFSET:
        message = f"Pages beyond {MOST_OFFSET:,} jobs are to be had by the cursor only: see X-Next-Cursor."
        raise Problem(400, "invalid_query", message, "$.page")
    return offset


def _page_answer(call: Call[Any, Any], page: JobPage, value: object) -> web.Response:
    answer = json_answer(value)
    if page.cursor is not None:
        answer.headers["X-Next-Cursor"] = cursor_text(page.cursor)
    return answer


async def _list_answer(call: Call[ListQuery, Any], table: Table) -> web.Response:
    page = await _listed(call, table)
    return _page_answer(call, page, [job_answer(call.workspace, job) for job in page.jobs])


@routes.get("/w/{workspace}/jobs/list", query=ListQuery, returns=list[QueuedJob | CompletedJob])
async def list_all_jobs(call: Call[ListQuery, None]) -> web.Response:
    """Jobs: open ones first, then those that are over, newest first.

    A page may be short although there is more: `X-Next-Cursor` says so, and `cursor` goes on from there. Open
    jobs are in the order of their ids, others in that of their ends.
    """
    return await _list_answer(call, "both")


@routes.get("/w/{workspace}/jobs/queue/list", query=ListQuery, returns=list[QueuedJob | CompletedJob])
async def list_queue(call: Call[ListQuery, None]) -> web.Response:
    """Open jobs, newest first; `X-Next-Cursor` as with all lists."""
    return await _list_answer(call, "queue")


@routes.get("/w/{workspace}/jobs/completed/list", query=ListQuery, returns=list[QueuedJob | CompletedJob])
async def list_completed_jobs(call: Call[ListQuery, None]) -> web.Response:
    """Jobs that are over, newest first; `X-Next-Cursor` as with all lists."""
    return await _list_answer(call, "completed")


@routes.get("/w/{workspace}/jobs/list_filtered_uuids", query=ListQuery, returns=list[str])
async def list_filtered_uuids(call: Call[ListQuery, None]) -> web.Response:
    """The ids of what `jobs/list` lists."""
    page = await _listed(call, "both", MOST_PER_PAGE)
    return _page_answer(call, page, [job.id for job in page.jobs])


@routes.get("/w/{workspace}/jobs/queue/list_filtered_uuids", query=ListQuery, returns=list[str])
async def list_filtered_queue_uuids(call: Call[ListQuery, None]) -> web.Response:
    """The ids of what `jobs/queue/list` lists."""
    page = await _listed(call, "queue", MOST_PER_PAGE)
    return _page_answer(call, page, [job.id for job in page.jobs])


# -- counts ------------------------------------------------------------------------


class QueueCount(Struct):
    """`suspended`: flows that wait for approval."""

    database_length: int
    suspended: int


@routes.get("/w/{workspace}/jobs/queue/count", returns=QueueCount)
async def count_queue(call: Call[Any, None]) -> web.Response:
    """How many jobs are open."""
    total, suspended = await call.services.run(lambda c: count_open(c, call.workspace))
    return json_answer(QueueCount(total, suspended))


class CompletedCount(Struct):
    """As far as history is kept."""

    database_length: int


@routes.get("/w/{workspace}/jobs/completed/count", returns=CompletedCount)
async def count_completed_jobs(call: Call[Any, None]) -> web.Response:
    """How many jobs are over."""
    return json_answer(CompletedCount(await call.services.run(lambda c: count_completed(c, call.workspace))))


class Position(Struct):
    """Null: nobody waits before."""

    position: int | None


@routes.get(
    "/w/{workspace}/jobs/queue/position/{moment}",
    also="/w/{workspace}/jobs_u/queue/position/{moment}",
    returns=Position,
)
async def get_queue_position(call: Call[Any, None]) -> web.Response:
    """Where a job stands that was due at a moment, in milliseconds since 1970. 10,001 is the last place."""
    text = call.names["moment"]
    try:
        if len(text) > 15 or not text.isascii():
            raise ValueError(text)
        before = datetime.fromtimestamp(int(text) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise Problem(400, "invalid_path", "A moment is milliseconds since 1970.") from None
    count = await call.services.run(lambda c: count_earlier(c, call.workspace, before, LAST_POSITION))
    return json_answer(Position(count + 1 if count else None))


# -- exports -----------------------------------------------------------------------


class ExportQuery(Struct, kw_only=True):
    """Pages from 1, until one is short."""

    page: int | None = None
    per_page: int | None = None


class ExportedJob(JsonAnswer):
    """A job as another instance takes it."""

    id: str
    created_by: str
    created_at: datetime
    job_kind: str
    permissioned_as: str
    email: str
    visible_to_owner: bool
    tag: str
    permissioned_as_email: str | None = None
    parent_job: str | None = None
    scheduled_for: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    script_path: str | None = None
    script_hash: str | None = None
    args: Raw | None = None
    result: Raw | None = None
    canceled_by: str | None = None
    canceled_reason: str | None = None
    is_flow_step: bool | None = None
    flow_step_id: str | None = None
    language: str | None = None
    is_skipped: bool | None = None
    priority: int | None = None
    worker: str | None = None
    status: str | None = None


def _exported(workspace: str, found: JobView) -> ExportedJob:
    told = job_answer(workspace, found)
    answer = ExportedJob(
        id=told.id,
        created_by=told.created_by,
        created_at=told.created_at,
        job_kind=job_kind(found.script, is_flow=found.is_flow),
        permissioned_as=told.permissioned_as,
        email=told.email,
        visible_to_owner=True,
        tag=told.tag,
        permissioned_as_email=told.email,
        parent_job=told.parent_job,
        scheduled_for=told.scheduled_for,
        started_at=told.started_at,
        script_path=told.script_path,
        script_hash=told.script_hash,
        args=told.args,
        canceled_by=told.canceled_by,
        canceled_reason=told.canceled_reason,
        is_flow_step=told.is_flow_step,
        flow_step_id=found.step,
        language=told.language,
        priority=told.priority,
        worker=told.worker,
    )
    if isinstance(told, CompletedJob):
        answer.completed_at = told.completed_at
        answer.duration_ms = told.duration_ms
        answer.result = told.result
        answer.is_skipped = told.is_skipped
        answer.status = told.status
    return answer


async def _export(call: Call[ExportQuery, Any], *, ended: bool) -> web.Response:
    call.who.need_admin()
    told = call.query
    limit = _per_page(told.per_page, PER_PAGE)
    offset = max((told.page or 1) - 1, 0) * limit
    if offset >= 2**62:
        return json_answer([])
    found = await call.services.run(lambda c: export_jobs(c, call.workspace, limit, offset, ended=ended))
    return json_answer([_exported(call.workspace, job) for job in found])


@routes.get("/w/{workspace}/jobs/completed/export", query=ExportQuery, returns=list[ExportedJob])
async def export_completed_jobs(call: Call[ExportQuery, None]) -> web.Response:
    """All jobs that are over, oldest first, for admins: pages until one is short."""
    return await _export(call, ended=True)


@routes.get("/w/{workspace}/jobs/queue/export", query=ExportQuery, returns=list[ExportedJob])
async def export_queue(call: Call[ExportQuery, None]) -> web.Response:
    """All open jobs, for admins: pages until one is short."""
    return await _export(call, ended=False)
