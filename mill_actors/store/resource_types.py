"""Resource types: what resources of a type look like. SQL: `sql/schedules.sql`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from mill_actors.jobs.jsons import encode
from mill_actors.store.connection import Connection
from mill_actors.store.folders import check_name
from mill_actors.store.queries import sql
from mill_actors.store.shared_values import PathTaken, SharedValueNotFound


class ResourceType(Struct, frozen=True):
    """A type; `document` is what was sent: schema, description, is_fileset and the like."""

    name: str
    document: Mapping[str, Any]
    edited_by: str
    edited_at: datetime | None = None


def list_resource_types(connection: Connection, workspace: str) -> list[ResourceType]:
    """Return all types by name."""
    rows = connection.execute(sql.list_resource_types, {"workspace": workspace, "name": None}).fetchall()
    return [ResourceType(*row) for row in rows]


def get_resource_type(connection: Connection, workspace: str, name: str) -> ResourceType:
    """Return a type; raise `SharedValueNotFound`."""
    row = connection.execute(sql.list_resource_types, {"workspace": workspace, "name": name}).fetchone()
    if row is None:
        raise SharedValueNotFound("resource type", workspace, name)
    return ResourceType(*row)


def lock_resource_type(connection: Connection, workspace: str, name: str) -> ResourceType:
    """Return a type that is about to be changed; raise `SharedValueNotFound`."""
    row = connection.execute(sql.lock_resource_type, {"workspace": workspace, "name": name}).fetchone()
    if row is None:
        raise SharedValueNotFound("resource type", workspace, name)
    return ResourceType(*row)


def create_resource_type(connection: Connection, workspace: str, made: ResourceType) -> None:
    """Make a type; raise `PathTaken`."""
    check_name(made.name)
    if connection.execute(sql.create_resource_type, _columns(workspace, made)).fetchone() is None:
        raise PathTaken("resource type", made.name)


def update_resource_type(connection: Connection, workspace: str, made: ResourceType) -> None:
    """Change a type, locked before."""
    connection.execute(sql.update_resource_type, _columns(workspace, made))


def delete_resource_type(connection: Connection, workspace: str, name: str) -> None:
    """Delete a type; raise `SharedValueNotFound`. Resources of it stay what they are."""
    if (
        connection.execute(sql.delete_resource_type, {"workspace": workspace, "name": name}).fetchone()
        is None
    ):
        raise SharedValueNotFound("resource type", workspace, name)


def _columns(workspace: str, made: ResourceType) -> dict[str, Any]:
    return {
        "workspace": workspace,
        "name": made.name,
        "document": encode(made.document).decode(),
        "edited_by": made.edited_by,
    }
