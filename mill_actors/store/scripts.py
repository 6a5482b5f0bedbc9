"""Script versions in the database. SQL: `sql/script.sql`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from mill_actors.errors import ScriptNotFound
from mill_actors.jobs.script import Script, ScriptOptions
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode, storable
from mill_actors.store.queries import sql


class ListedScript(Struct, frozen=True):
    """A path and what it means now."""

    path: str
    hash: str
    language: str
    tag: str
    dedicated: bool
    deployed_by: str
    deployed_at: datetime


def deploy_script(
    connection: Connection,
    script: Script,
    deployed_by: str,
    *,
    only_after: str | None = None,
    message: str | None = None,
) -> bool:
    """Make `script` what its path means; False if it meant that already. One transaction.

    `only_after`: the hash that the path has to mean until now, "" for nothing; False too if it does not.
    """
    with connection.transaction():
        put_script(connection, script, deployed_by)
        told = {"workspace": script.workspace, "path": script.path, "hash": script.hash}
        told["deployed_by"] = deployed_by
        changed = connection.execute(sql.point_path, {**told, "only_after": only_after}).fetchone()
        if changed is not None:
            connection.execute(sql.put_deployment, {**told, "kind": "script", "message": message})
    return changed is not None


def put_script(connection: Connection, script: Script, created_by: str) -> None:
    """Write a version, whatever its path means."""
    rest = decode(script.rest)
    connection.execute(
        sql.put_script,
        {
            "workspace": script.workspace,
            "hash": script.hash,
            "path": script.path,
            "language": script.language,
            "content": script.content,
            "tag": script.tag,
            "dedicated": script.dedicated,
            "options": msgspec.json.encode(script.options).decode(),
            "rest": script.rest.decode(),
            "kind": rest.get("kind", "script"),
            "is_template": rest.get("is_template", False),
            "labels": [storable(label) for label in rest.get("labels", ())],
            "created_by": created_by,
        },
    )


def script_by_path(connection: Connection, workspace: str, path: str) -> Script:
    """Return what a path means now; raise `ScriptNotFound`, with similar paths if there are any."""
    row = connection.execute(sql.script_by_path, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise ScriptNotFound(workspace=workspace, path=path, similar=_similar(connection, workspace, path))
    return script_of_row(row)


def _similar(connection: Connection, workspace: str, path: str) -> list[str]:
    rows = connection.execute(
        sql.similar_paths, {"workspace": workspace, "tail": path.rsplit("/", 1)[-1]}
    ).fetchall()
    if rows:
        return [row[0] for row in rows]
    # A slip of the keyboard.
    known = [script.path for script in list_scripts(connection, workspace)]
    return difflib.get_close_matches(path, known, n=3, cutoff=0.8)


def script_by_hash(connection: Connection, workspace: str, digest: str) -> Script | None:
    """Return one version, whatever its path means now."""
    row = connection.execute(sql.script_by_hash, {"workspace": workspace, "hash": digest}).fetchone()
    return None if row is None else script_of_row(row)


def dedicated_scripts(connection: Connection) -> list[Script]:
    """Return the current version of every dedicated path, of all workspaces."""
    return [script_of_row(row) for row in connection.execute(sql.dedicated_scripts).fetchall()]


def list_scripts(connection: Connection, workspace: str) -> list[ListedScript]:
    """Return every path of a workspace, sorted."""
    rows = connection.execute(sql.list_scripts, {"workspace": workspace}).fetchall()
    return [ListedScript(*row) for row in rows]


def script_of_row(row: Sequence[Any]) -> Script:
    """Return a row of `mill.script`, in the order of its statements, as a version."""
    workspace, digest, path, language, content, tag, _, options = row
    return Script(
        workspace=workspace,
        path=path,
        language=language,
        content=content,
        hash=digest,
        tag=tag,
        options=msgspec.convert(options, ScriptOptions),
    )
