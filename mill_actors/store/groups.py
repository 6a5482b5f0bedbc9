"""Groups of members. SQL: `sql/folders.sql`. The group `all` is everybody, and has no row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from mill_actors.errors import InvalidArgs
from mill_actors.store.access import list_members
from mill_actors.store.connection import Connection
from mill_actors.store.folders import check_name
from mill_actors.store.queries import sql
from mill_actors.store.rights import EVERYBODY
from mill_actors.store.shared_values import PathTaken, SharedValueNotFound


class Group(Struct, frozen=True):
    """Members and admins by their usernames; admins are in the group too."""

    name: str
    summary: str = ""
    members: Sequence[str] = ()
    admins: Sequence[str] = ()


def list_groups(connection: Connection, workspace: str) -> list[Group]:
    """Return all groups by name, without `all`."""
    rows = connection.execute(sql.list_groups, {"workspace": workspace, "name": None}).fetchall()
    return [Group(*row) for row in rows]


def everybody(connection: Connection, workspace: str) -> Group:
    """Return the group `all`."""
    names = [member.username for member in list_members(connection, workspace)]
    return Group(EVERYBODY, "The group that contains all users of this workspace", names)


def get_group(connection: Connection, workspace: str, name: str) -> Group:
    """Return a group; raise `SharedValueNotFound`."""
    if name == EVERYBODY:
        return everybody(connection, workspace)
    row = connection.execute(sql.list_groups, {"workspace": workspace, "name": name}).fetchone()
    if row is None:
        raise SharedValueNotFound("group", workspace, name)
    return Group(*row)


def lock_group(connection: Connection, workspace: str, name: str) -> Group:
    """Return a group that is about to be changed; raise `SharedValueNotFound`."""
    _check(name)
    row = connection.execute(sql.lock_group, {"workspace": workspace, "name": name}).fetchone()
    if row is None:
        raise SharedValueNotFound("group", workspace, name)
    return Group(*row)


def create_group(connection: Connection, workspace: str, group: Group) -> None:
    """Make a group; raise `PathTaken`."""
    _check(group.name)
    if connection.execute(sql.create_group, _columns(workspace, group)).fetchone() is None:
        raise PathTaken("group", group.name)


def update_group(connection: Connection, workspace: str, group: Group) -> None:
    """Change a group, locked before."""
    connection.execute(sql.update_group, _columns(workspace, group))


def delete_group(connection: Connection, workspace: str, name: str) -> None:
    """Delete a group, and what it may do in folders; raise `SharedValueNotFound`."""
    _check(name)
    if connection.execute(sql.delete_group, {"workspace": workspace, "name": name}).fetchone() is None:
        raise SharedValueNotFound("group", workspace, name)


def _check(name: str) -> None:
    check_name(name)
    if name == EVERYBODY:
        raise InvalidArgs(name, "this group is everybody, and stays so")


def _columns(workspace: str, group: Group) -> dict[str, Any]:
    return {
        "workspace": workspace,
        "name": group.name,
        "summary": group.summary,
        "members": list(dict.fromkeys(group.members)),
        "admins": list(dict.fromkeys(group.admins)),
    }
