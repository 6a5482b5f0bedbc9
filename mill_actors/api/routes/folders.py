"""Folders: who may do what with all that is in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.bodies import raws, rest_of, sent, without_nulls
from mill_actors.api.listing import PageQuery
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, Routes
from mill_actors.store import folders
from mill_actors.store.access import note
from mill_actors.store.connection import Connection
from mill_actors.store.folders import FolderDocument
from mill_actors.store.shared_values import SharedValueNotFound

routes = Routes("folders")

_KNOWN = ("name", "owners")


class Folder(JsonAnswer):
    """A folder; other fields that were sent are there too."""

    workspace_id: str
    name: str
    owners: list[str]
    extra_perms: dict[str, bool]
    summary: str | None = None
    display_name: str | None = None
    labels: list[str] | None = None
    created_by: str | None = None
    edited_at: datetime | None = None


class CreateFolder(Struct, kw_only=True):
    """A new folder. Without owners it is its maker's; fields that are not named here are kept too."""

    name: str
    owners: list[str] | None = None
    extra_perms: dict[str, bool] | None = None
    summary: str | None = None
    display_name: str | None = None
    labels: list[str] | None = None


class EditFolder(Struct, kw_only=True):
    """What changes; what is missing stays as it is."""

    owners: list[str] | None = None
    extra_perms: dict[str, bool] | None = None
    summary: str | UnsetType | None = UNSET
    display_name: str | UnsetType | None = UNSET
    labels: list[str] | UnsetType | None = UNSET


class Owner(Struct):
    """`u/NAME` or `g/NAME`."""

    owner: str


class NamesQuery(PageQuery, kw_only=True):
    """`only_member_of`: those that name the caller; an admin sees others too."""

    only_member_of: bool = False


@routes.post("/w/{workspace}/folders/create", body=CreateFolder, returns=str, form="text")
async def create_folder(call: Call[Any, CreateFolder]) -> web.Response:
    """Make a folder. Over what is there already, only an admin can."""
    told = call.body
    rest = without_nulls(rest_of(await sent(call), _KNOWN))
    owners = told.owners
    if owners is None or not (call.who.is_admin or call.who.owner in owners):
        owners = [*(owners or ()), call.who.owner]
    made = FolderDocument(told.name, owners, told.extra_perms or {}, rest, call.who.owner)

    def work(connection: Connection) -> None:
        with connection.transaction():
            if not call.who.is_admin and folders.is_used(connection, call.workspace, told.name):
                raise Problem(
                    403, "forbidden", f"There is something in f/{told.name} already: ask an admin to make it."
                )
            folders.create_folder(connection, call.workspace, made)
            _note(connection, call, "create", made)

    await call.services.change_rights(work)
    return text_answer(f"folder {told.name} created")


@routes.post("/w/{workspace}/folders/update/{name}", body=EditFolder, returns=str, form="text")
async def update_folder(call: Call[Any, EditFolder]) -> web.Response:
    """Change a folder; its owners may. It holds for this server from this moment on."""
    told = call.body
    rest = rest_of(await sent(call), _KNOWN)

    def change(old: FolderDocument) -> FolderDocument:
        return replace(
            old,
            owners=old.owners if told.owners is None else told.owners,
            extra_perms=old.extra_perms if told.extra_perms is None else told.extra_perms,
            rest=without_nulls({**old.rest, **rest}),
        )

    return await _change(call, change)


@routes.post("/w/{workspace}/folders/addowner/{name}", body=Owner, returns=str, form="text")
async def add_folder_owner(call: Call[Any, Owner]) -> web.Response:
    """Make somebody an owner; its owners may."""
    owner = call.body.owner
    return await _change(call, lambda old: replace(old, owners=list(dict.fromkeys([*old.owners, owner]))))


@routes.post("/w/{workspace}/folders/removeowner/{name}", body=Owner, returns=str, form="text")
async def remove_folder_owner(call: Call[Any, Owner]) -> web.Response:
    """Make somebody no owner any more; its owners may."""
    owner = call.body.owner
    return await _change(
        call, lambda old: replace(old, owners=[each for each in old.owners if each != owner])
    )


