"""What variables and resources have in common: paths, and how their readers get them. SQL: `sql/flow.sql`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

from mill_actors.errors import InvalidArgs, MillError
from mill_actors.jobs.jsons import encode
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import storable
from mill_actors.store.queries import sql
from mill_actors.store.rights import Rights, rights_of
from mill_actors.store.sealing import NotSealed, unseal

Kind = Literal["variable", "resource"]
#: Who reads: a workspace, and the `u/NAME` in it.
Reader = tuple[str, str]

MAX_PATH = 255
#: More than scripts' paths may be: states and users' own have names of people in them.
_PATH = re.compile(r"[fug]/[A-Za-z0-9_.@-]+(/[A-Za-z0-9_.@ :+-]+)+")
_DOTS = re.compile(r"(^|/)\.+(/|$)")


class SharedValueNotFound(MillError):
    """There is no such variable or resource."""

    def __init__(self, kind: str, workspace: str, path: str) -> None:
        self.kind = kind
        self.workspace = workspace
        self.path = path
        super().__init__(f"There is no {kind} {path!r} in workspace {workspace!r}.")


class PathTaken(MillError):
    """Something has that path already."""

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path
        super().__init__(f"There is a {kind} {path!r} already.")


def check_path(path: str) -> None:
    """Raise `InvalidArgs` for what is no path, or would be another one as a file's name."""
    if not _PATH.fullmatch(path) or _DOTS.search(path):
        raise InvalidArgs(path, "a path looks like f/folder/name or u/user/name")
    if len(path) > MAX_PATH:
        raise InvalidArgs(path[:40] + "…", f"a path has {MAX_PATH} letters at most")


def check_text(path: str, text: str) -> None:
    """Raise `InvalidArgs` for what the database cannot hold as text."""
    if storable(text) != text:
        raise InvalidArgs(path, "a text cannot contain NUL, nor half a character")


def told(text: str | None) -> str | None:
    """Return a description as it can be stored."""
    return None if text is None else storable(text)


def document(path: str, fields: Mapping[str, Any]) -> str:
    """Return what else was sent as JSON; raise `InvalidArgs` for what no query could look into."""
    text = encode(fields).decode()
    if r"\u0000" in text or r"\ud" in text:
        raise InvalidArgs(path, "a text cannot contain NUL, nor half a character")
    return text


def secret_key(connection: Connection, workspace: str) -> bytes:
    """Return the key that a workspace's secrets are encrypted with."""
    row = connection.execute(sql.secret_key, {"workspace": workspace}).fetchone()
    if row is None:
        raise InvalidArgs(workspace, "there is no such workspace")
    return bytes(row[0])


def read_shared(
    connection: Connection, kind: Kind, places: Collection[tuple[Reader, str]]
) -> dict[tuple[Reader, str], str]:
    """Return what each reader's path means to him: a variable's text, a resource's JSON.

    What is not there, and what he may not read, is missing.
    """
    wanted = sorted({(reader[0], path) for reader, path in places})
    rows = connection.execute(
        sql.variables if kind == "variable" else sql.resources,
        {"workspaces": [workspace for workspace, _ in wanted], "paths": [path for _, path in wanted]},
    ).fetchall()
    found = {(row[0], row[1]): row[2:] for row in rows}
    keys = {workspace: secret_key(connection, workspace) for workspace in {r[0] for r in rows if r[3]}}
    rights: dict[Reader, Rights] = {}
    shared = {}
    for reader, path in places:
        row = found.get((reader[0], path))
        if row is None:
            continue
        if reader not in rights:
            rights[reader] = rights_of(connection, *reader)
        text, is_secret, extra_perms = row
        if not rights[reader].may("read", path, extra_perms):
            continue
        if is_secret:
            try:
                text = unseal(keys[reader[0]], text)
            except NotSealed:
                continue  # sealed with a key that the workspace has no more
        shared[reader, path] = text
    return shared
