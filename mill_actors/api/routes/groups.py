"""Groups: members that folders can name together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.listing import PageQuery
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, Routes
from mill_actors.store import groups
from mill_actors.store.access import MemberNotFound, member_by_username, note
from mill_actors.store.connection import Connection
from mill_actors.store.groups import Group
from mill_actors.store.rights import EVERYBODY
from mill_actors.store.shared_values import SharedValueNotFound

routes = Routes("groups")


class GroupAnswer(JsonAnswer):
    """A group; `extra_perms` has true for `u/NAME` of its admins."""

    workspace_id: str
    name: str
    members: list[str]
    extra_perms: dict[str, bool]
    summary: str


class CreateGroup(Struct, kw_only=True):
    """A new group."""

    name: str
    summary: str = ""


class EditGroup(Struct):
    """What changes."""

    summary: str | None = None


class Username(Struct):
    """Who."""

    username: str


@routes.post("/w/{workspace}/groups/create", body=CreateGroup, returns=str, form="text")
async def create_group(call: Call[Any, CreateGroup]) -> web.Response:
    """Make a group; admins alone, because folders may name it already."""
    call.who.need_admin()
    told = call.body

    def work(connection: Connection) -> None:
        with connection.transaction():
            groups.create_group(connection, call.workspace, Group(told.name, told.summary))
            note(connection, call.workspace, call.who.username, "groups.create", "create", told.name)

    await call.services.change_rights(work)
    return text_answer(f"group {told.name} created")


@routes.post("/w/{workspace}/groups/update/{name}", body=EditGroup, returns=str, form="text")
async def update_group(call: Call[Any, EditGroup]) -> web.Response:
    """Change what is said of a group; its admins may."""
    summary = call.body.summary
    return await _change(call, lambda old: old if summary is None else replace(old, summary=summary))


@routes.post("/w/{workspace}/groups/adduser/{name}", body=Username, returns=str, form="text")
async def add_user_to_group(call: Call[Any, Username]) -> web.Response:
    """Take a member into a group; its admins may."""
    username = call.body.username
    return await _change(call, lambda old: replace(old, members=[*old.members, username]), username)


@routes.post("/w/{workspace}/groups/removeuser/{name}", body=Username, returns=str, form="text")
async def remove_user_from_group(call: Call[Any, Username]) -> web.Response:
    """Take a member out of a group; its admins may."""
    username = call.body.username
    return await _change(
        call,
        lambda old: replace(
            old,
            members=[each for each in old.members if each != username],
            admins=[each for each in old.admins if each != username],
        ),
    )


@routes.delete("/w/{workspace}/groups/delete/{name}", returns=str, form="text")
async def delete_group(call: Call[Any, Any]) -> web.Response:
    """Delete a group, and what it may do in folders; its admins may."""

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = led_group(connection, call, call.names["name"])
            groups.delete_group(connection, call.workspace, old.name)
            note(connection, call.workspace, call.who.username, "groups.delete", "delete", old.name)

    await call.services.change_rights(work)
    return text_answer(f"group {call.names['name']} deleted")


@routes.get("/w/{workspace}/groups/get/{name}", returns=GroupAnswer)
async def get_group(call: Call[Any, Any]) -> web.Response:
    """A group, with everybody in it."""
    name = call.names["name"]
    found = await call.services.run(lambda connection: groups.get_group(connection, call.workspace, name))
    return json_answer(_answer(call, found))


@routes.get("/w/{workspace}/groups/list", query=PageQuery, returns=list[GroupAnswer])
async def list_groups(call: Call[PageQuery, Any]) -> web.Response:
    """All groups; `all` is everybody."""

    def work(connection: Connection) -> list[Group]:
        return [
            groups.everybody(connection, call.workspace),
            *groups.list_groups(connection, call.workspace),
        ]

    found = await call.services.run(work)
    return json_answer([_answer(call, each) for each in call.query.pages.cut(found)])


@routes.get("/w/{workspace}/groups/listnames", returns=list[str])
async def list_group_names(call: Call[Any, Any]) -> web.Response:
    """The names of all groups."""
    found = await call.services.run(lambda connection: groups.list_groups(connection, call.workspace))
    return json_answer([EVERYBODY, *(each.name for each in found)])


def led_group(connection: Connection, call: Call[Any, Any], name: str) -> Group:
    """Return a group that is about to be changed; raise a 403 `Problem` unless the caller is its admin."""
    try:
        found = groups.lock_group(connection, call.workspace, name)
    except SharedValueNotFound:
        call.who.need_admin()
        raise
    if not (call.who.is_admin or call.who.username in found.admins):
        raise Problem(403, "forbidden", f"{call.who.owner} is no admin of the group {name}.")
    return found


async def _change(
    call: Call[Any, Any], change: Callable[[Group], Group], fresh: str | None = None
) -> web.Response:
    name = call.names["name"]

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = led_group(connection, call, name)
            if fresh is not None and member_by_username(connection, call.workspace, fresh) is None:
                raise MemberNotFound(call.workspace, fresh)
            told = change(old)
            groups.update_group(connection, call.workspace, told)
            more = {"members": told.members, "admins": told.admins}
            note(connection, call.workspace, call.who.username, "groups.update", "update", name, more)

    await call.services.change_rights(work)
    return text_answer(f"group {name} updated")


def _answer(call: Call[Any, Any], found: Group) -> GroupAnswer:
    return GroupAnswer(
        workspace_id=call.workspace,
        name=found.name,
        members=list(dict.fromkeys([*found.members, *found.admins])),
        extra_perms={f"u/{name}": True for name in found.admins},
        summary=found.summary,
    )
