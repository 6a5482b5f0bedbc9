"""Connections: where they lead, how they are set up, and what an outage is.

`Database` says where; a `Session` is the one connection of one actor, opened when first needed and
opened anew after an outage. Nothing but LISTEN and migrations keeps state in a connection, so all
else works through pgbouncer in transaction mode.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import psycopg
from msgspec import Struct
from psycopg import errors
from psycopg.rows import TupleRow, tuple_row
from psycopg.types.json import set_json_loads

from mill_actors.errors import ConfigError, StoreUnavailable
from mill_actors.store.arrays import JsonArray, JsonArrayDumper, TextArray, TextArrayDumper
from mill_actors.store.decoding import decode

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[TupleRow]
#: A caller's own, whatever its rows are.
AnyConnection = psycopg.Connection[Any]
#: What a statement raises, for those who do not know psycopg.
DatabaseError = psycopg.Error
T = TypeVar("T")

#: The server is away, going, or refuses everybody: wait and try again. 54xxx (too complex) is an
#: OperationalError to psycopg, but it is about the data, and the data will not get better.
_OUTAGES = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # To psycopg these are faults of the database's; but they pass.
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
)
_ABOUT_THE_DATA = (errors.ProgramLimitExceeded, errors.StatementTooComplex, errors.TooManyArguments)

#: A prepared statement keeps its plan, and on a queue that was empty then the plan was to scan it:
#: with 1,000,000 jobs 500 claims take 3.3 s instead of 7 ms, until autovacuum comes by. Everything hot
#: has its index, so scans are out; what has none is scanned all the same. The penalty that does it
#: would make older servers compile such statements. Bitmap scans are out because they lock rows in the
#: order of the heap, and the lock order is that of the ids (0.4 µs a job). Plans are made once, for any
#: values: to plan a claim or a round of flows takes longer than to do it, and the estimates for arrays of
#: a few make Postgres plan anew each time (three steps of a flow, one at a time: 5.6 ms, with this 3.2;
#: docs/decisions/0012). And a node that vanishes in the middle of a transaction must not keep its jobs
#: locked for as long as TCP believes in it, two hours.
SETTINGS = (
    "set enable_seqscan = off; set enable_bitmapscan = off; set jit = off; "
    "set plan_cache_mode = force_generic_plan; set idle_in_transaction_session_timeout = '10s'"
)

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0


def is_outage(error: BaseException) -> bool:
    """Whether trying the same again later can help."""
    return isinstance(error, _OUTAGES) and not isinstance(error, _ABOUT_THE_DATA)


def _swapped(work: Callable[[Connection, int], T], failed: int, connection: Connection) -> T:
    return work(connection, failed)


class Database(Struct, frozen=True):
    """Where the database is. `direct_dsn` bypasses a pooler: LISTEN and migrations need it.

    `prepare=False` is for poolers that don't know prepared statements (pgbouncer before 1.21). Behind
    a pooler a session's settings would be anybody's, so the role has to bring them (docs/roles.md).
    """

    dsn: str
    direct_dsn: str | None = None
    prepare: bool = True

    def connect(self, *, direct: bool = False, name: str = "mill") -> Connection:
        """Open a connection in autocommit mode. Blocks up to 10 s; raises `StoreUnavailable`."""
        dsn = self.direct_dsn if direct and self.direct_dsn else self.dsn
        try:
            connection = psycopg.connect(
                dsn,
                autocommit=True,
                connect_timeout=10,
                application_name=name,
                # A server that vanished without a word is noticed within half a minute.
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                # Keepalives do not look after what is on its way.
                tcp_user_timeout=25_000,
                prepare_threshold=1 if self.prepare else None,
            )
        except psycopg.OperationalError as error:
            raise StoreUnavailable from error
        except psycopg.ProgrammingError:
            # libpq's own words repeat the address, and with it the password.
            setting = "direct_database_url" if dsn == self.direct_dsn else "database_url"
            raise ConfigError([f"{setting}: is no address of a PostgreSQL"]) from None
        adapt(connection)
        if direct or self.direct_dsn is None:
            try:
                connection.execute(SETTINGS)
            except psycopg.OperationalError as error:
                connection.close()
                raise StoreUnavailable from error
        return connection


def register_arrays(connection: AnyConnection | psycopg.AsyncConnection[Any]) -> None:
    """Teach a connection our arrays."""
    connection.adapters.register_dumper(JsonArray, JsonArrayDumper)
    connection.adapters.register_dumper(TextArray, TextArrayDumper)


def adapt(connection: psycopg.Connection[TupleRow]) -> None:
    """Teach a connection our JSON."""
    set_json_loads(decode, connection)
    register_arrays(connection)


@contextmanager
def lent(connection: AnyConnection) -> Iterator[Connection]:
    """Make a caller's connection speak as ours for a while; what he sees of it stays as it is."""
    register_arrays(connection)
    theirs, connection.row_factory = connection.row_factory, tuple_row
    try:
        yield connection
    finally:
        connection.row_factory = theirs


class Session:
    """The connection of one actor, used from its thread alone.

    `run` tries once and turns an outage into `StoreUnavailable`; `insist` goes on until it is over.
    """

    def __init__(self, database: Database, name: str = "mill") -> None:
        self._database = database
        self._name = name
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns. After an outage the next call opens a new connection."""
        if self._connection is None:
            self._connection = self._database.connect(name=self._name)
        try:
            return work(self._connection)
        except psycopg.Error as error:
            if not is_outage(error):
                raise
            self.close()
            raise StoreUnavailable from error

    def insist(
        self, work: Callable[[Connection, int], T], give_up: threading.Event, log: str = ""
    ) -> T | None:
        """Try until it is done; None when `give_up` was set before that.

        `work` gets the connection and how many tries have failed: after a failure its COMMIT may
        have landed although its reply was lost, and `work` must ask before it writes again.
        """
        pause = FIRST_PAUSE_SECONDS
        for failed in itertools.count():
            try:
                return self.run(partial(_swapped, work, failed))
            except StoreUnavailable as error:
                logger.warning(
                    "%s: the database is away, trying again: %s", log or self._name, error.__cause__
                )
            if give_up.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311  jitter, no secret
                return None
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        raise AssertionError  # count() does not end

    def close(self) -> None:
        """Close the connection, if there is one; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except psycopg.Error:
                logger.debug("closing a broken connection", exc_info=True)