@routes.delete("/w/{workspace}/folders/delete/{name}", returns=str, form="text")
async def delete_folder(call: Call[Any, Any]) -> web.Response:
    """Delete a folder; its owners may. What is in it stays, for admins alone."""

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = owned_folder(connection, call, call.names["name"])
            folders.delete_folder(connection, call.workspace, old.name)
            _note(connection, call, "delete", old)

    await call.services.change_rights(work)
    return text_answer(f"folder {call.names['name']} deleted")


@routes.get("/w/{workspace}/folders/get/{name}", returns=Folder)
async def get_folder(call: Call[Any, Any]) -> web.Response:
    """A folder that the caller may read."""
    name = call.names["name"]
    call.who.need("read", f"f/{name}/")
    found = await call.services.run(lambda connection: folders.get_folder(connection, call.workspace, name))
    return json_answer(_answer(call, found))


@routes.get("/w/{workspace}/folders/exists/{name}", returns=bool)
async def exists_folder(call: Call[Any, Any]) -> web.Response:
    """Whether there is such a folder."""
    return json_answer(call.names["name"] in {each.name for each in await _all(call)})


@routes.get("/w/{workspace}/folders/list", query=PageQuery, returns=list[Folder])
async def list_folders(call: Call[PageQuery, Any]) -> web.Response:
    """Folders that the caller may read."""
    page = call.query.pages
    found = [each for each in await _all(call) if call.who.may("read", f"f/{each.name}/")]
    return json_answer([_answer(call, each) for each in page.cut(found)])


@routes.get("/w/{workspace}/folders/listnames", query=NamesQuery, returns=list[str])
async def list_folder_names(call: Call[NamesQuery, Any]) -> web.Response:
    """Names of folders that the caller may read."""
    rights = call.who.rights
    found = [
        each.name
        for each in await _all(call)
        if (not call.query.only_member_of and call.who.is_admin)
        or rights.names.intersection([*each.owners, *each.extra_perms])
    ]
    return json_answer(call.query.pages.cut(found))


def owned_folder(connection: Connection, call: Call[Any, Any], name: str) -> FolderDocument:
    """Return a folder of the caller's that is about to be changed; raise a 403 `Problem` if it is not his."""
    try:
        found = folders.lock_folder(connection, call.workspace, name)
    except SharedValueNotFound:
        if call.who.is_admin:
            raise
        found = FolderDocument(name, (), {}, {}, "")
    if not (call.who.is_admin or call.who.rights.names.intersection(found.owners)):
        raise Problem(403, "forbidden", f"{call.who.owner} is no owner of f/{name}.")
    return found


async def _all(call: Call[Any, Any]) -> list[FolderDocument]:
    return await call.services.run(lambda connection: folders.list_folders(connection, call.workspace))


async def _change(call: Call[Any, Any], change: Any) -> web.Response:
    name = call.names["name"]

    def work(connection: Connection) -> None:
        with connection.transaction():
            fresh = change(owned_folder(connection, call, name))
            folders.update_folder(connection, call.workspace, fresh)
            _note(connection, call, "update", fresh)

    await call.services.change_rights(work)
    return text_answer(f"folder {name} updated")


def _note(connection: Connection, call: Call[Any, Any], action: str, told: FolderDocument) -> None:
    more = {"owners": told.owners, "extra_perms": told.extra_perms}
    note(connection, call.workspace, call.who.username, f"folders.{action}", action, told.name, more)


def _answer(call: Call[Any, Any], found: FolderDocument) -> dict[str, Any]:
    return {
        **raws(found.rest),
        "workspace_id": call.workspace,
        "name": found.name,
        "owners": found.owners,
        "extra_perms": found.extra_perms,
        "created_by": found.created_by.removeprefix("u/"),
        "edited_at": found.edited_at,
    }
