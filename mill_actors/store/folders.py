"""Folders, as they are made and changed. SQL: `sql/folders.sql`; what they mean: `rights.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from mill_actors.errors import InvalidArgs
from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql
from mill_actors.store.shared_values import PathTaken, SharedValueNotFound, document

_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,254}")
_OWNER = re.compile(r"[ug]/[^/\s]{1,255}")


class FolderDocument(Struct, frozen=True):
    """A folder with all that was sent of it."""

    name: str
    #: `u/NAME` and `g/NAME`
    owners: Sequence[str]
    extra_perms: Mapping[str, bool]
    #: summary, display_name …
    rest: Mapping[str, Any]
    created_by: str
    edited_at: datetime | None = None


def list_folders(connection: Connection, workspace: str) -> list[FolderDocument]:
    """Return all folders by name."""
    rows = connection.execute(sql.list_folders, {"workspace": workspace, "name": None}).fetchall()
    return [FolderDocument(*row) for row in rows]


def get_folder(connection: Connection, workspace: str, name: str) -> FolderDocument:
    """Return a folder; raise `SharedValueNotFound`."""
    row = connection.execute(sql.list_folders, {"workspace": workspace, "name": name}).fetchone()
    if row is None:
        raise SharedValueNotFound("folder", workspace, name)
    return FolderDocument(*row)


def lock_folder(connection: Connection, workspace: str, name: str) -> FolderDocument:
    """Return a folder that is about to be changed; raise `SharedValueNotFound`."""
    row = connection.execute(sql.lock_folder, {"workspace": workspace, "name": name}).fetchone()
    if row is None:
        raise SharedValueNotFound("folder", workspace, name)
    return FolderDocument(*row)


def create_folder(connection: Connection, workspace: str, folder: FolderDocument) -> None:
    """Make a folder; raise `PathTaken`."""
    check_name(folder.name)
    told = _columns(workspace, folder) | {"created_by": folder.created_by}
    if connection.execute(sql.create_folder, told).fetchone() is None:
        raise PathTaken("folder", folder.name)


def update_folder(connection: Connection, workspace: str, folder: FolderDocument) -> None:
    """Change a folder, locked before."""
    connection.execute(sql.update_folder, _columns(workspace, folder))


def delete_folder(connection: Connection, workspace: str, name: str) -> None:
    """Delete a folder; raise `SharedValueNotFound`. What is in it stays, for admins."""
    if connection.execute(sql.delete_folder, {"workspace": workspace, "name": name}).fetchone() is None:
        raise SharedValueNotFound("folder", workspace, name)


def is_used(connection: Connection, workspace: str, name: str) -> bool:
    """Whether anything is in a folder, be it there or not."""
    told = {"workspace": workspace, "prefix": f"f/{name}/", "after": f"f/{name}0"}
    row = connection.execute(sql.folder_is_used, told).fetchone()
    return row is not None and bool(row[0])


def check_name(name: str) -> None:
    """Raise `InvalidArgs` for what is no name of a folder, group or resource type."""
    if not _NAME.fullmatch(name):
        raise InvalidArgs(name[:60], "a name has letters, digits, _ and -")


def check_owner(owner: str) -> None:
    """Raise `InvalidArgs` for what owns nothing."""
    if not _OWNER.fullmatch(owner):
        raise InvalidArgs(owner[:60], "an owner looks like u/name or g/name")


def _columns(workspace: str, folder: FolderDocument) -> dict[str, Any]:
    for owner in (*folder.owners, *folder.extra_perms):
        check_owner(owner)
    return {
        "workspace": workspace,
        "name": folder.name,
        "owners": list(folder.owners),
        "extra_perms": document(folder.name, folder.extra_perms),
        "rest": document(folder.name, folder.rest),
    }
