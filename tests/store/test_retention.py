"""Partitions ahead, history behind."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from mill_actors.store.connection import Connection
from mill_actors.store.logs import LogChunk, write_logs
from mill_actors.store.maintenance import DAYS_AHEAD, prune
from tests.store.floor import Floor

PARENTS = ("completed_job", "job_attempt", "job_log")
TIMES = {"completed_job": "completed_at", "job_attempt": "ended_at", "job_log": "written_at"}


@pytest.fixture
def floor(own_floor: Floor) -> Floor:
    """Partitions come and go: not in anybody else's database."""
    return own_floor


def partitions(floor: Floor, parent: str) -> list[str]:
    rows = floor.rows(
        """
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = ('mill.' || %s)::regclass order by 1
        """,
        parent,
    )
    return [row[0] for row in rows]


def ensure(connection: Connection, today: date, days_ahead: int = 0) -> int:
    row = connection.execute("select mill.ensure_partitions(%s, %s)", [days_ahead, today]).fetchone()
    assert row is not None
    made: int = row[0]
    return made


def drop(connection: Connection, parent: str, before: datetime) -> int:
    row = connection.execute("select mill.drop_partitions(%s, %s)", [parent, before]).fetchone()
    assert row is not None
    dropped: int = row[0]
    return dropped


def finished(floor: Floor, when: str) -> str:
    """Settle a job, with an attempt and a log line, and date it back."""
    job = floor.submit()
    hand = floor.hand()
    hand.retry(hand.claim_one())
    hand.finish(hand.claim_one())
    write_logs(floor.connection, [LogChunk(job, "default", 1, 0, "x")])
    for parent, column in TIMES.items():
        name = "id" if parent == "completed_job" else "job"
        floor.do(f"update mill.{parent} set {column} = %s where {name} = %s", when, job)
    return job


def where(floor: Floor, parent: str, job: str) -> list[str]:
    name = "id" if parent == "completed_job" else "job"
    rows = floor.rows(
        f"select c.relname from mill.{parent} h join pg_class c on c.oid = h.tableoid where h.{name} = %s",
        job,
    )
    return [row[0] for row in rows]


@pytest.mark.parametrize("parent", PARENTS)
def test_there_is_a_partition_for_today_and_14_days_ahead_and_a_default(floor: Floor, parent: str) -> None:
    today = floor.value("select current_date")
    days = [f"{parent}_{today + timedelta(days=n):%Y%m%d}" for n in range(DAYS_AHEAD + 1)]
    assert set(partitions(floor, parent)) == {*days, f"{parent}_default"}
    job = finished(floor, str(floor.value("select now()")))
    assert where(floor, parent, job) == [days[0]]


def test_a_second_round_finds_everything_there(floor: Floor) -> None:
    assert prune(floor.connection, 30, 7).partitions_made == 0


def test_each_day_adds_one(floor: Floor) -> None:
    today = floor.value("select current_date")
    assert ensure(floor.connection, today + timedelta(days=1), DAYS_AHEAD) == 3
    assert ensure(floor.connection, today + timedelta(days=1), DAYS_AHEAD) == 0


def test_what_has_no_partition_goes_to_the_default(floor: Floor) -> None:
    job = finished(floor, "2020-02-03 04:05 UTC")
    for parent in PARENTS:
        assert where(floor, parent, job) == [f"{parent}_default"]
    assert floor.status(job) == "success"


def test_a_day_the_default_has_rows_of_stays_there_and_hinders_no_other(floor: Floor) -> None:
    job = finished(floor, "2020-02-03 04:05 UTC")
    assert ensure(floor.connection, date(2020, 2, 2), 2) == 2 * 3
    for parent in PARENTS:
        assert f"{parent}_20200203" not in partitions(floor, parent)
        assert f"{parent}_20200204" in partitions(floor, parent)
        assert where(floor, parent, job) == [f"{parent}_default"]


@pytest.mark.parametrize("parent", PARENTS)
def test_days_that_are_wholly_before_are_dropped(floor: Floor, parent: str) -> None:
    ensure(floor.connection, date(2020, 2, 1), 3)
    jobs = [finished(floor, f"2020-02-0{day} 12:00 UTC") for day in (1, 2, 3, 4)]
    # Half of the second day is before: it stays whole.
    assert drop(floor.connection, parent, datetime(2020, 2, 2, 18, tzinfo=UTC)) == 1
    assert [bool(where(floor, parent, job)) for job in jobs] == [False, True, True, True]
    assert drop(floor.connection, parent, datetime(2020, 2, 4, tzinfo=UTC)) == 2
    assert [bool(where(floor, parent, job)) for job in jobs] == [False, False, False, True]


def test_days_are_those_of_utc_whatever_the_session_says(floor: Floor) -> None:
    floor.do("set timezone = 'Pacific/Kiritimati'")
    ensure(floor.connection, date(2020, 2, 1), 1)
    first, last = (finished(floor, f"2020-02-01 {time} UTC") for time in ("00:00", "23:59:59.999"))
    assert (
        where(floor, "completed_job", first)
        == where(floor, "completed_job", last)
        == ["completed_job_20200201"]
    )
    assert drop(floor.connection, "completed_job", datetime(2020, 2, 1, 23, tzinfo=UTC)) == 0
    assert drop(floor.connection, "completed_job", datetime(2020, 2, 2, tzinfo=UTC)) == 1


