"""Databases: one server per session, one migrated template, a copy of it for each test.

The server is DATABASE_URL's (its role needs CREATEDB), else an embedded one in a
temporary folder: MILL_TEST_POSTGRES=16 chooses its version. It does without fsync,
which only a power loss could tell.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from mill_actors.store.embedded import temporary_server
from mill_actors.store.migrate import migrate

SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "4GB"}


@dataclass
class Server:
    """A PostgreSQL and the way to make databases on it."""

    dsn: str
    # The folder of its programs; None for a server that is not ours.
    programs: Path | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """Lend a database, which is dropped afterwards whoever is still connected."""
        # The process id: sessions may share the server of DATABASE_URL.
        name = sql.Identifier(f"mill_test_{os.getpid()}_{next(self._numbers)}")
        source = sql.Identifier(template or "template1")
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {} template {}").format(name, source))
        try:
            yield make_conninfo(self.dsn, dbname=name.as_string().strip('"'))
        finally:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                connection.execute(sql.SQL("drop database {} with (force)").format(name))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of the session."""
    if url := os.environ.get("DATABASE_URL"):
        yield Server(url)
        return
    version = os.environ.get("MILL_TEST_POSTGRES")
    with temporary_server(major=int(version) if version else None, settings=SETTINGS) as embedded:
        yield Server(make_conninfo(embedded.dsn, dbname="postgres"), embedded.program("postgres").parent)


@pytest.fixture(scope="session")
def template(server: Server) -> Iterator[str]:
    """The name of a migrated database that nobody connects to."""
    with server.database() as dsn:
        migrate(dsn)
        yield str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])


@pytest.fixture
def dsn(server: Server, template: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    with server.database(template) as dsn:
        yield dsn


@pytest.fixture
def empty_dsn(server: Server) -> Iterator[str]:
    """A database of the test's own without anything in it."""
    with server.database() as dsn:
        yield dsn


@pytest.fixture
def connect(dsn: str) -> Iterator[Callable[[], psycopg.Connection[tuple[object, ...]]]]:
    """Open connections to `dsn`, in autocommit mode, that are closed after the test."""
    opened: list[psycopg.Connection[tuple[object, ...]]] = []

    def open_one() -> psycopg.Connection[tuple[object, ...]]:
        opened.append(psycopg.connect(dsn, autocommit=True))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def template_connection(server: Server, template: str) -> Iterator[psycopg.Connection]:
    """A connection to a migrated database that no test changes."""
    with server.database(template) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        yield connection
