"""Scripts: their versions, and what their paths mean."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mill_actors.api.answers import json_answer, raw_answer, text_answer
from mill_actors.api.definitions import check_path, need_write, sent
from mill_actors.api.problems import Problem, not_found
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.api.script_answers import ScriptAnswer, whole
from mill_actors.jobs.jsons import encode
from mill_actors.jobs.script import Script, make_script
from mill_actors.jobs.script_document import NewScript, rest_of
from mill_actors.runtimes.languages import LANGUAGES
from mill_actors.store.access import note
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import storable
from mill_actors.store.deployments import path_of_version
from mill_actors.store.notify import DEPLOY, notify
from mill_actors.store.script_definitions import (
    archive_script,
    delete_script,
    delete_script_version,
    read_script,
    replace_script,
)

routes = Routes("scripts")


@routes.post("/w/{workspace}/scripts/create", body=NewScript, returns=str, status=201, form="text")
async def create_script(call: Call[NoQuery, NewScript]) -> web.Response:
    """Make a version what its path means; answers its hash.

    The hash names all that was sent, so the same again is the same version, and changes nothing. A path
    that means something already needs `parent_hash`, the version it means, or `auto_parent`.
    """
    told = call.body
    check_path(told.path)
    need_write(call, "scripts", told.path)
    if told.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise Problem(
            400, "invalid_language", f"{told.language!r} does not run here: {known} do.", "$.language"
        )
    rest = rest_of(await sent(call))
    script = make_script(call.workspace, told.path, told.language, told.content, told.options, rest=rest)
    await call.services.run(lambda connection: _replace(connection, call, script))
    return text_answer(script.hash, 201)


def _replace(connection: Connection, call: Call[NoQuery, NewScript], script: Script) -> None:
    told = call.body
    renamed = None
    with connection.transaction():
        if told.parent_hash:
            renamed = path_of_version(connection, call.workspace, "script", told.parent_hash)
        if renamed not in {None, script.path}:
            need_write(call, "scripts", renamed or "")
        changed = replace_script(
            connection,
            script,
            call.who.owner,
            parent=told.parent_hash or None,
            auto_parent=bool(told.auto_parent),
            message=storable(told.deployment_message) if told.deployment_message else None,
        )
        if changed:
            more = {"hash": script.hash} | ({} if renamed in {None, script.path} else {"renamed": renamed})
            _note(connection, call, "create", script.path, more)
    if changed:
        for path in {script.path, renamed} - {None}:
            notify(connection, DEPLOY, f"{call.workspace}:{path}")


def _note(
    connection: Connection, call: Call[Any, Any], action: str, path: str, more: dict[str, Any] | None = None
) -> None:
    note(connection, call.workspace, call.who.username, f"scripts.{action}", action, path, more)


@routes.get("/w/{workspace}/scripts/get/p/{path*}", returns=ScriptAnswer)
async def get_script_by_path(call: Call[Any, Any]) -> web.Response:
    """What a path means now or, archived, meant last."""
    call.who.need("read", call.path)
    told = await call.services.run(lambda c: read_script(c, call.workspace, path=call.path))
    if told is None:
        raise not_found(f"script {call.path!r}")
    return raw_answer(encode(await whole(call.workspace, told)))


@routes.get("/w/{workspace}/scripts/get/h/{hash}", returns=ScriptAnswer)
async def get_script_by_hash(call: Call[Any, Any]) -> web.Response:
    """One version; `archived` if its path means another one now."""
    digest = call.names["hash"]
    told = await call.services.run(lambda c: read_script(c, call.workspace, digest=digest))
    if told is None:
        raise not_found(f"script version {digest!r}")
    call.who.need("read", told.path)
    return raw_answer(encode(await whole(call.workspace, told)))


@routes.get("/w/{workspace}/scripts/exists/p/{path*}", returns=bool)
async def script_exists(call: Call[Any, Any]) -> web.Response:
    """Whether a path means a script now; an archived one does not exist."""
    call.who.need("read", call.path)
    told = await call.services.run(lambda c: read_script(c, call.workspace, path=call.path))
    return json_answer(told is not None and not told.is_archived)


@routes.post("/w/{workspace}/scripts/archive/p/{path*}", returns=str, form="text")
async def archive_script_by_path(call: Call[Any, Any]) -> web.Response:
    """Take a script out of use: it cannot be started by its path any more. Its versions stay."""
    await _archive(call, call.path, None)
    return text_answer(f"archived {call.path}")


@routes.post("/w/{workspace}/scripts/archive/h/{hash}", returns=str, form="text")
async def archive_script_by_hash(call: Call[Any, Any]) -> web.Response:
    """Take a script out of use, if its path means this version; an earlier one is out of use already."""
    digest = call.names["hash"]
    await _archive(call, await _path_of(call, digest), digest)
    return text_answer(f"archived {digest}")


async def _archive(call: Call[Any, Any], path: str, digest: str | None) -> None:
    need_write(call, "scripts", path)

    def work(connection: Connection) -> bool:
        with connection.transaction():
            there = archive_script(connection, call.workspace, path, digest)
            if there:
                _note(connection, call, "archive", path)
        notify(connection, DEPLOY, f"{call.workspace}:{path}")
        return there

    if not await call.services.run(work):
        raise not_found(f"script {path!r}")


@routes.post("/w/{workspace}/scripts/delete/p/{path*}", returns=str, form="text")
async def delete_script_by_path(call: Call[Any, Any]) -> web.Response:
    """Delete a script, its history and its code. Jobs that still wait for it fail."""
    need_write(call, "scripts", call.path)

    def work(connection: Connection) -> bool:
        with connection.transaction():
            there = delete_script(connection, call.workspace, call.path)
            if there:
                _note(connection, call, "delete", call.path)
        notify(connection, DEPLOY, f"{call.workspace}:{call.path}")
        return there

    if not await call.services.run(work):
        raise not_found(f"script {call.path!r}")
    return text_answer(f"deleted {call.path}")


@routes.post("/w/{workspace}/scripts/delete/h/{hash}", returns=str, form="text")
async def delete_script_by_hash(call: Call[Any, Any]) -> web.Response:
    """Delete one version and its code; a path that means it is archived. Jobs that still wait for it fail."""
    digest = call.names["hash"]
    path = await _path_of(call, digest)
    need_write(call, "scripts", path)

    def work(connection: Connection) -> bool:
        with connection.transaction():
            there = delete_script_version(connection, call.workspace, digest)
            if there:
                _note(connection, call, "delete", path, {"hash": digest})
        notify(connection, DEPLOY, f"{call.workspace}:{path}")
        return there

    if not await call.services.run(work):
        raise not_found(f"script version {digest!r}")
    return text_answer(f"deleted {digest}")


async def _path_of(call: Call[Any, Any], digest: str) -> str:
    path = await call.services.run(lambda c: path_of_version(c, call.workspace, "script", digest))
    if path is None:
        raise not_found(f"script version {digest!r}")
    return path