@pytest.mark.parametrize("parent", PARENTS)
def test_old_rows_of_the_default_are_deleted(floor: Floor, parent: str) -> None:
    old, young = finished(floor, "2020-02-01 12:00 UTC"), finished(floor, "2020-02-03 12:00 UTC")
    assert drop(floor.connection, parent, datetime(2020, 2, 2, tzinfo=UTC)) == 0
    assert where(floor, parent, old) == []
    assert where(floor, parent, young) == [f"{parent}_default"]


def test_retention_is_told_in_days_and_logs_have_their_own(floor: Floor) -> None:
    today = floor.value("select current_date")
    ensure(floor.connection, today - timedelta(days=20), 19)
    job = finished(floor, str(today - timedelta(days=10)))
    pruned = prune(floor.connection, completed_days=15, logs_days=5)
    assert pruned.partitions_dropped == 5 + 5 + 15
    assert where(floor, "completed_job", job)
    assert where(floor, "job_attempt", job)
    assert where(floor, "job_log", job) == []


def test_only_history_is_dropped(floor: Floor) -> None:
    import psycopg

    with pytest.raises(psycopg.errors.RaiseException, match="no such history"):
        drop(floor.connection, "queue", datetime(2020, 1, 1, tzinfo=UTC))


def test_tables_of_other_names_are_left_alone(floor: Floor) -> None:
    floor.do(
        "create table mill.mine partition of mill.job_log for values from ('2019-01-01') to ('2019-01-02')"
    )
    assert drop(floor.connection, "job_log", datetime(2030, 1, 1, tzinfo=UTC)) > 0
    assert "mine" in partitions(floor, "job_log")


def test_a_temporary_catalog_leads_nobody_astray(floor: Floor) -> None:
    """Owner's rights, caller's tables: pg_temp comes before pg_catalog unless it is named last."""
    floor.do("create temp table pg_class (oid oid, relname name)")
    floor.do("create temp table pg_inherits (inhrelid oid, inhparent oid)")
    floor.do("insert into pg_temp.pg_class values (1, 'queue_20200101')")
    floor.do("insert into pg_temp.pg_inherits values (1, 'mill.job_log'::regclass)")
    floor.do("create table mill.queue_20200101 ()")
    assert drop(floor.connection, "job_log", datetime(2020, 2, 1, tzinfo=UTC)) == 0
    assert floor.value("select to_regclass('mill.queue_20200101') is not null")


# -- a reader in the way -------------------------------------------------------------------


@pytest.mark.parametrize("what", ["ensure", "drop"])
def test_a_reader_in_the_way_does_not_hold_up_settles(floor: Floor, what: str) -> None:
    """A strong lock that waits makes everybody wait behind it, so it must not wait long."""
    ensure(floor.connection, date(2020, 2, 1), 9)
    floor.submit()
    hand = floor.hand()
    job = hand.claim_one()
    reader = floor.connect()

    def maintain(own: Connection) -> int:
        if what == "drop":
            return drop(own, "completed_job", datetime(2020, 3, 1, tzinfo=UTC))
        return ensure(own, date(2021, 1, 1), 9)

    with reader.transaction():
        reader.execute("select count(*) from mill.completed_job")
        maintaining = floor.rival(maintain)
        assert maintaining.waits()
        settling = floor.rival(lambda _: hand.finish(job))
        assert settling.result().stale == frozenset()
        # Of what is read nothing could be made or dropped; the rest was.
        assert maintaining.result() == (0 if what == "drop" else 20)
    assert floor.status(job.id) == "success"
    assert maintain(floor.connection) == 10


def test_the_callers_lock_timeout_is_left_as_it_was(floor: Floor) -> None:
    with floor.connection.transaction():
        floor.do("set local lock_timeout = '7s'")
        drop(floor.connection, "job_log", datetime(2020, 3, 1, tzinfo=UTC))
        ensure(floor.connection, date(2020, 3, 1))
        assert floor.value("show lock_timeout") == "7s"


def test_of_two_makers_one_makes(floor: Floor) -> None:
    with floor.connection.transaction():
        assert ensure(floor.connection, date(2020, 2, 1), 2) == 9
        rival = floor.rival(lambda own: ensure(own, date(2020, 2, 1), 2))
        assert not rival.waits()
        assert rival.result() == 0


def test_history_is_read_across_partitions(floor: Floor) -> None:
    from mill_actors.store.jobs import list_jobs

    ensure(floor.connection, date(2020, 2, 1), 3)
    ids = [finished(floor, f"2020-02-0{day} 12:00 UTC") for day in (3, 1, 4, 2)]
    listed = list_jobs(floor.connection, "default", limit=3)
    assert [job.id for job in listed] == [ids[2], ids[0], ids[3]]
