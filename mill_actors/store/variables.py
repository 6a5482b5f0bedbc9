"""Variables: texts with a path, some of them secret. SQL: `sql/variables.sql`.

A secret is encrypted with its workspace's key before it gets here; only `opened` and whoever
fills in `$var:` decrypts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from psycopg.errors import UniqueViolation

from mill_actors.errors import InvalidArgs
from mill_actors.store.connection import Connection
from mill_actors.store.paging import ALL, Page
from mill_actors.store.queries import sql
from mill_actors.store.sealing import NotSealed, seal, unseal
from mill_actors.store.shared_values import (
    PathTaken,
    SharedValueNotFound,
    check_path,
    check_text,
    document,
    secret_key,
    told,
)


class Variable(Struct, frozen=True):
    """A text with a path. Of a secret that was not decrypted `value` is the ciphertext, in lists ""."""

    path: str
    value: str
    description: str = ""
    is_secret: bool = False
    #: who may do what beside those that the path says
    extra_perms: Mapping[str, bool] = {}
    #: what else was sent: labels, account, expires_at …
    rest: Mapping[str, Any] = {}
    edited_by: str | None = None
    edited_at: datetime | None = None


class Filter(Struct, frozen=True):
    """Which variables or resources are meant; None: any.

    `readable` are prefixes; what names one of `names` itself is readable too.
    """

    readable: Sequence[str] | None = None
    names: Sequence[str] = ()
    path: str | None = None
    path_start: str | None = None
    description: str | None = None
    #: in the value; secrets are not searched
    value: str | None = None
    #: in path, description or value
    anywhere: str | None = None
    label: str | None = None


EVERYTHING = Filter()


def put_variable(
    connection: Connection,
    workspace: str,
    path: str,
    value: str,
    description: str | None = None,
    *,
    is_secret: bool | None = None,
    edited_by: str | None = None,
) -> None:
    """Set a variable; what is not said stays as it is, so a secret remains one."""
    with connection.transaction():
        row = connection.execute(sql.lock_variable, {"workspace": workspace, "path": path}).fetchone()
        if row is not None:
            old = Variable(*row)
            fresh = replace(old, value=value, edited_by=edited_by)
            fresh = fresh if description is None else replace(fresh, description=description)
            fresh = fresh if is_secret is None else replace(fresh, is_secret=is_secret)
            _update(connection, workspace, path, fresh)
        else:
            made = Variable(path, value, description or "", bool(is_secret), edited_by=edited_by)
            create_variable(connection, workspace, made)


def create_variable(
    connection: Connection, workspace: str, variable: Variable, *, already_encrypted: bool = False
) -> None:
    """Make a variable; raise `PathTaken`. `already_encrypted`: a secret's value is ciphertext."""
    values = _columns(connection, workspace, variable, is_sealed=already_encrypted and variable.is_secret)
    if connection.execute(sql.create_variable, values).fetchone() is None:
        raise PathTaken("variable", variable.path)


def lock_variable(connection: Connection, workspace: str, path: str) -> Variable:
    """Return a variable that is about to be changed, a secret decrypted; raise `SharedValueNotFound`."""
    row = connection.execute(sql.lock_variable, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise SharedValueNotFound("variable", workspace, path)
    return opened(connection, workspace, Variable(*row))


def update_variable(
    connection: Connection,
    workspace: str,
    path: str,
    variable: Variable,
    *,
    already_encrypted: bool = False,
) -> None:
    """Make of the variable at `path`, locked before, what is told; raise `PathTaken` by its new path."""
    _update(connection, workspace, path, variable, is_sealed=already_encrypted and variable.is_secret)


def find_variable(connection: Connection, workspace: str, path: str) -> Variable:
    """Return a variable, a secret as ciphertext; raise `SharedValueNotFound`."""
    row = connection.execute(sql.get_variable, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise SharedValueNotFound("variable", workspace, path)
    return Variable(*row)


def get_variable(connection: Connection, workspace: str, path: str) -> Variable:
    """Return a variable, a secret decrypted; raise `SharedValueNotFound`."""
    return opened(connection, workspace, find_variable(connection, workspace, path))


def list_variables(
    connection: Connection,
    workspace: str,
    wanted: Filter = EVERYTHING,
    page: Page = ALL,
    *,
    with_ciphertext: bool = False,
) -> list[Variable]:
    """Return variables by path; secrets without their text, or as ciphertext."""
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        rows = connection.execute(
            sql.list_variables,
            {
                **parameters(workspace, wanted),
                "with_ciphertext": with_ciphertext,
                "limit": page.limit,
                "offset": page.offset,
            },
        ).fetchall()
    return [Variable(*row) for row in rows]


def delete_variable(connection: Connection, workspace: str, path: str) -> None:
    """Delete a variable; raise `SharedValueNotFound`."""
    if connection.execute(sql.delete_variable, {"workspace": workspace, "path": path}).fetchone() is None:
        raise SharedValueNotFound("variable", workspace, path)


def parameters(workspace: str, wanted: Filter) -> dict[str, Any]:
    """Return a filter as the lists' statements take it."""
    return {
        "workspace": workspace,
        "readable": None if wanted.readable is None else list(wanted.readable),
        "names": list(wanted.names),
        "path": wanted.path,
        "path_start": wanted.path_start,
        "description": wanted.description,
        "value": wanted.value,
        "anywhere": wanted.anywhere,
        "label": wanted.label,
    }


def _update(
    connection: Connection, workspace: str, path: str, variable: Variable, *, is_sealed: bool = False
) -> None:
    values = _columns(connection, workspace, variable, is_sealed=is_sealed)
    try:
        connection.execute(sql.update_variable, {**values, "old_path": path})
    except UniqueViolation:
        raise PathTaken("variable", variable.path) from None


def _columns(
    connection: Connection, workspace: str, variable: Variable, *, is_sealed: bool
) -> dict[str, Any]:
    check_path(variable.path)
    check_text(variable.path, variable.value)
    value = variable.value
    if variable.is_secret:
        key = secret_key(connection, workspace)
        if not is_sealed:
            value = seal(key, value)
        else:
            _check_sealed(key, variable)
    return {
        "workspace": workspace,
        "path": variable.path,
        "value": value,
        "description": told(variable.description),
        "is_secret": variable.is_secret,
        "extra_perms": document(variable.path, variable.extra_perms),
        "rest": document(variable.path, variable.rest),
        "edited_by": variable.edited_by,
    }


def _check_sealed(key: bytes, variable: Variable) -> None:
    try:
        unseal(key, variable.value)
    except NotSealed:
        raise InvalidArgs(
            variable.path,
            "the value is said to be encrypted, and was not with this workspace's key; "
            "send it in clear text, with already_encrypted=false (wmill: --plain-secrets)",
        ) from None


def opened(connection: Connection, workspace: str, variable: Variable) -> Variable:
    """Decrypt a variable, if it is a secret."""
    if not variable.is_secret:
        return variable
    try:
        return replace(variable, value=unseal(secret_key(connection, workspace), variable.value))
    except NotSealed:
        raise InvalidArgs(variable.path, "the secret was encrypted with another key") from None
