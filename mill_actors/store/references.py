"""`$var:path` and `$res:path` in arguments: filled in where a job is about to run, and written nowhere.

A reference is a whole string, at any depth; a resource may hold references itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mill_actors.errors import InvalidArgs
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.jsons import decode, encode
from mill_actors.store.connection import Connection
from mill_actors.store.shared_values import Kind, Reader, read_shared

VARIABLE = "$var:"
RESOURCE = "$res:"
#: Resources within resources.
MAX_DEPTH = 10
#: What all references of one value may come to: a few resources that name each other often are endless.
MAX_BYTES = 64 * 1024 * 1024

_ABSENT: Any = object()

#: Whoever refers, and what he has written.
Place = tuple[Reader, str]


def has_references(args: str) -> bool:
    """Whether arguments may hold a reference; quick, and sometimes wrongly true."""
    return f'"{VARIABLE}' in args or f'"{RESOURCE}' in args


def fill_args(connection: Connection, jobs: Iterable[ClaimedJob]) -> dict[str, str | InvalidArgs]:
    """Return, by job, its arguments with every reference filled in, or why that cannot be."""
    decoded = {job.id: ((job.workspace, job.created_by), decode(job.args)) for job in jobs}
    known = _known(connection, decoded.values())
    filled: dict[str, str | InvalidArgs] = {}
    for job, (reader, args) in decoded.items():
        try:
            filled[job] = encode(_filled(reader, args, known)).decode()
        except InvalidArgs as error:
            filled[job] = error
    return filled


def fill_value(
    connection: Connection, reader: Reader, value: Any, allows: Callable[[Kind, str], bool] | None = None
) -> Any:
    """Return a value with every reference filled in, as far as its reader may; raise `InvalidArgs`.

    `allows` says which paths may be read at all, for a reader with less than his rights.
    """
    return _filled(reader, value, _known(connection, [(reader, value)], allows))


def _filled(reader: Reader, value: Any, known: Mapping[Place, tuple[Any, int]]) -> Any:
    try:
        return _Filling(reader, known).fill(value, 0)
    except RecursionError:
        raise InvalidArgs(reader[1], "what references stand in is nested too deeply") from None


def _known(
    connection: Connection,
    values: Iterable[tuple[Reader, Any]],
    allows: Callable[[Kind, str], bool] | None = None,
) -> dict[Place, tuple[Any, int]]:
    """Return what every reference means, and how long it is, those within resources too."""
    known: dict[Place, tuple[Any, int]] = {}
    wanted = {place for reader, value in values for place in _places(reader, value)}
    for _ in range(MAX_DEPTH):
        wanted -= known.keys()
        if not wanted:
            break
        found = _read(connection, wanted)
        if allows is not None:
            found = {
                place: meaning
                for place, meaning in found.items()
                if allows(
                    "variable" if place[1].startswith(VARIABLE) else "resource", place[1].partition(":")[2]
                )
            }
        known |= dict.fromkeys(wanted, (_ABSENT, 0)) | found
        wanted = {
            place
            for (reader, name), (value, _) in found.items()
            if name.startswith(RESOURCE)
            for place in _places(reader, value)
        }
    return known


def _places(reader: Reader, value: Any) -> Iterable[Place]:
    left = [value]
    while left:
        match left.pop():
            case str() as text if text.startswith((VARIABLE, RESOURCE)):
                yield reader, text
            case dict() as inner:
                left += inner.values()
            case list() as inner:
                left += inner
            case _:
                pass


def _read(connection: Connection, places: Iterable[Place]) -> dict[Place, tuple[Any, int]]:
    named: dict[str, set[Place]] = {VARIABLE: set(), RESOURCE: set()}
    for reader, name in places:
        prefix = name[: len(VARIABLE)]
        named[prefix].add((reader, name.removeprefix(prefix)))
    found: dict[Place, tuple[Any, int]] = {}
    if named[VARIABLE]:
        for (reader, path), text in read_shared(connection, "variable", named[VARIABLE]).items():
            found[reader, VARIABLE + path] = text, len(text)
    if named[RESOURCE]:
        for (reader, path), text in read_shared(connection, "resource", named[RESOURCE]).items():
            found[reader, RESOURCE + path] = decode(text), len(text)
    return found


class _Filling:
    def __init__(self, reader: Reader, known: Mapping[Place, tuple[Any, int]]) -> None:
        self._reader = reader
        self._known = known
        self._bytes = 0

    def fill(self, value: Any, depth: int) -> Any:
        match value:
            case str() if value.startswith((VARIABLE, RESOURCE)):
                return self._meaning(value, depth)
            case dict():
                return {name: self.fill(inner, depth) for name, inner in value.items()}
            case list():
                return [self.fill(inner, depth) for inner in value]
            case _:
                return value

    def _meaning(self, name: str, depth: int) -> Any:
        if (self._reader, name) not in self._known or depth >= MAX_DEPTH:
            raise InvalidArgs(name, "resources refer to each other in a circle")
        found, size = self._known[self._reader, name]
        self._bytes += size
        if self._bytes > MAX_BYTES:
            raise InvalidArgs(name, f"with it, all references come to more than {MAX_BYTES >> 20} MB")
        is_variable = name.startswith(VARIABLE)
        if found is _ABSENT:
            kind, path = "variable" if is_variable else "resource", name.partition(":")[2]
            raise InvalidArgs(name, f"there is no {kind} {path!r} that {self._reader[1]} may read")
        return found if is_variable else self.fill(found, depth + 1)
