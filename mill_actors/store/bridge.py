"""The store's functions on an event loop: they are written once, for a connection that blocks.

`on_loop(connection, work)` runs `work` in a greenlet with something that looks like a blocking
connection; where that would wait, the greenlet gives the awaitable to the loop and goes on with what came
of it. No thread, no second version of any statement. It is how SQLAlchemy does it, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import psycopg
from greenlet import getcurrent, greenlet
from psycopg.rows import TupleRow

from mill_actors.store.connection import Connection

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def on_loop(
    connection: psycopg.AsyncConnection[TupleRow],
    work: Callable[[Connection], T],
    patience_seconds: float | None = None,
) -> T:
    """Return what `work` returns; what it raises is raised, a cancellation among it.

    A connection that does not answer for as long as the patience lasts is cut.
    """
    loop = asyncio.get_running_loop()
    worker = greenlet(work)
    told = worker.switch(cast("Connection", _Bridge(connection)))
    while not worker.dead:
        cut = None if patience_seconds is None else loop.call_later(patience_seconds, _cut, connection)
        try:
            value = await told
        except BaseException as error:  # noqa: BLE001  it is work's to handle
            told = worker.throw(error)
        else:
            told = worker.switch(value)
        finally:
            if cut is not None:
                cut.cancel()
    return cast("T", told)


def _cut(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    """Let whoever waits for the server find that it has gone; to cancel would mean to ask it."""
    logger.warning("a connection is cut: the database does not answer")
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.shutdown(socket.SHUT_RDWR)


def _wait(awaitable: Awaitable[Any]) -> Any:
    parent = getcurrent().parent
    assert parent is not None
    return parent.switch(awaitable)


class _Bridge:
    """What the store uses of `psycopg.Connection`."""

    def __init__(self, connection: psycopg.AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    def execute(self, query: Any, params: Any = None, **options: Any) -> _Cursor:
        return _Cursor(_wait(self._connection.execute(query, params, **options)))

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection.cursor())

    def transaction(self, *args: Any, **options: Any) -> _Managed:
        return _Managed(self._connection.transaction(*args, **options))


class _Cursor:
    def __init__(self, cursor: psycopg.AsyncCursor[TupleRow]) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def fetchone(self) -> TupleRow | None:
        row: TupleRow | None = _wait(self._cursor.fetchone())
        return row

    def fetchall(self) -> Sequence[TupleRow]:
        rows: Sequence[TupleRow] = _wait(self._cursor.fetchall())
        return rows

    def __iter__(self) -> Iterator[TupleRow]:
        return iter(self.fetchall())

    def copy(self, statement: Any) -> _Managed:
        return _Managed(self._cursor.copy(statement), _Copy)


class _Copy:
    def __init__(self, copy: psycopg.AsyncCopy) -> None:
        self._copy = copy

    def write(self, data: bytes) -> None:
        _wait(self._copy.write(data))


class _Managed:
    """An asynchronous context manager, entered and left from inside."""

    def __init__(
        self, manager: AbstractAsyncContextManager[Any], wrap: Callable[[Any], Any] | None = None
    ) -> None:
        self._manager = manager
        self._wrap = wrap

    def __enter__(self) -> Self | Any:
        entered = _wait(self._manager.__aenter__())
        return entered if self._wrap is None else self._wrap(entered)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        told: bool | None = _wait(self._manager.__aexit__(kind, error, trace))
        return told
