"""`mill migrate` and `mill migrate status`."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from mill_actors.store.migrations import load_migrations
from tests.cli.conftest import Mill

NAMES = [migration.name for migration in load_migrations()]


@pytest.fixture
def empty(empty_dsn: str, tmp_path: Path) -> Mill:
    return Mill(tmp_path, {"DATABASE_URL": empty_dsn})


def test_status_is_1_until_nothing_is_missing(empty: Mill) -> None:
    before = empty("migrate", "status", "--json", code=1).json
    assert [(row["name"], row["applied_at"]) for row in before] == [(name, None) for name in NAMES]
    assert [row["name"] for row in empty("migrate", "--json").json] == NAMES
    after = empty("migrate", "status", "--json").json
    assert all(row["applied_at"] for row in after)
    assert "missing" not in empty("migrate", "status").out
    assert empty("migrate", "--json").json == []


def test_a_dry_run_prints_the_sql_that_would_do_it(empty: Mill, empty_dsn: str) -> None:
    script = empty("migrate", "--dry-run").out
    empty("migrate", "status", code=1)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(script.encode())
    empty("migrate", "status")
    assert empty("migrate", "--dry-run").out == "-- nothing is missing\n"
    assert empty("migrate", "--dry-run", "--json").json == []


def test_flags_before_the_subcommand_count_too(bare: Mill, empty_dsn: str) -> None:
    bare("migrate", "--database-url", empty_dsn, "status", code=1)
