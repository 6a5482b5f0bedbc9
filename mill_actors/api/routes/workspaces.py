"""Workspaces, who is in them, and what the command line asks of one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import Struct

from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.problems import Problem, not_found
from mill_actors.api.routing import Call, Routes
from mill_actors.store import people, workspaces
from mill_actors.store.access import Role, note
from mill_actors.store.connection import Connection
from mill_actors.store.workspaces import ListedWorkspace

routes = Routes("workspaces")


class WorkspaceId(Struct):
    """Which one."""

    id: str


class Workspace(JsonAnswer):
    """A workspace."""

    id: str
    name: str
    owner: str


class UserWorkspace(Struct):
    """A workspace, and what its member is called there."""

    id: str
    name: str
    username: str
    color: str
    is_dev_workspace: bool
    disabled: bool


class UserWorkspaceList(Struct):
    """Where somebody is a member."""

    email: str
    workspaces: list[UserWorkspace]


class CreateWorkspace(Struct, kw_only=True):
    """A new workspace; `username` is what its maker is called there."""

    id: str
    name: str
    username: str | None = None


class AddUser(Struct, kw_only=True):
    """A new member; the account is made if there is none."""

    email: str
    is_admin: bool = False
    operator: bool = False
    username: str | None = None


class WorkspaceSettings(JsonAnswer):
    """What is set of a workspace."""

    workspace_id: str
    name: str
    owner: str


class SpecificItem(Struct):
    """What belongs to one workspace alone."""

    item_kind: str
    path: str


class SharedUi(Struct):
    """Files that Windmill's apps share; there are no apps here."""

    files: dict[str, str]
    version: int
    edited_at: datetime
    edited_by: str


@routes.post("/workspaces/exists", body=WorkspaceId, returns=bool, action="read")
async def exists_workspace(call: Call[Any, WorkspaceId]) -> web.Response:
    """Whether there is such a workspace."""
    return json_answer(
        await call.services.run(lambda connection: workspaces.workspace_exists(connection, call.body.id))
    )


@routes.get("/workspaces/list", returns=list[Workspace])
async def list_workspaces(call: Call[Any, Any]) -> web.Response:
    """The workspaces that the caller may enter."""
    return json_answer([_workspace(each) for each in await _mine(call)])


@routes.get("/workspaces/users", returns=UserWorkspaceList)
async def list_user_workspaces(call: Call[Any, Any]) -> web.Response:
    """The workspaces that the caller may enter, and what he is called there."""
    email = call.who.account.email
    found = [
        UserWorkspace(each.id, each.name or each.id, each.username or email, "", False, each.disabled)
        for each in await _mine(call)
    ]
    return json_answer(UserWorkspaceList(email, found))


@routes.post("/workspaces/create", body=CreateWorkspace, returns=str, status=201, form="text")
async def create_workspace(call: Call[Any, CreateWorkspace]) -> web.Response:
    """Make a workspace, and become its admin; superadmins alone."""
    call.who.need_superadmin()
    told, email = call.body, call.who.account.email

    def work(connection: Connection) -> None:
        with connection.transaction():
            workspaces.create_workspace(connection, told.id, told.name, email)
            name = people.add_member(connection, told.id, email, "admin", told.username)
            note(connection, told.id, name, "workspaces.create", "create", told.id)

    await call.services.change_rights(work)
    return text_answer(f"workspace {told.id} created", 201)


@routes.post("/w/{workspace}/workspaces/add_user", body=AddUser, returns=str, status=201, form="text")
async def add_user(call: Call[Any, AddUser]) -> web.Response:
    """Make somebody a member; admins alone."""
    call.who.need_admin()
    told = call.body
    role: Role = "admin" if told.is_admin else "operator" if told.operator else "developer"

    def work(connection: Connection) -> str:
        with connection.transaction():
            name = people.add_member(connection, call.workspace, told.email, role, told.username)
            more = {"email": told.email, "role": role}
            note(
                connection, call.workspace, call.who.username, "users.add_to_workspace", "create", name, more
            )
            return name

    return text_answer(f"user {await call.services.change_rights(work)} added", 201)


@routes.post("/w/{workspace}/workspaces/leave", returns=str, form="text", action="read")
async def leave_workspace(call: Call[Any, Any]) -> web.Response:
    """Be no member any more."""
    member = call.who.member
    if member is None:
        raise not_found(f"member {call.who.username!r}")
    if call.who.account.workspace is not None or call.who.account.scopes is not None:
        raise Problem(403, "forbidden", "A job's token, and one with scopes, leaves no workspace.")

    def work(connection: Connection) -> None:
        with connection.transaction():
            people.delete_member(connection, call.workspace, member.username)
            note(connection, call.workspace, member.username, "workspaces.leave", "delete", member.username)

    await call.services.change_rights(work)
    return text_answer(f"left {call.workspace}")


@routes.get("/w/{workspace}/workspaces/get_settings", returns=WorkspaceSettings)
async def get_workspace_settings(call: Call[Any, Any]) -> web.Response:
    """What is set of the workspace."""
    found = await _this(call)
    return json_answer(
        WorkspaceSettings(workspace_id=found.id, name=found.name or found.id, owner=found.owner or "")
    )


@routes.get("/w/{workspace}/workspaces/list_ws_specific", returns=list[SpecificItem])
async def list_ws_specific(call: Call[Any, Any]) -> web.Response:
    """What belongs to this workspace alone, as far as the caller may read it."""
    found = await call.services.run(lambda connection: workspaces.specific_items(connection, call.workspace))
    return json_answer([SpecificItem(kind, path) for kind, path in found if call.who.may("read", path)])


@routes.get("/w/{workspace}/shared_ui/get", returns=SharedUi)
async def get_shared_ui(call: Call[Any, Any]) -> web.Response:
    """No files: there are no apps here."""
    found = await _this(call)
    return json_answer(SharedUi({}, 0, found.created_at, found.owner or ""))


@routes.get("/settings/global/{name}", returns=Any)
async def get_global_setting(call: Call[Any, Any]) -> web.Response:
    """A setting of the whole instance; what is not set is null."""
    # A member's name is made of the email, unless somebody says it.
    return json_answer(True if call.names["name"] == "automate_username_creation" else None)


async def _mine(call: Call[Any, Any]) -> list[ListedWorkspace]:
    who = call.who.account
    return await call.services.run(
        lambda connection: workspaces.workspaces_of(
            connection, who.email, everywhere=who.is_superadmin, workspace=who.workspace
        )
    )


async def _this(call: Call[Any, Any]) -> ListedWorkspace:
    email = call.who.account.email
    found = await call.services.run(
        lambda connection: workspaces.workspaces_of(
            connection, email, everywhere=True, workspace=call.workspace
        )
    )
    if not found:
        raise not_found(f"workspace {call.workspace!r}")
    return found[0]


def _workspace(each: ListedWorkspace) -> Workspace:
    return Workspace(id=each.id, name=each.name or each.id, owner=each.owner or "")
