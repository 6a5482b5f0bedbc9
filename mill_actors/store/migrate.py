"""The migrator: applies what a database lacks, each migration once.

A migration runs in one transaction with the row of `mill.migration` that says so.
Guarantees: many migrators at once apply each migration once, and all return when
it is applied; a role without DDL rights passes where nothing is missing, and is
told otherwise who must run what; a schema that newer code marked as breaking is
refused. Needs a direct connection: a pooler's could lose the lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString, TypeAlias

import psycopg
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import TupleRow

from mill_actors.errors import ConfigError, SchemaMismatch, StoreRefused, StoreUnavailable
from mill_actors.store.migrations import Migration, load_migrations
from mill_actors.store.statements import split

logger = logging.getLogger("mill.store")

Connection: TypeAlias = psycopg.Connection[TupleRow]

# "mill" in ASCII. Any number does, as long as it never changes.
_LOCK = 0x6D696C6C
_LOCK_POLL_SECONDS = 0.05

#: What comes before the first migration.
BOOKKEEPING: LiteralString = """\
create schema if not exists mill;
create table if not exists mill.migration (
  version    integer primary key,
  name       text not null,
  breaking   boolean not null,
  applied_at timestamptz not null default now()
);
"""


@dataclass(frozen=True)
class MigrationStatus:
    """One migration, as this code and the database know it.

    `applied_at` is None while it is missing. `is_known` is False for one that
    newer code applied.
    """

    version: int
    name: str
    is_breaking: bool
    applied_at: datetime | None
    is_known: bool

    def __str__(self) -> str:
        return f"{self.version:04d}_{self.name}"


def status(dsn: str, known: Sequence[Migration] | None = None) -> list[MigrationStatus]:
    """Return every migration that this code or the database knows, by number."""
    with _connect(dsn) as connection:
        return _status(connection, known or load_migrations())


def verify(dsn: str, known: Sequence[Migration] | None = None) -> list[Migration]:
    """Return what is missing, without writing anything.

    Raises SchemaMismatch where this code must not touch the database: newer
    code broke with it, or the same number has another name.
    """
    known = known or load_migrations()
    with _connect(dsn) as connection:
        return _missing(known, _status(connection, known))


def migrate(dsn: str, *, dry_run: bool = False, known: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what is missing, and return what this call applied.

    With `dry_run` nothing is written and all that is missing is returned.
    Where nothing is missing, no DDL is tried and no right to it needed.
    """
    known = known or load_migrations()
    with _connect(dsn) as connection:
        missing = _missing(known, _status(connection, known))
        if dry_run or not missing:
            return missing
        try:
            with _alone(connection):
                connection.execute(BOOKKEEPING)
                return [migration for migration in missing if _apply(connection, migration)]
        except InsufficientPrivilege as error:
            raise _not_allowed(connection, known, missing, error) from error


def _status(connection: Connection, known: Sequence[Migration]) -> list[MigrationStatus]:
    names = {migration.version: migration.name for migration in known}
    found = {
        migration.version: MigrationStatus(
            migration.version, migration.name, migration.is_breaking, applied_at=None, is_known=True
        )
        for migration in known
    }
    for version, name, breaking, applied_at in _applied(connection):
        if names.get(version, name) != name:
            message = (
                f"Migration {version} is {name!r} in the database and {names[version]!r} here: "
                "the database is another program's, or another branch's."
            )
            raise SchemaMismatch(version, known[-1].version, message)
        found[version] = MigrationStatus(version, name, breaking, applied_at, version in names)
    return [found[version] for version in sorted(found)]


def _applied(connection: Connection) -> list[TupleRow]:
    if _scalar(connection, "select to_regclass('mill.migration')") is None:
        return []
    query: LiteralString = "select version, name, breaking, applied_at from mill.migration"
    return connection.execute(query).fetchall()


def _missing(known: Sequence[Migration], states: Sequence[MigrationStatus]) -> list[Migration]:
    newer = [state for state in states if not state.is_known]
    if newer:
        names = ", ".join(str(state) for state in newer)
        if any(state.is_breaking for state in newer):
            message = (
                f"The database was migrated by a newer mill ({names}), "
                "which this one would break or be broken by: update mill."
            )
            raise SchemaMismatch(newer[-1].version, known[-1].version, message)
        logger.warning("The database was migrated by a newer mill (%s); this one can still use it.", names)
    absent = {state.version for state in states if state.applied_at is None}
    return [migration for migration in known if migration.version in absent]


def _apply(connection: Connection, migration: Migration) -> bool:
    """Apply one; False where somebody else did, since the missing ones were counted."""
    row = (migration.version, migration.name, migration.is_breaking)
    insert: LiteralString = (
        "insert into mill.migration (version, name, breaking) values (%s, %s, %s) on conflict do nothing"
    )
    try:
        if migration.in_transaction:
            with connection.transaction():
                # The row first: it makes others wait even where the lock was lost.
                if connection.execute(insert, row).rowcount == 0:
                    return False
                connection.execute(migration.text)
        else:
            if _scalar(connection, "select true from mill.migration where version = %s", row[0]):
                return False
            for statement in split(migration.text):
                connection.execute(statement)
            connection.execute(insert, row)
    except psycopg.DatabaseError as error:
        if isinstance(error, InsufficientPrivilege) or connection.broken:
            raise
        message = f"Migration {migration} failed, and was not applied: {error}"
        raise StoreRefused(message, error.sqlstate) from error
    logger.info("applied migration %s", migration)
    return True


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Hold the lock of the migrators; it goes with the connection.

    It is tried for and not waited for: a waiting statement holds a snapshot, and
    CREATE INDEX CONCURRENTLY in the migrator that has the lock would wait for that.
    """
    while not _scalar(connection, "select pg_try_advisory_lock(%s)", _LOCK):
        time.sleep(_LOCK_POLL_SECONDS)
    yield


def _not_allowed(
    connection: Connection, known: Sequence[Migration], missing: Sequence[Migration], error: Exception
) -> SchemaMismatch:
    role, owner = connection.execute(
        """
        select current_user, coalesce(
          (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'mill'),
          (select pg_get_userbyid(datdba) from pg_database where datname = current_database()))
        """
    ).fetchone() or ("?", "?")
    names = ", ".join(str(migration) for migration in missing)
    message = (
        f"The database lacks {names}, and role {role!r} may not apply them "
        f"({str(error).splitlines()[0]}): run `mill migrate` as {owner!r}."
    )
    return SchemaMismatch(missing[0].version - 1, known[-1].version, message)


@contextmanager
def _connect(dsn: str) -> Iterator[Connection]:
    try:
        # The lock's holder may work for long; nobody else's statement does.
        with psycopg.connect(
            dsn, autocommit=True, application_name="mill migrate", connect_timeout=10
        ) as connection:
            yield connection
    except psycopg.OperationalError as error:
        message = f"PostgreSQL cannot be reached: {error}"
        raise StoreUnavailable(message) from error
    except InsufficientPrivilege as error:
        # Not even what was applied can be read.
        message = f"The role needs USAGE on schema mill and SELECT on mill.migration: {error}"
        raise StoreRefused(message, error.sqlstate) from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:
            raise
        # libpq's own words repeat the address, and with it the password.
        raise ConfigError(["database_url: is no address of a PostgreSQL"]) from None


def _scalar(connection: Connection, query: LiteralString, *values: object) -> object:
    row = connection.execute(query, values or None).fetchone()
    return row[0] if row else None
