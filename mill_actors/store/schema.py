"""The schema as one text: what the migrations make, in pg_dump's words.

`migrations/schema.sql` is this text, so that the schema can be read in one place
and a change of it in a diff; `make schema` writes the file, a test compares it.
Partitions of a day are left out: which there are depends on the day.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from mill_actors.store.cluster import DEFAULT_MAJOR, ENVIRONMENT
from mill_actors.store.embedded import temporary_server
from mill_actors.store.migrate import migrate
from mill_actors.store.migrations import migrations_folder

FILE = "schema.sql"
_HEADER = "-- Made by `make schema` from the migrations, with PostgreSQL {major}; not to be edited.\n"

# Versions, settings of the session and the random word of \restrict: not the schema.
_NOISE = re.compile(r"^(--.*|SET .*;|SELECT pg_catalog\.set_config.*;|\\(un)?restrict .*)\n", re.MULTILINE)
_GAP = re.compile(r"\n{3,}")


def dump_schema(dsn: str, pg_dump: Path, major: int = DEFAULT_MAJOR) -> str:
    """Return the schema of a migrated database; `major` is the version of `pg_dump`."""
    with psycopg.connect(dsn) as connection:
        partitions = connection.execute(
            """
            select format('%I.%I', relnamespace::regnamespace, relname) from pg_class
            where relispartition and relkind = 'r' and relnamespace = 'mill'::regnamespace
              and pg_get_expr(relpartbound, oid) <> 'DEFAULT'
            """
        ).fetchall()
    done = subprocess.run(
        [
            pg_dump,
            "--schema-only",
            "--schema=mill",
            "--no-owner",
            *(f"--exclude-table={name}" for (name,) in partitions),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**ENVIRONMENT, **_as_environment(dsn)},
    )
    text = _GAP.sub("\n\n", _NOISE.sub("", done.stdout)).strip()
    return f"{_HEADER.format(major=major)}\n{text}\n"


def _as_environment(dsn: str) -> dict[str, str]:
    # Not an argument: everybody on the machine can read those, password included.
    names = {"dbname": "PGDATABASE"}
    parts = conninfo_to_dict(dsn).items()
    return {names.get(name, f"PG{name.upper()}"): str(value) for name, value in parts}


def main() -> None:
    """Write the file beside the migrations, with a server of its own."""
    with temporary_server() as server:
        migrate(server.dsn)
        text = dump_schema(server.dsn, server.program("pg_dump"))
    (migrations_folder() / FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
