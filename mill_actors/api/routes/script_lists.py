"""Scripts by the page: which there are, and what each has been."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import Struct

from mill_actors.api.answers import json_answer, raw_answer
from mill_actors.api.definitions import Page, person, words
from mill_actors.api.problems import Problem, not_found
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.api.script_answers import ScriptInList, ScriptVersion, in_list
from mill_actors.jobs.jsons import encode
from mill_actors.store.deployments import Deployment, list_paths, path_of_version, read_history
from mill_actors.store.script_definitions import ScriptFilter, list_script_definitions

routes = Routes("scripts")


class ScriptListQuery(Page, kw_only=True):
    """Which scripts are listed."""

    #: newest first, unless this is false
    order_desc: bool = True
    created_by: str | None = None
    path_start: str | None = None
    path_exact: str | None = None
    #: a version that the path has meant; the one before the present one; the first of all
    parent_hash: str | None = None
    first_parent_hash: str | None = None
    last_parent_hash: str | None = None
    #: those that are archived, and no others
    show_archived: bool = False
    is_template: bool | None = None
    #: with commas between them
    kinds: str | None = None
    languages: str | None = None
    starred_only: bool = False
    with_deployment_msg: bool = False
    without_description: bool = False
    dedicated_worker: bool | None = None
    label: str | None = None


@routes.get("/w/{workspace}/scripts/list", query=ScriptListQuery, returns=list[ScriptInList])
async def list_scripts(call: Call[ScriptListQuery, Any]) -> web.Response:
    """Those that the caller may read, without their code."""
    told = call.query
    if told.starred_only:  # nobody has stars here
        return json_answer([])
    wanted = ScriptFilter(
        path=told.path_exact,
        path_start=told.path_start,
        created_by=None if told.created_by is None else f"u/{person(told.created_by)}",
        languages=words(told.languages),
        kinds=words(told.kinds),
        label=told.label,
        dedicated=told.dedicated_worker,
        is_template=told.is_template,
        any_parent=told.parent_hash,
        first_parent=told.first_parent_hash,
        last_parent=told.last_parent_hash,
        archived=told.show_archived,
        with_message=told.with_deployment_msg,
        descending=told.order_desc,
        limit=told.limit,
        offset=told.offset,
    )
    found = await call.services.run(
        lambda c: list_script_definitions(c, call.workspace, call.who.readable, wanted)
    )
    rows = [in_list(call.workspace, each) for each in found]
    if told.without_description:
        for row in rows:
            del row["description"]
    return raw_answer(encode(rows))


@routes.get("/w/{workspace}/scripts/list_paths", returns=list[str])
async def list_script_paths(call: Call[Any, Any]) -> web.Response:
    """The paths of all scripts that the caller may read."""
    return json_answer(
        await call.services.run(lambda c: list_paths(c, call.workspace, "script", call.who.readable))
    )


@routes.get("/w/{workspace}/scripts/history/p/{path*}", query=Page, returns=list[ScriptVersion])
async def script_history(call: Call[Page, Any]) -> web.Response:
    """The versions that a path has meant, newest first."""
    call.who.need("read", call.path)
    query = call.query
    found = await call.services.run(
        lambda c: read_history(c, call.workspace, "script", call.path, query.limit, query.offset)
    )
    return json_answer([_version(each) for each in found])


@routes.get("/w/{workspace}/scripts/get_latest_version/{path*}", returns=ScriptVersion | None)
async def latest_script_version(call: Call[Any, Any]) -> web.Response:
    """The newest version of a path; null if there is none."""
    call.who.need("read", call.path)
    found = await call.services.run(lambda c: read_history(c, call.workspace, "script", call.path, 1))
    return json_answer(_version(found[0]) if found else None)


def _version(told: Deployment) -> ScriptVersion:
    return ScriptVersion(told.hash, told.deployed_at, person(told.deployed_by), told.message)


class DeploymentStatus(Struct):
    """Nothing is left to do: what has been created is deployed."""


@routes.get("/w/{workspace}/scripts/deployment_status/h/{hash}", returns=DeploymentStatus)
async def script_deployment_status(call: Call[Any, Any]) -> web.Response:
    """What is left to do for a version: nothing, from the first moment on."""
    digest = call.names["hash"]
    path = await call.services.run(lambda c: path_of_version(c, call.workspace, "script", digest))
    if path is None:
        raise not_found(f"script version {digest!r}")
    call.who.need("read", path)
    return json_answer(DeploymentStatus())


class LocalScripts(Struct):
    """Scripts as somebody has them on his disk: the SHA-256 of each, by path."""

    scripts: dict[str, str] = {}


@routes.post("/w/{workspace}/scripts/raw_temp/diff", body=LocalScripts, returns=list[str], action="read")
async def scripts_to_upload(call: Call[NoQuery, LocalScripts]) -> web.Response:
    """Which local scripts a preview needs to have uploaded: none, since none imports another."""
    return json_answer([])


@routes.post("/w/{workspace}/scripts/raw_temp/store", body=str, returns=str, action="read")
async def store_local_script(call: Call[NoQuery, str]) -> web.Response:
    """Refused: what is uploaded here would be used by nothing. `raw_temp/diff` asks for no upload."""
    raise Problem(400, "not_supported", "Scripts import no other scripts here, so there is nothing to keep.")
