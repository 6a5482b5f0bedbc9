"""Submitting inside a transaction of the caller's own."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row

from mill_actors.errors import InvalidArgs, SubmissionConflict
from mill_actors.store.client import Client
from mill_actors.store.concurrency import admit_waiting
from mill_actors.store.submission import Submission, submit
from tests.store.floor import Floor


def open_jobs(floor: Floor) -> int:
    count: int = floor.value("select count(*) from mill.queue")
    return count


@pytest.mark.parametrize("options", [{}, {"key": "k"}, {"scheduled_in_seconds": 60.0}], ids=str)
def test_the_job_exists_exactly_if_the_caller_commits(
    floor: Floor, client: Client, options: dict[str, object]
) -> None:
    with psycopg.connect(floor.dsn) as theirs:
        client.submit("f/a/b", {"x": 1}, connection=theirs, **options)
        assert open_jobs(floor) == 0
        theirs.rollback()
        assert open_jobs(floor) == 0
        client.submit("f/a/b", {"x": 1}, connection=theirs, **options)
        theirs.commit()
    assert open_jobs(floor) == 1


def test_a_rollback_leaves_nothing_of_a_bulk(floor: Floor, client: Client) -> None:
    told = [Submission(path="f/a/b", args={"n": n}) for n in range(10)]
    with psycopg.connect(floor.dsn) as theirs:
        client.submit_many(told, connection=theirs)
        client.submit_many([Submission(path="f/a/one", key="k")], connection=theirs)
        theirs.rollback()
    assert open_jobs(floor) == 0
    assert floor.rows("select * from mill.submission_key") == []
    assert floor.rows("select * from mill.concurrency_key") == []
    assert floor.rows("select * from mill.concurrency_slot") == []


def test_the_bell_rings_only_at_commit(floor: Floor, client: Client) -> None:
    ear = floor.listen("mill_queue")
    with psycopg.connect(floor.dsn) as theirs:
        client.submit("f/a/b", connection=theirs)
        assert floor.heard(ear) == []
        theirs.rollback()
        assert floor.heard(ear) == []
        client.submit("f/a/b", connection=theirs)
        assert floor.heard(ear) == []
        theirs.commit()
    assert floor.heard(ear) == [("mill_queue", "python3")]


def test_without_a_transaction_of_the_callers_the_bell_rings_afterwards(floor: Floor, client: Client) -> None:
    ear = floor.listen("mill_queue")
    client.submit("f/a/b")
    client.submit("f/a/b", tag="gpu")
    assert floor.heard(ear) == [("mill_queue", "python3"), ("mill_queue", "gpu")]


@pytest.mark.parametrize("rows", [dict_row, namedtuple_row])
@pytest.mark.parametrize("options", [{}, {"key": "k"}], ids=str)
def test_any_psycopg_connection_will_do(
    floor: Floor, client: Client, rows: Any, options: dict[str, object]
) -> None:
    with psycopg.connect(floor.dsn, row_factory=rows) as theirs:
        job = client.submit("f/a/b", {"x": "\\ \n"}, connection=theirs, **options)
        again = client.submit_many([Submission(path="f/a/b"), Submission(path="f/a/b")], connection=theirs)
        assert theirs.row_factory is rows
    assert client.job(job).args == '{"x":"\\\\ \\n"}'
    assert open_jobs(floor) == 1 + len(again)


def test_a_savepoint_of_the_callers_is_respected(floor: Floor, client: Client) -> None:
    with psycopg.connect(floor.dsn) as theirs:
        kept = client.submit("f/a/b", {"x": 1}, connection=theirs, key="k")
        with theirs.transaction(force_rollback=True):
            client.submit("f/a/b", connection=theirs, key="other")
        with pytest.raises(SubmissionConflict):
            client.submit("f/a/b", {"x": 2}, connection=theirs, key="k")
    assert floor.rows("select id::text from mill.queue") == [(kept,)]
    assert floor.rows("select key from mill.submission_key") == [("k",)]


def test_what_is_refused_before_the_database_leaves_the_transaction_alive(
    floor: Floor, client: Client
) -> None:
    with psycopg.connect(floor.dsn) as theirs:
        with pytest.raises(InvalidArgs):
            client.submit("f/a/b", {"x": object()}, connection=theirs)
        client.submit("f/a/b", connection=theirs)
    assert open_jobs(floor) == 1


def test_no_worker_waits_for_the_callers_transaction(floor: Floor, client: Client) -> None:
    """A transaction of the caller's may last: the lock of a concurrency key must not last with it."""
    floor.submit_many(2, "f/a/one")
    hand = floor.hand()
    job = hand.claim_one()
    with psycopg.connect(floor.dsn) as theirs:
        mine = client.submit("f/a/one", {"n": 99}, connection=theirs)
        assert not floor.rival(lambda own: (hand.finish(job), admit_waiting(own))).waits()
        assert floor.status(job.id) == "success"
    assert mine not in floor.admitted()
    hand.finish(hand.claim_one())
    assert [job.id for job in hand.claim()] == [mine]


def test_no_submitter_waits_for_a_new_key_in_the_callers_transaction(floor: Floor, client: Client) -> None:
    with psycopg.connect(floor.dsn) as theirs:
        mine = client.submit("f/a/one", connection=theirs)
        rival = floor.rival(lambda own: submit(own, [Submission(path="f/a/one")]).receipts[0].id)
        assert not rival.waits()
        assert floor.admitted() == {rival.result()}
    assert mine not in floor.admitted()


def test_a_new_limit_inside_holds_from_the_commit_on(floor: Floor, client: Client) -> None:
    floor.submit_many(3, "f/a/one")
    floor.deploy("f/a/one", concurrency_limit=2, concurrency_key="$workspace/f/a/one")
    with psycopg.connect(floor.dsn) as theirs:
        client.submit("f/a/one", connection=theirs)
    admit_waiting(floor.connection)
    assert len(floor.admitted()) == 2


def test_a_limited_job_inside_is_admitted_by_the_sweep(floor: Floor, client: Client) -> None:
    with psycopg.connect(floor.dsn) as theirs:
        job = client.submit("f/a/one", connection=theirs)
    assert admit_waiting(floor.connection) == {"python3"}
    assert floor.admitted() == floor.slots() == {job}
