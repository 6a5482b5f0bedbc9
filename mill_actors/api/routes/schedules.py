"""Schedules: kept, checked and given back. Nothing runs them yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.bodies import raws, rest_of, sent, without_nulls
from mill_actors.api.items import is_there, permitted
from mill_actors.api.listing import PageQuery
from mill_actors.api.permissions import scope_allows
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, Routes
from mill_actors.store import schedules
from mill_actors.store.access import note
from mill_actors.store.connection import Connection
from mill_actors.store.schedules import Schedule

routes = Routes("schedules")

#: What the document does not say: columns, and what the server says itself.
_KNOWN = (
    "path", "script_path", "is_flow", "enabled", "email", "preserve_permissioned_as", "is_draft",
    "draft_only",
)  # fmt: skip


class ScheduleAnswer(JsonAnswer):
    """A schedule, as it was sent."""

    workspace_id: str
    path: str
    edited_by: str
    edited_at: datetime
    schedule: str
    timezone: str
    enabled: bool
    script_path: str
    is_flow: bool
    extra_perms: dict[str, bool]
    email: str
    permissioned_as: str
    args: dict[str, Any] | None = None
    summary: str | None = None
    description: str | None = None
    tag: str | None = None
    retry: dict[str, Any] | None = None
    no_flow_overlap: bool | None = None
    labels: list[str] | None = None


class NewSchedule(Struct, kw_only=True):
    """A new schedule: six fields of cron, seconds first. Fields that are not named here are kept too."""

    path: str
    schedule: str
    timezone: str
    script_path: str
    is_flow: bool
    args: dict[str, Any] | None = None
    enabled: bool = False
    summary: str | None = None
    description: str | None = None
    tag: str | None = None
    retry: dict[str, Any] | None = None
    no_flow_overlap: bool | None = None
    labels: list[str] | None = None


class EditSchedule(Struct, kw_only=True):
    """What it is from now on; whether it is enabled is said elsewhere."""

    schedule: str
    timezone: str
    args: dict[str, Any] | None = None
    script_path: str | UnsetType = UNSET
    is_flow: bool | UnsetType = UNSET
    summary: str | None = None
    description: str | None = None
    tag: str | None = None
    retry: dict[str, Any] | None = None
    no_flow_overlap: bool | None = None
    labels: list[str] | None = None


class SetEnabled(Struct):
    """Whether it is to run."""

    enabled: bool


class SchedulesQuery(PageQuery, kw_only=True):
    """`path` is the script's or flow's, `schedule_path` its own."""

    path: str | None = None
    is_flow: bool | None = None
    path_start: str | None = None
    schedule_path: str | None = None


@routes.post("/w/{workspace}/schedules/create", body=NewSchedule, returns=str, form="text")
async def create_schedule(call: Call[Any, NewSchedule]) -> web.Response:
    """Make a schedule. It is kept; nothing runs it yet."""
    told = call.body
    schedules.check_times(told.schedule, told.timezone)
    call.who.need_item("schedules", "write", told.path, {})
    _need_run(call, told.script_path, is_flow=told.is_flow)
    made = Schedule(
        told.path,
        told.script_path,
        told.is_flow,
        told.enabled,
        _document(await sent(call)),
        {},
        call.who.owner,
    )

    def work(connection: Connection) -> None:
        with connection.transaction():
            schedules.create_schedule(connection, call.workspace, made)
            _note(connection, call, "create", made)

    await call.services.run(work)
    return text_answer(f"schedule {told.path} created: it is kept, and nothing runs it yet")


@routes.post("/w/{workspace}/schedules/update/{path*}", body=EditSchedule, returns=str, form="text")
async def update_schedule(call: Call[Any, EditSchedule]) -> web.Response:
    """Replace a schedule; whether it is enabled stays as it is."""
    told = call.body
    schedules.check_times(told.schedule, told.timezone)
    document = _document(await sent(call))

    def change(old: Schedule) -> Schedule:
        fresh = replace(
            old,
            script_path=old.script_path if told.script_path is UNSET else told.script_path,
            is_flow=old.is_flow if told.is_flow is UNSET else told.is_flow,
            document=document,
            edited_by=call.who.owner,
        )
        _need_run(call, fresh.script_path, is_flow=fresh.is_flow)
        return fresh

    await _change(call, change)
    return text_answer(f"schedule {call.path} updated")


@routes.post("/w/{workspace}/schedules/setenabled/{path*}", body=SetEnabled, returns=str, form="text")
async def set_schedule_enabled(call: Call[Any, SetEnabled]) -> web.Response:
    """Say whether it is to run. It is kept; nothing runs it yet."""
    enabled = call.body.enabled

    def change(old: Schedule) -> Schedule:
        # It is to run as whoever has said so.
        if enabled:
            _need_run(call, old.script_path, is_flow=old.is_flow)
        return replace(old, enabled=enabled, edited_by=call.who.owner)

    await _change(call, change)
    return text_answer(f"schedule {call.path} {'enabled' if enabled else 'disabled'}")


@routes.delete("/w/{workspace}/schedules/delete/{path*}", returns=str, form="text")
async def delete_schedule(call: Call[Any, Any]) -> web.Response:
    """Delete a schedule."""

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = permitted(connection, call, "write", schedules.lock_schedule)
            schedules.delete_schedule(connection, call.workspace, old.path)
            _note(connection, call, "delete", old)

    await call.services.run(work)
    return text_answer(f"schedule {call.path} deleted")


@routes.get("/w/{workspace}/schedules/get/{path*}", returns=ScheduleAnswer)
async def get_schedule(call: Call[Any, Any]) -> web.Response:
    """A schedule, as it was sent."""
    found = await call.services.run(lambda c: permitted(c, call, "read", schedules.get_schedule))
    return json_answer(_answer(call, found))


@routes.get("/w/{workspace}/schedules/exists/{path*}", returns=bool)
async def exists_schedule(call: Call[Any, Any]) -> web.Response:
    """Whether there is such a schedule."""
    return json_answer(await is_there(call, schedules.get_schedule))


@routes.get("/w/{workspace}/schedules/list", query=SchedulesQuery, returns=list[ScheduleAnswer])
async def list_schedules(call: Call[SchedulesQuery, Any]) -> web.Response:
    """Schedules that the caller may read, by path."""
    told = call.query
    found = [
        each
        for each in await call.services.run(lambda c: schedules.list_schedules(c, call.workspace))
        if call.who.may("read", each.path, each.extra_perms)
        and told.path in {None, each.script_path}
        and told.is_flow in {None, each.is_flow}
        and told.schedule_path in {None, each.path}
        and each.path.startswith(told.path_start or "")
    ]
    return json_answer([_answer(call, each) for each in told.pages.cut(found)])


def _need_run(call: Call[Any, Any], path: str, *, is_flow: bool) -> None:
    call.who.need("run", path)
    if not scope_allows(
        call.who.account.scopes, "jobs", "run", f"{'flows' if is_flow else 'scripts'}:{path}"
    ):
        raise Problem(403, "forbidden", f"The token's scopes do not allow to run {path}.", path)


def _document(body: Mapping[str, Any]) -> dict[str, Any]:
    return without_nulls(rest_of(body, _KNOWN))


async def _change(call: Call[Any, Any], change: Any) -> None:
    def work(connection: Connection) -> None:
        with connection.transaction():
            fresh = change(permitted(connection, call, "write", schedules.lock_schedule))
            schedules.update_schedule(connection, call.workspace, fresh)
            _note(connection, call, "update", fresh)

    await call.services.run(work)


def _note(connection: Connection, call: Call[Any, Any], action: str, told: Schedule) -> None:
    more = {
        "script_path": told.script_path,
        "enabled": told.enabled,
        "schedule": told.document.get("schedule"),
    }
    note(connection, call.workspace, call.who.username, f"schedules.{action}", action, told.path, more)


def _answer(call: Call[Any, Any], found: Schedule) -> dict[str, Any]:
    return {
        **raws(found.document),
        "workspace_id": call.workspace,
        "path": found.path,
        "script_path": found.script_path,
        "is_flow": found.is_flow,
        "enabled": found.enabled,
        "extra_perms": found.extra_perms,
        "edited_by": found.edited_by.removeprefix("u/"),
        "edited_at": found.edited_at,
        "permissioned_as": found.edited_by,
        "email": found.email,
    }
