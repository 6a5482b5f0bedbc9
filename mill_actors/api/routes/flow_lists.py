"""Flows by the page: which there are, and what each has been."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mill_actors.api.answers import json_answer, raw_answer
from mill_actors.api.definitions import Page, person
from mill_actors.api.flow_answers import FlowInList, FlowVersion, in_list
from mill_actors.api.problems import not_found
from mill_actors.api.routes.script_lists import DeploymentStatus
from mill_actors.api.routing import Call, Routes
from mill_actors.jobs.jsons import encode
from mill_actors.store.deployments import Deployment, last_version, list_paths, read_history
from mill_actors.store.flow_definitions import FlowFilter, list_flow_definitions

routes = Routes("flows")


class FlowListQuery(Page, kw_only=True):
    """Which flows are listed."""

    #: newest first, unless this is false
    order_desc: bool = True
    created_by: str | None = None
    path_start: str | None = None
    path_exact: str | None = None
    #: those that are archived, and no others
    show_archived: bool = False
    starred_only: bool = False
    with_deployment_msg: bool = False
    without_description: bool = False
    dedicated_worker: bool | None = None
    label: str | None = None


@routes.get("/w/{workspace}/flows/list", query=FlowListQuery, returns=list[FlowInList])
async def list_flows(call: Call[FlowListQuery, Any]) -> web.Response:
    """Those that the caller may read, without their steps."""
    told = call.query
    if told.starred_only:  # nobody has stars here
        return json_answer([])
    wanted = FlowFilter(
        path=told.path_exact,
        path_start=told.path_start,
        created_by=None if told.created_by is None else f"u/{person(told.created_by)}",
        label=told.label,
        dedicated=told.dedicated_worker,
        archived=told.show_archived,
        with_message=told.with_deployment_msg,
        descending=told.order_desc,
        limit=told.limit,
        offset=told.offset,
    )
    found = await call.services.run(
        lambda c: list_flow_definitions(c, call.workspace, call.who.readable, wanted)
    )
    rows = [in_list(call.workspace, each) for each in found]
    if told.without_description:
        for row in rows:
            del row["description"]
    return raw_answer(encode(rows))


@routes.get("/w/{workspace}/flows/list_paths", returns=list[str])
async def list_flow_paths(call: Call[Any, Any]) -> web.Response:
    """The paths of all flows that the caller may read."""
    return json_answer(
        await call.services.run(lambda c: list_paths(c, call.workspace, "flow", call.who.readable))
    )


@routes.get("/w/{workspace}/flows/history/p/{path*}", query=Page, returns=list[FlowVersion])
async def flow_history(call: Call[Page, Any]) -> web.Response:
    """The versions that a path has meant, newest first."""
    call.who.need("read", call.path)
    query = call.query
    found = await call.services.run(
        lambda c: read_history(c, call.workspace, "flow", call.path, query.limit, query.offset)
    )
    return json_answer([_version(each) for each in found])


@routes.get("/w/{workspace}/flows/get_latest_version/{path*}", returns=FlowVersion | None)
async def latest_flow_version(call: Call[Any, Any]) -> web.Response:
    """The newest version of a path; null if there is none."""
    call.who.need("read", call.path)
    found = await call.services.run(lambda c: read_history(c, call.workspace, "flow", call.path, 1))
    return json_answer(_version(found[0]) if found else None)


def _version(told: Deployment) -> FlowVersion:
    assert told.version is not None
    return FlowVersion(told.version, told.deployed_at, person(told.deployed_by), told.message)


@routes.get("/w/{workspace}/flows/deployment_status/p/{path*}", returns=DeploymentStatus)
async def flow_deployment_status(call: Call[Any, Any]) -> web.Response:
    """What is left to do for a flow: nothing, from the first moment on."""
    call.who.need("read", call.path)
    if await call.services.run(lambda c: last_version(c, call.workspace, "flow", call.path)) is None:
        raise not_found(f"flow {call.path!r}")
    return json_answer(DeploymentStatus())
