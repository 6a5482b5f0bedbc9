from __future__ import annotations

import difflib

import psycopg
import pytest

from mill_actors.store.cluster import DEFAULT_MAJOR
from mill_actors.store.migrations import migrations_folder
from mill_actors.store.schema import FILE, dump_schema
from tests.fix_db import Server


def test_schema_sql_is_what_the_migrations_make(server: Server, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        major = connection.info.server_version // 10_000
    if server.programs is None or major != DEFAULT_MAJOR:
        pytest.skip(f"written with the embedded PostgreSQL {DEFAULT_MAJOR}, and others use other words")
    made = dump_schema(dsn, server.programs / "pg_dump").splitlines()
    written = (migrations_folder() / FILE).read_text().splitlines()
    difference = list(difflib.unified_diff(written, made, FILE, "the migrations", lineterm=""))
    assert difference == [], "run `make schema`:\n" + "\n".join(difference)
