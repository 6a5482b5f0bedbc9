"""`$var:path` and `$res:path` in arguments: filled in where a job is about to run, and written nowhere.

A reference is a whole string, at any depth; a resource may hold references itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mill_actors.errors import InvalidArgs
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.jsons import decode, encode
from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql

VARIABLE = "$var:"
RESOURCE = "$res:"
#: Resources within resources.
MAX_DEPTH = 10

Place = tuple[str, str]


def has_references(args: str) -> bool:
    """Whether arguments may hold a reference; quick, and sometimes wrongly true."""
    return f'"{VARIABLE}' in args or f'"{RESOURCE}' in args


def fill_args(connection: Connection, jobs: Iterable[ClaimedJob]) -> dict[str, str | InvalidArgs]:
    """Return, by job, its arguments with every reference filled in, or why that cannot be."""
    decoded = {job.id: (job, decode(job.args)) for job in jobs}
    known: dict[Place, Any] = {}
    wanted = {place for job, args in decoded.values() for place in _places(job.workspace, args)}
    for _ in range(MAX_DEPTH):
        wanted -= known.keys()
        if not wanted:
            break
        found = _read(connection, wanted)
        known |= dict.fromkeys(wanted) | found
        wanted = {
            place
            for (workspace, name), value in found.items()
            if name.startswith(RESOURCE)
            for place in _places(workspace, value)
        }
    filled: dict[str, str | InvalidArgs] = {}
    for job, args in decoded.values():
        try:
            filled[job.id] = encode(_fill(job.workspace, args, known, 0)).decode()
        except InvalidArgs as error:
            filled[job.id] = error
    return filled


def _places(workspace: str, value: Any) -> Iterable[Place]:
    match value:
        case str() if value.startswith((VARIABLE, RESOURCE)):
            yield workspace, value
        case dict():
            for inner in value.values():
                yield from _places(workspace, inner)
        case list():
            for inner in value:
                yield from _places(workspace, inner)
        case _:
            pass


def _read(connection: Connection, places: Iterable[Place]) -> dict[Place, Any]:
    found: dict[Place, Any] = {}
    for prefix, statement in ((VARIABLE, sql.variables), (RESOURCE, sql.resources)):
        named = sorted((w, name.removeprefix(prefix)) for w, name in places if name.startswith(prefix))
        if named:
            rows = connection.execute(
                statement, {"workspaces": [w for w, _ in named], "paths": [path for _, path in named]}
            ).fetchall()
            for workspace, path, value in rows:
                found[workspace, f"{prefix}{path}"] = decode(value) if prefix == RESOURCE else value
    return found


def _fill(workspace: str, value: Any, known: Mapping[Place, Any], depth: int) -> Any:
    match value:
        case str() if value.startswith((VARIABLE, RESOURCE)):
            if (workspace, value) not in known or depth >= MAX_DEPTH:
                raise InvalidArgs(value, "resources refer to each other in a circle")
            found = known[workspace, value]
            if found is None:
                kind = "variable" if value.startswith(VARIABLE) else "resource"
                raise InvalidArgs(value, f"there is no {kind} {value.partition(':')[2]!r}")
            return found if value.startswith(VARIABLE) else _fill(workspace, found, known, depth + 1)
        case dict():
            return {name: _fill(workspace, inner, known, depth) for name, inner in value.items()}
        case list():
            return [_fill(workspace, inner, known, depth) for inner in value]
        case _:
            return value
