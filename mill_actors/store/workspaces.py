"""Workspaces: tenants. SQL: `sql/people.sql`."""

from __future__ import annotations

import re
from datetime import datetime

from msgspec import Struct

from mill_actors.errors import InvalidArgs
from mill_actors.store.connection import Connection
from mill_actors.store.people import PersonExists
from mill_actors.store.queries import sql

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


class ListedWorkspace(Struct, frozen=True):
    """A workspace; `username` is what the one who asks is called there, if he is a member."""

    id: str
    name: str | None
    owner: str | None
    username: str | None
    disabled: bool
    created_at: datetime


def workspace_exists(connection: Connection, workspace: str) -> bool:
    """Whether there is such a workspace."""
    row = connection.execute(sql.workspace_exists, {"id": workspace}).fetchone()
    return row is not None and bool(row[0])


def workspaces_of(
    connection: Connection, email: str, *, everywhere: bool = False, workspace: str | None = None
) -> list[ListedWorkspace]:
    """Return the workspaces somebody is a member of, or all; `workspace`: that one at most."""
    told = {"email": email, "everywhere": everywhere, "workspace": workspace}
    return [ListedWorkspace(*row) for row in connection.execute(sql.workspaces_of, told).fetchall()]


def create_workspace(connection: Connection, workspace: str, name: str, owner: str) -> None:
    """Make a workspace; raise `PersonExists` if there is one."""
    if not _ID.fullmatch(workspace):
        raise InvalidArgs(workspace[:60], "a workspace's id is a-z, 0-9, _ and -, at most 50 letters")
    told = {"id": workspace, "name": name, "owner": owner}
    if connection.execute(sql.create_workspace, told).fetchone() is None:
        raise PersonExists(f"There is a workspace {workspace!r} already.")


def specific_items(connection: Connection, workspace: str) -> list[tuple[str, str]]:
    """Return (kind, path) of what is said to belong to this workspace alone."""
    rows = connection.execute(sql.specific_items, {"workspace": workspace}).fetchall()
    return [(kind, path) for kind, path in rows]
