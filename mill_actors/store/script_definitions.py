"""Scripts as they were sent: read, listed, archived, deleted. SQL: `sql/deployment.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from mill_actors.jobs.jsons import decode
from mill_actors.jobs.script import Script, ScriptOptions
from mill_actors.store.connection import Connection
from mill_actors.store.deployments import VersionConflict, forget_path, last_version, move_history
from mill_actors.store.queries import sql
from mill_actors.store.scripts import deploy_script


class ScriptDefinition(Struct, frozen=True):
    """A version with all that was sent; lists leave the code out."""

    path: str
    hash: str
    language: str
    content: str
    options: ScriptOptions
    #: what its document says beside path, language and code
    rest: dict[str, Any]
    deployed_by: str
    deployed_at: datetime
    message: str | None
    #: its path means another version now, or none
    is_archived: bool
    #: what its path meant before, newest first
    parents: tuple[str, ...]


class ScriptFilter(Struct, frozen=True, kw_only=True):
    """Which scripts are listed; None: it does not matter."""

    path: str | None = None
    path_start: str | None = None
    created_by: str | None = None
    languages: list[str] | None = None
    kinds: list[str] | None = None
    label: str | None = None
    dedicated: bool | None = None
    is_template: bool | None = None
    any_parent: str | None = None
    first_parent: str | None = None
    last_parent: str | None = None
    #: those that are archived, and no others
    archived: bool = False
    with_message: bool = False
    descending: bool = True
    limit: int = 1000
    offset: int = 0


def read_script(
    connection: Connection, workspace: str, *, path: str | None = None, digest: str | None = None
) -> ScriptDefinition | None:
    """Return what a path means now or, archived, meant last; or one version of any path."""
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        row = connection.execute(
            sql.script_definition, {"workspace": workspace, "path": path, "hash": digest}
        ).fetchone()
    return None if row is None else _definition(row)


def list_script_definitions(
    connection: Connection, workspace: str, readable: Sequence[str] | None, wanted: ScriptFilter
) -> list[ScriptDefinition]:
    """Return the scripts below these prefixes (None: all), newest first unless asked otherwise."""
    told = {
        "workspace": workspace,
        "readable": None if readable is None else list(readable),
        **msgspec.structs.asdict(wanted),
    }
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        rows = connection.execute(sql.list_script_definitions, told).fetchall()
    return [_definition(row) for row in rows]


def replace_script(
    connection: Connection,
    script: Script,
    deployed_by: str,
    *,
    parent: str | None = None,
    auto_parent: bool = False,
    message: str | None = None,
) -> bool:
    """Deploy a version after `parent`, which may be another path's: that is renamed then.

    False if its path means it already. Raises `VersionConflict` if the path means something else than
    `parent`, unless `auto_parent` says that this does not matter.
    """
    with connection.transaction():
        before = None if parent is None else read_script(connection, script.workspace, digest=parent)
        if parent is not None and before is None and not auto_parent:
            raise VersionConflict(script.path, None, f"there is no version {parent} for its parent")
        if before is not None and before.path != script.path:
            _leave(connection, script.workspace, before, script.path)
            only_after: str | None = ""
        else:
            only_after = None if auto_parent else parent or ""
        if deploy_script(connection, script, deployed_by, only_after=only_after, message=message):
            return True
        found = _current(connection, script.workspace, script.path)
        if found == script.hash:
            return False
        why = f"means version {found} now" if parent else f"exists, with the version {found}"
        raise VersionConflict(script.path, found, f"{why}: send that as parent_hash, or auto_parent")


def _leave(connection: Connection, workspace: str, before: ScriptDefinition, to: str) -> None:
    told = {"workspace": workspace, "path": before.path, "hash": before.hash}
    if connection.execute(sql.archive_script, told).fetchone() is None:
        found = _current(connection, workspace, before.path)
        raise VersionConflict(before.path, found, f"no longer means version {before.hash}")
    move_history(connection, workspace, "script", before.path, to)


def _current(connection: Connection, workspace: str, path: str) -> str | None:
    row = connection.execute(sql.script_by_path, {"workspace": workspace, "path": path}).fetchone()
    return None if row is None else str(row[1])


def archive_script(connection: Connection, workspace: str, path: str, digest: str | None = None) -> bool:
    """Let a path mean nothing any more, if it means that version; False if there was no such script."""
    told = {"workspace": workspace, "path": path, "hash": digest}
    if connection.execute(sql.archive_script, told).fetchone() is not None:
        return True
    return last_version(connection, workspace, "script", path) is not None


def delete_script(connection: Connection, workspace: str, path: str) -> bool:
    """Delete a script with its history and its code; False if there was none."""
    with connection.transaction():
        connection.execute(sql.archive_script, {"workspace": workspace, "path": path, "hash": None})
        hashes = forget_path(connection, workspace, "script", path)
        connection.execute(sql.delete_scripts, {"workspace": workspace, "hashes": hashes})
    return bool(hashes)


def delete_script_version(connection: Connection, workspace: str, digest: str) -> bool:
    """Delete one version; a path that meant it means nothing then."""
    with connection.transaction():
        rows = connection.execute(
            sql.forget_version, {"workspace": workspace, "kind": "script", "hash": digest}
        ).fetchall()
        for (path,) in rows:
            connection.execute(sql.archive_script, {"workspace": workspace, "path": path, "hash": digest})
        connection.execute(sql.delete_scripts, {"workspace": workspace, "hashes": [digest]})
    return bool(rows)


def _definition(row: Sequence[Any]) -> ScriptDefinition:
    path, digest, language, content, options, rest, by, at, message, archived, parents = row
    return ScriptDefinition(
        path,
        digest,
        language,
        content,
        msgspec.convert(options, ScriptOptions),
        decode(rest),
        by,
        at,
        message,
        archived,
        tuple(parents),
    )
