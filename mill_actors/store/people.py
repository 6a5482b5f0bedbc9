"""Accounts and members, as they are made and changed. SQL: `sql/people.sql`; who speaks: `access.py`."""

from __future__ import annotations

import re
from datetime import datetime

from msgspec import Struct

from mill_actors.errors import InvalidArgs, MillError
from mill_actors.store.access import MemberNotFound, Role, hash_token
from mill_actors.store.connection import Connection
from mill_actors.store.paging import Page
from mill_actors.store.queries import sql

#: The label of tokens that a login makes.
SESSION = "session"

#: No slashes: an export has a file of that name.
_EMAIL = re.compile(r"[^\s@/\\]+@[^\s@/\\]+")
_NO_WORD = re.compile(r"[^a-zA-Z0-9_.-]")


class ListedAccount(Struct, frozen=True):
    """Somebody, in all workspaces."""

    email: str
    name: str | None
    is_superadmin: bool
    has_password: bool
    created_at: datetime


class PersonExists(MillError):
    """There is such an account, or such a member."""


class LastAdmin(MillError):
    """A workspace would have no admin any more."""


def list_accounts(connection: Connection, page: Page) -> list[ListedAccount]:
    """Return accounts by their email."""
    rows = connection.execute(sql.list_accounts, {"limit": page.limit, "offset": page.offset}).fetchall()
    return [ListedAccount(*row) for row in rows]


def account_since(connection: Connection, email: str) -> datetime:
    """Return when an account was made."""
    row = connection.execute(sql.account_by_email, {"email": email}).fetchone()
    if row is None:
        raise InvalidArgs(email, "there is no such account")
    since: datetime = row[3]
    return since


def create_account(
    connection: Connection, email: str, password: str, *, name: str | None, is_superadmin: bool
) -> None:
    """Make an account; `password` is hashed. Raises `PersonExists`."""
    told = {
        "email": _checked(email),
        "name": name,
        "is_superadmin": is_superadmin,
        "password": password,
    }
    if connection.execute(sql.create_account, told).fetchone() is None:
        raise PersonExists(f"There is an account {email} already.")


def password_of(connection: Connection, email: str) -> str | None:
    """Return the hash of an account's password; None: there is none, or no account."""
    row = connection.execute(sql.password_of, {"email": email}).fetchone()
    return None if row is None else row[0]


def set_password(connection: Connection, email: str, password: str) -> None:
    """Set the hash of a password; who is logged in elsewhere is no more."""
    with connection.transaction():
        connection.execute(sql.set_password, {"email": email, "password": password})
        connection.execute(sql.end_sessions, {"email": email})


def end_session(connection: Connection, token: str) -> None:
    """Forget a token that a login has made."""
    connection.execute(sql.end_session, {"hash": hash_token(token)})


def add_member(connection: Connection, workspace: str, email: str, role: Role, username: str | None) -> str:
    """Make an account a member, and the account if there is none; return what he is called."""
    told = username or username_of(email)
    with connection.transaction():
        connection.execute(sql.ensure_account, {"email": _checked(email)})
        row = connection.execute(
            sql.add_member, {"workspace": workspace, "username": told, "email": email, "role": role}
        ).fetchone()
        if row is None:
            raise PersonExists(f"{email} is a member of {workspace!r} already, or somebody else is {told!r}.")
    return told


def update_member(
    connection: Connection, workspace: str, username: str, role: Role, *, disabled: bool
) -> None:
    """Change what a member is; raise `LastAdmin` if nobody could let people in any more."""
    if role != "admin" or disabled:
        _check_others(connection, workspace, username)
    connection.execute(
        sql.update_member,
        {"workspace": workspace, "username": username, "role": role, "disabled": disabled},
    )


def delete_member(connection: Connection, workspace: str, username: str) -> None:
    """Take somebody out of a workspace, its groups and folders; raise `MemberNotFound` or `LastAdmin`."""
    _check_others(connection, workspace, username)
    told = {"workspace": workspace, "username": username}
    if connection.execute(sql.delete_member, told).fetchone() is None:
        raise MemberNotFound(workspace, username)


def _check_others(connection: Connection, workspace: str, username: str) -> None:
    names = {row[0] for row in connection.execute(sql.other_admins, {"workspace": workspace}).fetchall()}
    if names == {username}:
        raise LastAdmin(f"{username} is the last admin of {workspace!r}: make somebody else one first.")


def username_of(email: str) -> str:
    """Return what somebody is called who has not said it.

    >>> username_of("Ada.Lovelace+x@example.com")
    'Ada.Lovelacex'
    """
    return _NO_WORD.sub("", email.partition("@")[0]).lstrip("_.-")[:50] or "user"


def _checked(email: str) -> str:
    if not _EMAIL.fullmatch(email) or len(email) > 255:
        raise InvalidArgs(email[:60], "an email looks like name@example.com")
    return email
