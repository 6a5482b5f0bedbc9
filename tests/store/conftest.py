"""A migrated database for each test, and hands that do what workers do."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from mill_actors.store.client import Client
from tests.fix_db import Server
from tests.store.floor import Floor

_NUMBERS = itertools.count()


@contextmanager
def _copy(server: Server, template: str) -> Iterator[str]:
    # As files, which is five times faster here than by the log.
    name = sql.Identifier(f"mill_store_{os.getpid()}_{next(_NUMBERS)}")
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        strategy = sql.SQL("" if connection.info.server_version < 150000 else "strategy file_copy")
        connection.execute(
            sql.SQL("create database {} template {} {}").format(name, sql.Identifier(template), strategy)
        )
    try:
        yield make_conninfo(server.dsn, dbname=name.as_string().strip('"'))
    finally:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(name))


@pytest.fixture
def dsn(server: Server, template: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    with _copy(server, template) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def shared_dsn(server: Server, template: str) -> Iterator[str]:
    """A migrated database for the tests of a module."""
    with _copy(server, template) as dsn:
        yield dsn


@pytest.fixture
def floor(shared_dsn: str) -> Iterator[Floor]:
    """The module's database, with the scripts f/a/b (plain) and f/a/one (one at a time) alone in it."""
    with Floor(shared_dsn) as floor:
        floor.clear()
        yield floor


@pytest.fixture
def own_floor(dsn: str) -> Iterator[Floor]:
    """The same with a database of the test's own, to do with as it likes."""
    with Floor(dsn) as floor:
        floor.clear()
        yield floor


@pytest.fixture
def make_client(floor: Floor) -> Iterator[Callable[..., Client]]:
    """Open Clients that are closed after the test."""
    opened: list[Client] = []

    def make(workspace: str = "default") -> Client:
        opened.append(Client(floor.database, workspace))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()
