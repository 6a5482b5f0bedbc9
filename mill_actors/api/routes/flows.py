"""Flows: their versions, and what their paths mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from mill_actors.api.answers import json_answer, raw_answer, text_answer
from mill_actors.api.definitions import check_path, need_steps, need_write, sent
from mill_actors.api.flow_answers import ArchiveFlow, EditedFlow, FlowAnswer, NewFlow, kept, whole
from mill_actors.api.problems import not_found
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.flows.document import read_flow
from mill_actors.jobs.jsons import encode
from mill_actors.store.access import note
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import storable
from mill_actors.store.flow_definitions import (
    archive_flow,
    create_flow,
    delete_flow,
    read_flow_definition,
    update_flow,
)
from mill_actors.store.flow_versions import FlowText, flow_of
from mill_actors.store.notify import DEPLOY, notify

routes = Routes("flows")


@routes.post("/w/{workspace}/flows/create", body=NewFlow, returns=str, status=201, form="text")
async def create(call: Call[NoQuery, NewFlow]) -> web.Response:
    """Make a flow what its path means; answers the path.

    A faulty flow is refused with all its faults. The path must not mean another flow already.
    """
    path = call.body.path
    flow = await _flow(call, path)

    def work(connection: Connection) -> bool:
        return create_flow(connection, flow, call.who.owner, _message(call))

    await _change(call, "create", [path], work, {"hash": flow.hash})
    return text_answer(path, 201)


@routes.post("/w/{workspace}/flows/update/{path*}", body=EditedFlow, returns=str, form="text")
async def update(call: Call[NoQuery, EditedFlow]) -> web.Response:
    """Make another version what a flow's path means; another `path` in the body renames it.

    Jobs keep the version that they started with.
    """
    need_write(call, "flows", call.path)
    path = call.body.path or call.path
    flow = await _flow(call, path)

    def work(connection: Connection) -> bool:
        return update_flow(connection, call.path, flow, call.who.owner, _message(call))

    more = {"hash": flow.hash} | ({} if path == call.path else {"renamed": call.path})
    await _change(call, "update", list(dict.fromkeys([path, call.path])), work, more)
    return text_answer(path)


async def _flow(call: Call[NoQuery, Any], path: str) -> FlowText:
    check_path(path)
    need_write(call, "flows", path)
    flow = flow_of(call.workspace, path, read_flow(kept(await sent(call)), path))
    await need_steps(call, flow)
    return flow


def _message(call: Call[NoQuery, Any]) -> str | None:
    told: str | None = call.body.deployment_message
    return storable(told) if told else None


async def _change(
    call: Call[Any, Any],
    action: str,
    paths: list[str],
    work: Callable[[Connection], bool],
    more: dict[str, Any] | None = None,
) -> bool:
    """Do it and note it, in one transaction; then tell the workers."""

    def whole_work(connection: Connection) -> bool:
        with connection.transaction():
            changed = work(connection)
            if changed:
                who = call.who.username
                note(connection, call.workspace, who, f"flows.{action}", action, paths[0], more)
        if changed:
            for path in paths:
                notify(connection, DEPLOY, f"{call.workspace}:flow/{path}")
        return changed

    return await call.services.run(whole_work)


@routes.get("/w/{workspace}/flows/get/v/{version}/p/{path*}", returns=FlowAnswer)
async def get_version_of_path(call: Call[Any, Any]) -> web.Response:
    """One version of a flow, by its number."""
    return await _version(call)


@routes.get("/w/{workspace}/flows/get/v/{version}", returns=FlowAnswer)
async def get_version(call: Call[Any, Any]) -> web.Response:
    """One version of any flow, by its number."""
    return await _version(call)


async def _version(call: Call[Any, Any]) -> web.Response:
    text, path = call.names["version"], call.names.get("path")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
    told = await call.services.run(
        lambda c: read_flow_definition(c, call.workspace, path=path, version=number)
    )
    if told is None:
        raise not_found(f"flow version {text!r}")
    call.who.need("read", told.path)
    return raw_answer(encode(whole(call.workspace, told)))


@routes.get("/w/{workspace}/flows/get/{path*}", returns=FlowAnswer)
async def get_flow_by_path(call: Call[Any, Any]) -> web.Response:
    """What a path means now or, archived, meant last."""
    call.who.need("read", call.path)
    told = await call.services.run(lambda c: read_flow_definition(c, call.workspace, path=call.path))
    if told is None:
        raise not_found(f"flow {call.path!r}")
    return raw_answer(encode(whole(call.workspace, told)))


@routes.get("/w/{workspace}/flows/exists/{path*}", returns=bool)
async def flow_exists(call: Call[Any, Any]) -> web.Response:
    """Whether a path means a flow now; an archived one does not exist."""
    call.who.need("read", call.path)
    told = await call.services.run(lambda c: read_flow_definition(c, call.workspace, path=call.path))
    return json_answer(told is not None and not told.is_archived)


@routes.post("/w/{workspace}/flows/archive/{path*}", body=ArchiveFlow, returns=str, form="text")
async def archive(call: Call[NoQuery, ArchiveFlow]) -> web.Response:
    """Take a flow out of use, or back into it. Runs under way go on."""
    need_write(call, "flows", call.path)
    archived = call.body.archived

    def work(connection: Connection) -> bool:
        return archive_flow(connection, call.workspace, call.path, call.who.owner, archived=archived)

    if not await _change(call, "archive", [call.path], work, {"archived": archived}):
        raise not_found(f"flow {call.path!r}")
    return text_answer(f"{'archived' if archived else 'unarchived'} {call.path}")


@routes.delete("/w/{workspace}/flows/delete/{path*}", returns=str, form="text")
async def delete(call: Call[Any, Any]) -> web.Response:
    """Delete a flow and its history; what is not there is deleted already. Runs under way go on."""
    need_write(call, "flows", call.path)
    await _change(
        call, "delete", [call.path], lambda connection: delete_flow(connection, call.workspace, call.path)
    )
    return text_answer(f"deleted {call.path}")
