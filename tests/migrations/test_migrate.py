from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mill_actors.errors import SchemaMismatch, StoreRefused, StoreUnavailable
from mill_actors.store.migrate import migrate, status, verify
from mill_actors.store.migrations import Migration, load_migrations
from tests.fix_db import Server

ONE = Migration(1, "one", "create table mill.one (id int)")
TWO = Migration(2, "two", "create table mill.two (id int); create table mill.more (id int)")
INDEX = Migration(
    3,
    "index",
    "create index concurrently if not exists one_id on mill.one (id);\n"
    "create index concurrently if not exists two_id on mill.two (id); -- and no more",
    in_transaction=False,
)
NEWS = Migration(3, "news", "create table mill.news (id int)")
BREAKING = Migration(3, "breaking", "drop table mill.one", is_breaking=True)


def tables(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select relname from pg_class where relnamespace = to_regnamespace('mill')"
        ).fetchall()
    return {str(name) for (name,) in rows}


def test_a_migrated_database_lacks_nothing(dsn: str) -> None:
    assert verify(dsn) == []
    assert migrate(dsn) == []
    assert [state.version for state in status(dsn)] == [migration.version for migration in load_migrations()]
    assert all(state.applied_at is not None and state.is_known for state in status(dsn))


def test_an_empty_database_lacks_everything(empty_dsn: str) -> None:
    assert verify(empty_dsn) == load_migrations()
    assert all(state.applied_at is None for state in status(empty_dsn))


def test_a_dry_run_writes_nothing(empty_dsn: str) -> None:
    assert migrate(empty_dsn, dry_run=True) == load_migrations()
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select to_regnamespace('mill')").fetchone() == (None,)


def test_only_what_is_missing_is_applied(empty_dsn: str) -> None:
    assert migrate(empty_dsn, known=[ONE]) == [ONE]
    assert verify(empty_dsn, known=[ONE, TWO]) == [TWO]
    assert migrate(empty_dsn, known=[ONE, TWO]) == [TWO]
    assert tables(empty_dsn) >= {"one", "two", "more"}


@pytest.mark.parametrize("known", [load_migrations(), [ONE, TWO, INDEX]], ids=["ours", "concurrently"])
def test_twenty_at_once_apply_each_migration_once(known: list[Migration], empty_dsn: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        applied = list(pool.map(lambda _: migrate(empty_dsn, known=known), range(20)))
    assert sorted(migration.version for one in applied for migration in one) == [
        migration.version for migration in known
    ]
    assert verify(empty_dsn, known=known) == []


def test_a_failed_migration_leaves_nothing_and_can_be_mended(empty_dsn: str) -> None:
    broken = Migration(2, "two", "create table mill.two (id int); select 1/0")
    with pytest.raises(StoreRefused, match="0002_two failed") as caught:
        migrate(empty_dsn, known=[ONE, broken, NEWS])
    assert caught.value.sqlstate == "22012"
    assert tables(empty_dsn) & {"one", "two", "news"} == {"one"}
    assert migrate(empty_dsn, known=[ONE, TWO, NEWS]) == [TWO, NEWS]


def test_one_without_a_transaction_runs_again_after_it_failed(empty_dsn: str) -> None:
    statements = "create index concurrently if not exists one_id on mill.one (id); select 1/0"
    broken = Migration(2, "index", statements, in_transaction=False)
    with pytest.raises(StoreRefused):
        migrate(empty_dsn, known=[ONE, broken])
    mended = Migration(2, "index", statements.replace("1/0", "1"), in_transaction=False)
    assert verify(empty_dsn, known=[ONE, mended]) == [mended]
    assert migrate(empty_dsn, known=[ONE, mended]) == [mended]
    assert "one_id" in tables(empty_dsn)


def test_older_code_refuses_a_newer_schema_that_breaks_it(empty_dsn: str) -> None:
    migrate(empty_dsn, known=[ONE, TWO, BREAKING])
    for refused in (migrate, verify):
        with pytest.raises(SchemaMismatch, match=r"0003_breaking.*update mill") as caught:
            refused(empty_dsn, known=[ONE, TWO])
        assert (caught.value.found, caught.value.wanted) == (3, 2)


def test_older_code_warns_about_a_newer_schema_that_does_not(
    empty_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    migrate(empty_dsn, known=[ONE, TWO, NEWS])
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert migrate(empty_dsn, known=[ONE, TWO]) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "0003_news" in caplog.text
    assert [state.is_known for state in status(empty_dsn, known=[ONE, TWO])] == [True, True, False]


def test_the_same_number_with_another_name_is_another_program(empty_dsn: str) -> None:
    migrate(empty_dsn, known=[ONE])
    with pytest.raises(SchemaMismatch, match="'one' in the database and 'other' here"):
        migrate(empty_dsn, known=[Migration(1, "other", "select 1")])


def test_a_server_that_is_away_is_an_outage() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        migrate("host=/nowhere dbname=mill")
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    """A role without any right to DDL; roles belong to the server, so the name is the session's."""
    name = f"mill_test_worker_{os.getpid()}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"create role {name} login password 'secret'".encode())
        yield name
        connection.execute(f"drop role {name}".encode())


def as_role(dsn: str, role: str) -> str:
    return make_conninfo(dsn, user=role, password="secret")


@pytest.fixture
def granted(role: str, empty_dsn: str) -> Iterator[str]:
    """A database at migration 1, as a role that may read what was applied."""
    migrate(empty_dsn, known=[ONE])
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(f"grant usage on schema mill to {role}".encode())
        connection.execute(f"grant select on mill.migration to {role}".encode())
        yield as_role(empty_dsn, role)
        connection.execute(f"drop owned by {role}".encode())


def test_a_role_without_ddl_passes_where_nothing_is_missing(granted: str) -> None:
    assert verify(granted, known=[ONE]) == []
    assert migrate(granted, known=[ONE]) == []


def test_a_role_without_ddl_is_told_who_must_do_what(granted: str) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        migrate(granted, known=[ONE, TWO])
    assert (caught.value.found, caught.value.wanted) == (1, 2)
    for words in ("0002_two", "'mill_test_worker_", "`mill migrate`"):
        assert words in str(caught.value)


def test_a_role_that_may_read_nothing_is_told_what_to_grant(role: str, empty_dsn: str) -> None:
    with pytest.raises(SchemaMismatch, match="run `mill migrate` as"):
        migrate(as_role(empty_dsn, role), known=[ONE])
    migrate(empty_dsn, known=[ONE])
    with pytest.raises(StoreRefused, match="USAGE on schema mill"):
        migrate(as_role(empty_dsn, role), known=[ONE])
