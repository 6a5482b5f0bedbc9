"""Rights of single things, beside those that their paths say.

They hold for folders, groups, variables, resources and schedules. Scripts and flows have the rights of their
folder and no others, so theirs are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from mill_actors.api.answers import json_answer, text_answer
from mill_actors.api.problems import Problem
from mill_actors.api.routes.folders import owned_folder
from mill_actors.api.routes.groups import led_group
from mill_actors.api.routing import Call, Routes
from mill_actors.store import folders, groups, resources, schedules, variables
from mill_actors.store.access import MemberNotFound, member_by_username, note
from mill_actors.store.connection import Connection
from mill_actors.store.resources import Resource
from mill_actors.store.schedules import Schedule
from mill_actors.store.shared_values import SharedValueNotFound
from mill_actors.store.variables import Variable

routes = Routes("acls")

#: Of a group nobody but its members needs to read anything.
_NO_READERS = Problem(400, "refused", "A group has members and admins, and no readers: say write=true.")


class AddAcl(Struct):
    """`u/NAME` or `g/NAME`, and whether it may write, else only read."""

    owner: str
    write: bool = False


class RemoveAcl(Struct):
    """`u/NAME` or `g/NAME`."""

    owner: str


Perms = dict[str, bool]
Change = Callable[[Perms], Perms]


Item = Variable | Resource | Schedule


@routes.post("/w/{workspace}/acls/add/{kind}/{path*}", body=AddAcl, returns=str, form="text")
async def add_granular_acl(call: Call[Any, AddAcl]) -> web.Response:
    """Give somebody a right; owners may. It holds for this server from this moment on."""
    told = call.body
    folders.check_owner(told.owner)
    if call.names["kind"] == "group_" and not told.write:
        raise _NO_READERS
    await _change(call, lambda perms: {**perms, told.owner: told.write})
    return text_answer(f"{told.owner} added")


@routes.post("/w/{workspace}/acls/remove/{kind}/{path*}", body=RemoveAcl, returns=str, form="text")
async def remove_granular_acl(call: Call[Any, RemoveAcl]) -> web.Response:
    """Take a right away; owners may."""
    owner = call.body.owner
    await _change(call, lambda perms: {name: may for name, may in perms.items() if name != owner})
    return text_answer(f"{owner} removed")


@routes.get("/w/{workspace}/acls/get/{kind}/{path*}", returns=dict[str, bool])
async def get_granular_acls(call: Call[Any, Any]) -> web.Response:
    """Who has rights beside those that the path says."""
    kind, path, workspace = call.names["kind"], call.path, call.workspace

    def work(connection: Connection) -> Any:
        if kind == "folder":
            call.who.need("read", f"f/{path}/")
            return folders.get_folder(connection, workspace, path).extra_perms
        if kind == "group_":
            return {f"u/{name}": True for name in groups.get_group(connection, workspace, path).admins}
        if kind in {"script", "flow"}:
            call.who.need("read", path)
            return {}
        found = _item(connection, call, kind)
        call.who.need("read", path, found.extra_perms)
        return found.extra_perms

    return json_answer(await call.services.run(work))


async def _change(call: Call[Any, Any], change: Change) -> None:
    kind, path = call.names["kind"], call.path

    def work(connection: Connection) -> None:
        with connection.transaction():
            told = _changed(connection, call, kind, change)
            more = {"kind": kind, "extra_perms": told}
            note(connection, call.workspace, call.who.username, "acls.update", "update", path, more)

    await call.services.change_rights(work)


def _changed(connection: Connection, call: Call[Any, Any], kind: str, change: Change) -> Perms:
    path, workspace = call.path, call.workspace
    if kind == "folder":
        folder = owned_folder(connection, call, path)
        perms = change(dict(folder.extra_perms))
        folders.update_folder(connection, workspace, replace(folder, extra_perms=perms))
        return perms
    if kind == "group_":
        group = led_group(connection, call, path)
        perms = change({f"u/{name}": True for name in group.admins})
        admins = [name.removeprefix("u/") for name in perms]
        for name in admins:
            if name not in group.admins and member_by_username(connection, workspace, name) is None:
                raise MemberNotFound(workspace, name)
        groups.update_group(connection, workspace, replace(group, admins=admins))
        return perms
    found = _item(connection, call, kind, for_update=True)
    if not call.who.rights.owns(path):
        raise Problem(403, "forbidden", f"{call.who.owner} is no owner of {path}.", path)
    perms = change(dict(found.extra_perms))
    match found:
        case Variable():
            variables.update_variable(connection, workspace, path, replace(found, extra_perms=perms))
        case Resource():
            resources.update_resource(connection, workspace, path, replace(found, extra_perms=perms))
        case Schedule():
            schedules.update_schedule(connection, workspace, replace(found, extra_perms=perms))
    return perms


def _item(connection: Connection, call: Call[Any, Any], kind: str, *, for_update: bool = False) -> Item:
    loads: dict[str, tuple[Callable[..., Item], Callable[..., Item]]] = {
        # Locked, a secret comes decrypted, and is encrypted again where it is written.
        "variable": (variables.find_variable, variables.lock_variable),
        "resource": (resources.get_resource, resources.lock_resource),
        "schedule": (schedules.get_schedule, schedules.lock_schedule),
    }
    if kind not in loads:
        raise Problem(
            400, "refused", f"A {kind} has the rights of its folder and no others: change the folder's."
        )
    try:
        return loads[kind][for_update](connection, call.workspace, call.path)
    except SharedValueNotFound:
        call.who.need("write" if for_update else "read", call.path)
        raise
