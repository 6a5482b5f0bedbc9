"""People: accounts everywhere, and members of a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.listing import PageQuery
from mill_actors.api.routing import Call, Routes
from mill_actors.store import people
from mill_actors.store.access import (
    Account,
    Member,
    MemberNotFound,
    Role,
    account_by_email,
    folder_rights,
    list_members,
    member_by_username,
    note,
)
from mill_actors.store.connection import Connection
from mill_actors.store.passwords import hash_password
from mill_actors.store.rights import folder_levels

routes = Routes("users")


class GlobalUserInfo(JsonAnswer):
    """An account, wherever it is a member."""

    email: str
    login_type: str
    super_admin: bool
    verified: bool
    first_time_user: bool
    role_source: str
    disabled: bool
    username: str | None = None
    devops: bool | None = None
    name: str | None = None
    workspace_id: str | None = None


class User(JsonAnswer):
    """A member of a workspace."""

    email: str
    username: str
    is_admin: bool
    is_super_admin: bool
    created_at: datetime
    operator: bool
    disabled: bool
    groups: list[str]
    #: that he may write
    folders: list[str]
    folders_read: list[str]
    folders_owners: list[str]
    name: str | None = None
    #: a superadmin who is no member
    non_member: bool | None = None


class EditUser(Struct, kw_only=True):
    """What changes; what is missing stays as it is."""

    is_admin: bool | None = None
    operator: bool | None = None
    disabled: bool | None = None


class CreateUser(Struct, kw_only=True):
    """A new account."""

    email: str
    password: Annotated[str, Meta(min_length=8, max_length=1000)]
    super_admin: bool = False
    name: str | None = None


@routes.get("/users/whoami", returns=GlobalUserInfo)
async def global_whoami(call: Call[Any, Any]) -> web.Response:
    """Who the token speaks for."""
    return json_answer(_account(call.who.account, call.who.member))


@routes.get("/users/list", query=PageQuery, returns=list[GlobalUserInfo])
async def list_accounts(call: Call[PageQuery, Any]) -> web.Response:
    """All accounts; superadmins alone."""
    call.who.need_superadmin()
    found = await call.services.run(lambda connection: people.list_accounts(connection, call.query.pages))
    return json_answer([_account(Account(each.email, each.name, each.is_superadmin)) for each in found])


@routes.get("/users/list_as_super_admin", query=PageQuery, returns=list[GlobalUserInfo])
async def list_accounts_as_superadmin(call: Call[PageQuery, Any]) -> web.StreamResponse:
    """The same, by the name that Windmill's command line knows."""
    return await list_accounts(call)


@routes.get("/users/exists/{email}", returns=bool)
async def exists_account(call: Call[Any, Any]) -> web.Response:
    """Whether there is such an account."""
    email = call.names["email"]
    found = await call.services.run(lambda connection: account_by_email(connection, email))
    return json_answer(found is not None)


@routes.post("/users/create", body=CreateUser, returns=str, status=201, form="text")
async def create_account(call: Call[Any, CreateUser]) -> web.Response:
    """Make an account with a password; superadmins alone."""
    call.who.need_superadmin()
    told = call.body
    password = await call.services.attempts.work(lambda: hash_password(told.password))

    def work(connection: Connection) -> None:
        with connection.transaction():
            people.create_account(
                connection, told.email, password, name=told.name, is_superadmin=told.super_admin
            )
            more = {"super_admin": told.super_admin}
            note(connection, "", call.who.account.email, "users.create", "create", told.email, more)

    await call.services.change_rights(work)
    return text_answer(f"account {told.email} created", 201)


@routes.get("/w/{workspace}/users/whoami", returns=User)
async def whoami(call: Call[Any, Any]) -> web.Response:
    """Who the token speaks for in this workspace, and what he may do."""
    member = call.who.member
    if member is None:
        # A superadmin, who may do all everywhere.
        who = call.who.account
        since = await call.services.run(lambda connection: people.account_since(connection, who.email))
        return json_answer(
            User(
                email=who.email,
                username=who.email,
                is_admin=True,
                is_super_admin=True,
                created_at=since,
                operator=False,
                disabled=False,
                groups=[],
                folders=[],
                folders_read=[],
                folders_owners=[],
                name=who.name,
                non_member=True,
            )
        )
    return json_answer(await call.services.run(lambda connection: _with_folders(connection, call, member)))


