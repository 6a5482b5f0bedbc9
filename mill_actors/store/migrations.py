"""The migrations as files: `migrations/NNNN_noun.sql`, numbered and forward only.

Marks are lines of their own: `-- migrate: no-transaction` (for CONCURRENTLY; the
statements run one by one, and again after a failure) and `-- migrate: breaking`
(code that does not know this migration refuses the schema; about others it warns).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql\Z")
_MARK = re.compile(r"^-- migrate: *(\S*) *$", re.MULTILINE)
_MARKS = frozenset({"no-transaction", "breaking"})


@dataclass(frozen=True)
class Migration:
    """One file. The text is a LiteralString: it comes from this package alone."""

    version: int
    name: str
    text: LiteralString
    is_breaking: bool = False
    in_transaction: bool = True

    def __str__(self) -> str:
        return f"{self.version:04d}_{self.name}"


def migrations_folder() -> Path:
    """Return the package's own folder of migrations, else the repository's.

    The wheel ships them inside the package; an editable install loads the
    package from the repository, where they lie beside it.
    """
    package = Path(__file__).parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.with_name("migrations")


def load_migrations(folder: Path | None = None) -> list[Migration]:
    """Read the migrations by number; raise ValueError for a folder that breaks the form."""
    folder = folder or migrations_folder()
    found: list[Migration] = []
    for file in sorted(folder.glob("[0-9]*.sql")):
        named = _FILE.match(file.name)
        text = file.read_text(encoding="utf-8")
        marks = set(_MARK.findall(text))
        fault = None
        if named is None:
            fault = "the name of a migration is NNNN_noun.sql"
        elif int(named[1]) != len(found) + 1:
            fault = f"the next number is {len(found) + 1:04d}"
        elif marks - _MARKS:
            fault = f"there is no mark {min(marks - _MARKS)!r}"
        if named is None or fault is not None:
            raise ValueError(f"{file}: {fault}")
        found.append(
            Migration(len(found) + 1, named[2], text, "breaking" in marks, "no-transaction" not in marks)
        )
    if not found:
        raise ValueError(f"there are no migrations in {folder}")
    return found
