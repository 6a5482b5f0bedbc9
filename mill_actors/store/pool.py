"""The connections of a server: its requests share them, on one event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from mill_actors.errors import StoreRefused, StoreUnavailable
from mill_actors.store.bridge import on_loop
from mill_actors.store.connection import SETTINGS, Connection, Database, is_outage, register_arrays
from mill_actors.store.decoding import decode

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How long a request waits for a connection: whoever waits longer is told that the database is away.
WAIT_SECONDS = 5.0
#: No statement of a request takes longer: one that waits for a lock shall not hold its caller for ever.
SERVER_SETTINGS = "; set statement_timeout = '30s'"
#: The pool waits twice as long after each failure, and would sleep for an hour when an outage has lasted
#: one. So it gives up soon, and the next request makes it try again at once.
RECONNECT_SECONDS = 3.0
#: No statement takes longer, so who has said nothing for as long has gone without a word. Beyond it the
#: connection is cut: whoever waits shall be told.
STALLED_SECONDS = 35.0


def refusal(error: psycopg.Error) -> StoreRefused | None:
    """Return what an error means that is about a value; None: it is about something else."""
    # 54: it is too large or too deep
    about_data = isinstance(error, psycopg.DataError | psycopg.IntegrityError)
    if about_data or (error.sqlstate or "").startswith("54"):
        return StoreRefused(str(error), error.sqlstate)
    return None


class Pool:
    """Use it with `async with`; every call from the loop that entered it."""

    def __init__(self, database: Database, size: int, name: str = "mill server") -> None:
        self._database = database
        self._pool = AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]](
            database.dsn,
            kwargs={
                "autocommit": True,
                "connect_timeout": 10,
                "application_name": name,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 25_000,
                "prepare_threshold": 1 if database.prepare else None,
            },
            min_size=1,
            max_size=size,
            max_waiting=10_000,
            timeout=WAIT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            configure=self._configure,
            open=False,
            name=name,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, with a connection of its own.

        Raises `StoreUnavailable`, and `StoreRefused` for what no table can hold.
        """
        try:
            async with self._pool.connection() as connection:
                return await on_loop(connection, work, STALLED_SECONDS)
        except (PoolTimeout, PoolClosed, TooManyRequests) as error:
            raise StoreUnavailable from error
        except UnicodeEncodeError as error:
            raise StoreRefused(str(error)) from error
        except psycopg.Error as error:
            refused = refusal(error)
            if refused is not None:
                raise refused from error
            if is_outage(error):
                raise StoreUnavailable from error
            raise

    async def _configure(self, connection: psycopg.AsyncConnection[TupleRow]) -> None:
        set_json_loads(decode, connection)
        register_arrays(connection)
        if self._database.direct_dsn is None:
            await connection.execute(SETTINGS + SERVER_SETTINGS)