@routes.get("/w/{workspace}/users/list", returns=list[User])
async def list_users(call: Call[Any, Any]) -> web.Response:
    """Everybody in the workspace."""

    def work(connection: Connection) -> list[User]:
        folders = folder_rights(connection, call.workspace)
        found = list_members(connection, call.workspace)
        return [_user(member, folder_levels(_names(member), folders)) for member in found]

    return json_answer(await call.services.run(work))


@routes.get("/w/{workspace}/users/list_usernames", returns=list[str])
async def list_usernames(call: Call[Any, Any]) -> web.Response:
    """What everybody in the workspace is called."""
    found = await call.services.run(lambda connection: list_members(connection, call.workspace))
    return json_answer([member.username for member in found])


@routes.get("/w/{workspace}/users/get/{username}", returns=User)
async def get_user(call: Call[Any, Any]) -> web.Response:
    """One member."""
    return json_answer(
        await call.services.run(lambda connection: _with_folders(connection, call, _member(connection, call)))
    )


@routes.get("/w/{workspace}/users/username_to_email/{username}", form="text", returns=str)
async def username_to_email(call: Call[Any, Any]) -> web.Response:
    """The email of whoever has this name here."""
    found = await call.services.run(lambda connection: _member(connection, call))
    return text_answer(found.email)


@routes.post("/w/{workspace}/users/update/{username}", body=EditUser, returns=str, form="text")
async def update_user(call: Call[Any, EditUser]) -> web.Response:
    """Change what a member may do; admins alone. It holds for this server from this moment on."""
    call.who.need_admin()
    told = call.body

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = _member(connection, call)
            role: Role = old.role
            if told.is_admin is not None or told.operator is not None:
                is_admin = old.role == "admin" if told.is_admin is None else told.is_admin
                is_operator = old.role == "operator" if told.operator is None else told.operator
                role = "admin" if is_admin else "operator" if is_operator else "developer"
            disabled = old.disabled if told.disabled is None else told.disabled
            people.update_member(connection, call.workspace, old.username, role, disabled=disabled)
            more = {"role": role, "disabled": disabled}
            note(connection, call.workspace, call.who.username, "users.update", "update", old.username, more)

    await call.services.change_rights(work)
    return text_answer(f"user {call.names['username']} updated")


@routes.delete("/w/{workspace}/users/delete/{username}", returns=str, form="text")
async def delete_user(call: Call[Any, Any]) -> web.Response:
    """Take somebody out of the workspace, its groups and folders; admins alone. The account stays."""
    call.who.need_admin()
    username = call.names["username"]

    def work(connection: Connection) -> None:
        with connection.transaction():
            people.delete_member(connection, call.workspace, username)
            note(connection, call.workspace, call.who.username, "users.delete", "delete", username)

    await call.services.change_rights(work)
    return text_answer(f"user {username} deleted")


def _member(connection: Connection, call: Call[Any, Any]) -> Member:
    username = call.names["username"]
    found = member_by_username(connection, call.workspace, username)
    if found is None:
        raise MemberNotFound(call.workspace, username)
    return found


def _names(member: Member) -> set[str]:
    return {f"u/{member.username}", *(f"g/{group}" for group in member.groups)}


def _with_folders(connection: Connection, call: Call[Any, Any], member: Member) -> User:
    return _user(member, folder_levels(_names(member), folder_rights(connection, call.workspace)))


def _account(who: Account, member: Member | None = None) -> GlobalUserInfo:
    return GlobalUserInfo(
        email=who.email,
        login_type="password",
        super_admin=who.is_superadmin,
        verified=True,
        first_time_user=False,
        role_source="manual",
        disabled=False,
        username=member.username if member else people.username_of(who.email),
        devops=who.is_superadmin,
        name=who.name,
        workspace_id=who.workspace,
    )


def _user(member: Member, levels: Mapping[str, str]) -> User:
    return User(
        email=member.email,
        username=member.username,
        is_admin=member.role == "admin" or member.is_superadmin,
        is_super_admin=member.is_superadmin,
        created_at=member.created_at,
        operator=member.role == "operator",
        disabled=member.disabled,
        groups=list(member.groups),
        folders=[name for name, level in levels.items() if level in {"write", "own"}],
        folders_read=list(levels),
        folders_owners=[name for name, level in levels.items() if level == "own"],
        name=member.name,
    )
