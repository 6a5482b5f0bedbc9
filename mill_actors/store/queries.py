"""The named statements of `sql/*.sql`, loaded once and typed as LiteralString.

A file is a sequence of `-- name: claim_jobs` headers, each followed by its
comments and one statement. `from mill_actors.store.queries import sql`, then
`sql.claim_jobs` is the statement without its comments, led by its name, so that
`pg_stat_activity` says which one runs. What a file cannot hold fails at import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import LiteralString

from mill_actors.store.statements import split

FOLDER = Path(__file__).with_name("sql")

# The mark after the name (`:many`) tells the reader what comes back.
_HEADER = re.compile(r"^-- name:[ \t]*(.*)$", re.MULTILINE)
_NAME = re.compile(r"([a-z][a-z0-9_]*)(?: :(?:one|many|exec))?\Z")


class Queries(Mapping[str, LiteralString]):
    """Statements by name, as attributes or as items."""

    def __init__(self, statements: Mapping[str, LiteralString]) -> None:
        self._statements = dict(statements)

    def __getattr__(self, name: str) -> LiteralString:
        try:
            return self._statements[name]
        except KeyError:
            message = f"no statement is named {name!r} in {FOLDER.name}/*.sql"
            raise AttributeError(message) from None

    def __getitem__(self, name: str) -> LiteralString:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def load(folder: Path = FOLDER) -> Queries:
    """Read every file of a folder; raise ValueError for what breaks the form."""
    statements: dict[str, LiteralString] = {}
    for file in sorted(folder.glob("*.sql")):
        for name, statement in _read(file):
            if name in statements:
                message = f"{file.name}: {name!r} is named twice"
                raise ValueError(message)
            # Typed as LiteralString because the text comes from a file of this
            # package and from nowhere else, which is what the type is to prove.
            statements[name] = f"/* {name} */ {statement}"
    return Queries(statements)


def _read(file: Path) -> Iterator[tuple[str, str]]:
    # re.split with a group yields: what stands before, name, text, name, text …
    before, *rest = _HEADER.split(file.read_text(encoding="utf-8"))
    if split(before):
        message = f"{file.name}: a statement stands before the first name"
        raise ValueError(message)
    for header, text in zip(rest[::2], rest[1::2], strict=True):
        named = _NAME.match(header.strip())
        if named is None:
            message = f"{file.name}: {header.strip()!r} is no name of a statement"
            raise ValueError(message)
        name = named.group(1)
        if hasattr(Queries, name):
            message = f"{file.name}: {name!r} is a method of Queries; it needs another name"
            raise ValueError(message)
        found = split(text)
        if len(found) != 1:
            message = f"{file.name}: {name!r} holds {len(found)} statements, not one"
            raise ValueError(message)
        yield name, found[0]


sql = load()
