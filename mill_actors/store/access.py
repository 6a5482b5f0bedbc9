"""Accounts, members and tokens: who speaks. SQL: `sql/access.sql`.

Of a token the database has a hash alone: tokens are 256 random bits, so a plain SHA-256 is as good as
any slower one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from mill_actors.errors import InvalidToken, MillError
from mill_actors.jobs.jsons import encode
from mill_actors.jobs.token import statement_of, verify
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import job_id
from mill_actors.store.queries import sql

Role = Literal["admin", "developer", "operator"]

#: How much of a token is kept to tell it from others, and to delete it by.
PREFIX = 10


class Account(Struct, frozen=True):
    """Somebody, in all workspaces. `workspace`: the only one that the token is good for."""

    email: str
    name: str | None
    is_superadmin: bool
    workspace: str | None = None
    label: str | None = None
    scopes: tuple[str, ...] | None = None
    prefix: str | None = None
    #: when the token ends
    expires_at: datetime | None = None


class Member(Struct, frozen=True):
    """What somebody is called in a workspace, and what he may do there."""

    username: str
    email: str
    role: Role
    disabled: bool
    created_at: datetime
    is_superadmin: bool
    name: str | None
    groups: tuple[str, ...]


class Folder(Struct, frozen=True):
    """Who may do what in a folder: `owners` and `extra_perms` name `u/NAME` and `g/NAME`."""

    name: str
    owners: tuple[str, ...]
    extra_perms: Mapping[str, bool]


class MemberNotFound(MillError):
    """There is no such member in this workspace."""

    def __init__(self, workspace: str, who: str) -> None:
        self.workspace = workspace
        self.who = who
        super().__init__(f"There is no member {who!r} in workspace {workspace!r}.")


def hash_token(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_token(
    connection: Connection,
    email: str,
    *,
    label: str | None = None,
    workspace: str | None = None,
    scopes: Sequence[str] | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Make a token for an account, and return it: it is not kept, and never to be seen again."""
    token = secrets.token_urlsafe(32)
    connection.execute(
        sql.put_token,
        {
            "hash": hash_token(token),
            "prefix": token[:PREFIX],
            "email": email,
            "workspace": workspace,
            "label": label,
            "scopes": None if scopes is None else list(scopes),
            "expires_at": expires_at,
        },
    )
    return token


def account_of_token(connection: Connection, token: str) -> Account | None:
    """Return who a token speaks for."""
    row = connection.execute(sql.find_token, {"hash": hash_token(token)}).fetchone()
    if row is None:
        return None
    email, workspace, label, scopes, prefix, is_superadmin, name, expires_at = row
    told = None if scopes is None else tuple(scopes)
    return Account(email, name, is_superadmin, workspace, label, told, prefix, expires_at)


def note_use(connection: Connection, token: str) -> None:
    """Remember, to the minute, that a token is in use."""
    connection.execute(sql.note_use, {"hash": hash_token(token)})


def account_by_email(connection: Connection, email: str) -> Account | None:
    """Return an account."""
    row = connection.execute(sql.account_by_email, {"email": email}).fetchone()
    return None if row is None else Account(row[0], row[1], row[2])


def member_by_email(connection: Connection, workspace: str, email: str) -> Member | None:
    """Return what an account is in a workspace."""
    row = connection.execute(sql.member_by_email, {"workspace": workspace, "email": email}).fetchone()
    return None if row is None else _member(row)


def member_by_username(connection: Connection, workspace: str, username: str) -> Member | None:
    """Return who has this name in a workspace."""
    row = connection.execute(
        sql.member_by_username, {"workspace": workspace, "username": username}
    ).fetchone()
    return None if row is None else _member(row)


def list_members(connection: Connection, workspace: str) -> list[Member]:
    """Return everybody in a workspace."""
    rows = connection.execute(sql.list_members, {"workspace": workspace}).fetchall()
    return [_member(row) for row in rows]


def _member(row: Sequence[Any]) -> Member:
    username, email, role, disabled, created_at, is_superadmin, name, groups = row
    return Member(username, email, role, disabled, created_at, is_superadmin, name, tuple(groups))


def folder_rights(connection: Connection, workspace: str) -> list[Folder]:
    """Return every folder of a workspace, with who may do what in it."""
    rows = connection.execute(sql.folder_rights, {"workspace": workspace}).fetchall()
    return [Folder(name, tuple(owners), perms) for name, owners, perms in rows]


def job_of_token(connection: Connection, token: str, now: float) -> tuple[str, str, str]:
    """Return (workspace, runs as, job) of a WM_TOKEN; raise `InvalidToken`, for one whose job is over too."""
    statement = statement_of(token)
    if "\0" in statement.workspace:
        raise InvalidToken(why="its workspace is not there")
    row = connection.execute(sql.workspace_key, {"workspace": statement.workspace}).fetchone()
    if row is None:
        raise InvalidToken(why="its workspace is not there")
    statement, job = verify(bytes(row[0]), token, now)
    found = connection.execute(sql.open_job_owner, {"id": job_id(job)}).fetchone()
    assert found is not None
    runs, is_over = found
    if is_over or not (runs or _is_young(job, now)):
        raise InvalidToken(why="its job is over")
    return statement.workspace, statement.runs_as, job


def _is_young(job: str, now: float) -> bool:
    # History is kept for a day at least; what is older and nowhere has been forgotten. An id of the future is
    # somebody's choice, and then its job has had a row from the beginning.
    return -60 < now - (int(job.replace("-", "")[:12], 16) / 1000.0) < 86_400 - 60


def note(
    connection: Connection,
    workspace: str,
    username: str,
    operation: str,
    action: str,
    resource: str | None = None,
    parameters: Mapping[str, object] | None = None,
) -> None:
    """Write into the audit log. `operation` is dotted, as in `variables.create`."""
    connection.execute(
        sql.put_audit,
        {
            "workspace": workspace,
            "username": username,
            "operation": operation,
            "action": action,
            "resource": resource,
            "parameters": None if parameters is None else encode(parameters).decode(),
        },
    )
