"""Variables and resources: values that flows and scripts share by a path. SQL: `sql/shared_values.sql`.

A variable is text, a resource any JSON value. Both are stored as they are: whoever reads the database
reads them.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from mill_actors.errors import InvalidArgs, MillError
from mill_actors.jobs.jsons import encode
from mill_actors.jobs.script import PATH
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode, storable
from mill_actors.store.queries import sql


class Variable(Struct, frozen=True):
    """A text with a path."""

    path: str
    value: str
    description: str


class Resource(Struct, frozen=True):
    """A JSON value with a path; `raw` is its text."""

    path: str
    raw: str
    resource_type: str
    description: str

    @property
    def value(self) -> Any:
        """The value, decoded."""
        return decode(self.raw)


class SharedValueNotFound(MillError):
    """There is no such variable or resource."""

    def __init__(self, kind: str, workspace: str, path: str) -> None:
        self.kind = kind
        self.workspace = workspace
        self.path = path
        super().__init__(f"There is no {kind} {path!r} in workspace {workspace!r}.")


def put_variable(
    connection: Connection, workspace: str, path: str, value: str, description: str | None = None
) -> None:
    """Set a variable; without a description it keeps the one it has."""
    _check(path)
    if storable(value) != value:
        raise InvalidArgs(path, "a variable's text cannot contain NUL, nor half a character")
    connection.execute(
        sql.put_variable,
        {"workspace": workspace, "path": path, "value": value, "description": _told(description)},
    )


def get_variable(connection: Connection, workspace: str, path: str) -> Variable:
    """Return a variable; raise `SharedValueNotFound`."""
    row = connection.execute(sql.get_variable, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise SharedValueNotFound("variable", workspace, path)
    return Variable(*row)


def list_variables(connection: Connection, workspace: str) -> list[Variable]:
    """Return every variable of a workspace, by path."""
    rows = connection.execute(sql.list_variables, {"workspace": workspace}).fetchall()
    return [Variable(*row) for row in rows]


def delete_variable(connection: Connection, workspace: str, path: str) -> None:
    """Delete a variable; raise `SharedValueNotFound`."""
    if connection.execute(sql.delete_variable, {"workspace": workspace, "path": path}).fetchone() is None:
        raise SharedValueNotFound("variable", workspace, path)


def put_resource(
    connection: Connection,
    workspace: str,
    path: str,
    value: Any,
    resource_type: str | None = None,
    description: str | None = None,
) -> None:
    """Set a resource; type and description stay what they are if they are not told."""
    _check(path)
    connection.execute(
        sql.put_resource,
        {
            "workspace": workspace,
            "path": path,
            "value": encode(value).decode(),
            "resource_type": _told(resource_type),
            "description": _told(description),
        },
    )


def get_resource(connection: Connection, workspace: str, path: str) -> Resource:
    """Return a resource; raise `SharedValueNotFound`."""
    row = connection.execute(sql.get_resource, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise SharedValueNotFound("resource", workspace, path)
    return Resource(*row)


def list_resources(connection: Connection, workspace: str) -> list[Resource]:
    """Return every resource of a workspace, by path."""
    rows = connection.execute(sql.list_resources, {"workspace": workspace}).fetchall()
    return [Resource(*row) for row in rows]


def delete_resource(connection: Connection, workspace: str, path: str) -> None:
    """Delete a resource; raise `SharedValueNotFound`."""
    if connection.execute(sql.delete_resource, {"workspace": workspace, "path": path}).fetchone() is None:
        raise SharedValueNotFound("resource", workspace, path)


def _check(path: str) -> None:
    if not PATH.fullmatch(path):
        raise InvalidArgs(path, "a path looks like f/folder/name or u/user/name")


def _told(text: str | None) -> str | None:
    return None if text is None else storable(text)
