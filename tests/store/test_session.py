"""One connection of one actor: what is an outage, and what becomes of it."""

from __future__ import annotations

import logging
import threading

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from mill_actors.errors import ConfigError, StoreUnavailable
from mill_actors.store.connection import Connection, Database, Session, is_outage
from tests.store.floor import Floor

KILL = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lonely'"


@pytest.fixture
def session(floor: Floor) -> Session:
    return Session(floor.database, "lonely")


def one(connection: Connection) -> int:
    row = connection.execute("select 1").fetchone()
    assert row is not None
    value: int = row[0]
    return value


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (errors.AdminShutdown(), True),
        (errors.ConnectionFailure(), True),
        (errors.DeadlockDetected(), True),
        (errors.SerializationFailure(), True),
        (errors.DiskFull(), True),
        (errors.TooManyConnections(), True),
        (errors.QueryCanceled(), True),
        (errors.ReadOnlySqlTransaction(), True),
        (errors.IdleInTransactionSessionTimeout(), True),
        (psycopg.OperationalError("connection lost"), True),
        (psycopg.InterfaceError("the connection is closed"), True),
        (errors.StatementTooComplex(), False),
        (errors.ProgramLimitExceeded(), False),
        (errors.InvalidTextRepresentation(), False),
        (errors.UndefinedTable(), False),
        (errors.UniqueViolation(), False),
        (errors.InsufficientPrivilege(), False),
        (ValueError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_outage_is_what_passes_by_itself(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage


def test_a_session_connects_when_first_used(floor: Floor, session: Session) -> None:
    assert floor.value("select count(*) from pg_stat_activity where application_name = 'lonely'") == 0
    assert session.run(one) == 1
    assert floor.value("select count(*) from pg_stat_activity where application_name = 'lonely'") == 1
    session.close()
    session.close()


def test_after_an_outage_the_next_call_connects_anew(floor: Floor, session: Session) -> None:
    session.run(one)
    floor.do(KILL)
    with pytest.raises(StoreUnavailable) as caught:
        session.run(one)
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert session.run(one) == 1
    session.close()


def test_an_error_of_the_callers_leaves_the_connection_alone(floor: Floor, session: Session) -> None:
    pid = session.run(lambda c: c.info.backend_pid)
    with pytest.raises(errors.UndefinedTable):
        session.run(lambda c: c.execute("select * from nowhere"))
    assert session.run(lambda c: c.info.backend_pid) == pid
    session.close()


def test_insisting_goes_on_until_the_outage_is_over(
    floor: Floor, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "mill_actors")
    seen = []

    def work(connection: Connection, failed: int) -> str:
        seen.append(failed)
        if failed < 2:
            connection.close()
        one(connection)
        return "done"

    assert session.insist(work, threading.Event()) == "done"
    assert seen == [0, 1, 2]
    session.close()


def test_insisting_gives_up_when_told(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "mill_actors")
    session = Session(Database(make_conninfo(floor.dsn, host="/nowhere")), "lonely")
    give_up = threading.Event()
    give_up.set()
    assert session.insist(lambda connection, _: one(connection), give_up) is None


def test_insisting_raises_what_is_no_outage(floor: Floor, session: Session) -> None:
    with pytest.raises(errors.DivisionByZero):
        session.insist(lambda connection, _: connection.execute("select 1 / 0"), threading.Event())
    session.close()


def test_a_deadlock_is_tried_again(floor: Floor, session: Session, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "mill_actors")

    def work(_: Connection, failed: int) -> int:
        if not failed:
            raise errors.DeadlockDetected
        return failed

    assert session.insist(work, threading.Event()) == 1
    session.close()


def test_nowhere_is_unavailable_and_nonsense_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(StoreUnavailable):
        Database("host=/nowhere").connect()
    with pytest.raises(ConfigError, match="database_url"):
        Database("no=dsn").connect()


def settings(connection: Connection) -> list[str]:
    names = (
        "enable_seqscan",
        "enable_bitmapscan",
        "jit",
        "plan_cache_mode",
        "idle_in_transaction_session_timeout",
    )
    rows = [connection.execute("select current_setting(%s)", [name]).fetchone() for name in names]
    return [row[0] for row in rows if row is not None]


def test_scans_are_off_where_the_session_is_our_own(floor: Floor) -> None:
    """Through a pooler the setting would be anybody's: there the role brings it (docs/roles.md)."""
    with floor.database.connect() as own:
        assert settings(own) == ["off", "off", "off", "force_generic_plan", "10s"]
    pooled = Database(floor.dsn, direct_dsn=floor.dsn)
    with pooled.connect() as theirs:
        assert settings(theirs)[:2] == ["on", "on"]
    with pooled.connect(direct=True) as own:
        assert settings(own) == ["off", "off", "off", "force_generic_plan", "10s"]


@pytest.mark.parametrize("prepare", [True, False])
def test_statements_are_prepared_unless_the_pooler_knows_none(floor: Floor, prepare: bool) -> None:
    with Database(floor.dsn, prepare=prepare).connect() as connection:
        for _ in range(5):
            connection.execute("select %s::int", [1])
        count = connection.execute("select count(*) from pg_prepared_statements").fetchone()
    assert count == (int(prepare),)
