"""Resources: JSON values with a path and a type. SQL: `sql/resources.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from psycopg.errors import UniqueViolation

from mill_actors.jobs.jsons import encode
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode
from mill_actors.store.paging import ALL, Page
from mill_actors.store.queries import sql
from mill_actors.store.shared_values import PathTaken, SharedValueNotFound, check_path, document, told
from mill_actors.store.variables import EVERYTHING, Filter, parameters

#: Of resources that nobody has said a type of.
ANY = "any"


class Resource(Struct, frozen=True):
    """A JSON value with a path; `raw` is its text."""

    path: str
    raw: str
    resource_type: str = ANY
    description: str = ""
    #: who may do what beside those that the path says
    extra_perms: Mapping[str, bool] = {}
    #: what else was sent: labels, ws_specific …
    rest: Mapping[str, Any] = {}
    edited_by: str | None = None
    edited_at: datetime | None = None

    @property
    def value(self) -> Any:
        """The value, decoded."""
        return decode(self.raw)


def put_resource(
    connection: Connection,
    workspace: str,
    path: str,
    value: Any,
    resource_type: str | None = None,
    description: str | None = None,
    *,
    edited_by: str | None = None,
) -> None:
    """Set a resource; what is not said stays as it is."""
    raw = encode(value).decode()
    with connection.transaction():
        row = connection.execute(sql.lock_resource, {"workspace": workspace, "path": path}).fetchone()
        if row is None:
            made = Resource(path, raw, resource_type or ANY, description or "", edited_by=edited_by)
            create_resource(connection, workspace, made)
        else:
            fresh = replace(Resource(*row), raw=raw, edited_by=edited_by)
            fresh = fresh if resource_type is None else replace(fresh, resource_type=resource_type)
            fresh = fresh if description is None else replace(fresh, description=description)
            update_resource(connection, workspace, path, fresh)


def create_resource(connection: Connection, workspace: str, resource: Resource) -> None:
    """Make a resource; raise `PathTaken`, unless both are states: then the value is replaced."""
    if connection.execute(sql.create_resource, _columns(workspace, resource)).fetchone() is None:
        raise PathTaken("resource", resource.path)


def lock_resource(connection: Connection, workspace: str, path: str) -> Resource:
    """Return a resource that is about to be changed; raise `SharedValueNotFound`."""
    row = connection.execute(sql.lock_resource, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise SharedValueNotFound("resource", workspace, path)
    return Resource(*row)


def update_resource(connection: Connection, workspace: str, path: str, resource: Resource) -> None:
    """Make of the resource at `path`, locked before, what is told; raise `PathTaken` by its new path."""
    try:
        connection.execute(sql.update_resource, {**_columns(workspace, resource), "old_path": path})
    except UniqueViolation:
        raise PathTaken("resource", resource.path) from None


def get_resource(connection: Connection, workspace: str, path: str) -> Resource:
    """Return a resource; raise `SharedValueNotFound`."""
    row = connection.execute(sql.get_resource, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise SharedValueNotFound("resource", workspace, path)
    return Resource(*row)


def list_resources(
    connection: Connection,
    workspace: str,
    wanted: Filter = EVERYTHING,
    page: Page = ALL,
    *,
    types: Sequence[str] | None = None,
    other_types: Sequence[str] | None = None,
) -> list[Resource]:
    """Return resources by path: of these types, and none of the others."""
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        rows = connection.execute(
            sql.list_resources,
            {
                **parameters(workspace, wanted),
                "types": None if types is None else list(types),
                "other_types": None if other_types is None else list(other_types),
                "limit": page.limit,
                "offset": page.offset,
            },
        ).fetchall()
    return [Resource(*row) for row in rows]


def delete_resource(connection: Connection, workspace: str, path: str) -> None:
    """Delete a resource; raise `SharedValueNotFound`."""
    if connection.execute(sql.delete_resource, {"workspace": workspace, "path": path}).fetchone() is None:
        raise SharedValueNotFound("resource", workspace, path)


def _columns(workspace: str, resource: Resource) -> dict[str, Any]:
    check_path(resource.path)
    return {
        "workspace": workspace,
        "path": resource.path,
        "value": resource.raw,
        "resource_type": told(resource.resource_type),
        "description": told(resource.description),
        "extra_perms": document(resource.path, resource.extra_perms),
        "rest": document(resource.path, resource.rest),
        "edited_by": resource.edited_by,
    }
