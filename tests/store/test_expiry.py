from __future__ import annotations

import json

import pytest

from mill_actors.store.jobs import cancel_job, expire_jobs
from mill_actors.store.nodes import beat
from tests.store.floor import Floor


def test_what_was_not_started_in_time_is_cancelled(floor: Floor) -> None:
    late = floor.submit(expires_in_seconds=0.0)
    early, never = floor.submit(expires_in_seconds=60.0), floor.submit()
    assert expire_jobs(floor.connection) == [late]
    told = floor.job(late)
    assert (told.status, told.cancelled_by, told.cancel_reason) == ("cancelled", "mill", "expired")
    assert json.loads(told.result or "")["error"]["name"] == "Canceled"
    assert {floor.status(early), floor.status(never)} == {"queued"}
    assert expire_jobs(floor.connection) == []


def test_a_job_that_runs_does_not_expire(floor: Floor) -> None:
    job = floor.submit(expires_in_seconds=60.0)
    hand = floor.hand()
    claimed = hand.claim_one()
    floor.do("update mill.queue set expires_at = now()")
    assert expire_jobs(floor.connection) == []
    hand.finish(claimed)
    assert floor.status(job) == "success"


def test_a_scheduled_job_expires_too(floor: Floor) -> None:
    job = floor.submit(scheduled_in_seconds=99.0, expires_in_seconds=0.0)
    assert expire_jobs(floor.connection) == [job]


def test_the_earliest_expire_first_and_a_bounded_number_at_a_time(floor: Floor) -> None:
    ids = floor.submit_many(5, expires_in_seconds=0.0)
    floor.do("update mill.queue set expires_at = now() - interval '1 h' where id = any (%s::uuid[])", ids[3:])
    assert set(expire_jobs(floor.connection, limit=2)) == set(ids[3:])
    assert set(expire_jobs(floor.connection, limit=9)) == set(ids[:3])


def test_who_waits_is_rung(floor: Floor) -> None:
    job = floor.submit(expires_in_seconds=0.0, awaited=True)
    floor.submit(expires_in_seconds=0.0)
    ear = floor.listen("mill_settled")
    expire_jobs(floor.connection)
    assert floor.heard(ear) == [("mill_settled", job)]


def test_a_beat_says_whether_anything_has_expired(floor: Floor) -> None:
    hand = floor.living_hand()
    assert not beat(hand.connection, hand.node).expiries_wait
    floor.submit(expires_in_seconds=0.0)
    assert beat(hand.connection, hand.node).expiries_wait
    expire_jobs(floor.connection)
    assert not beat(hand.connection, hand.node).expiries_wait


def test_claim_then_expire(floor: Floor) -> None:
    job = floor.submit(expires_in_seconds=60.0)
    hand = floor.hand()
    with hand.connection.transaction():
        claimed = hand.claim_one()
        # It has a moment left in the eyes of the claim, and none in those of who expires it.
        rival = floor.rival(expire_jobs)
        assert not rival.waits()
        assert rival.result() == []
    hand.finish(claimed)
    assert floor.status(job) == "success"


def test_expire_then_cancel(floor: Floor) -> None:
    from mill_actors.errors import JobNotFound

    job = floor.submit(expires_in_seconds=0.0)
    with floor.connection.transaction():
        expire_jobs(floor.connection)
        rival = floor.rival(lambda own: cancel_job(own, "default", job, by="u/ann"))
        assert rival.waits()
    rival.error(JobNotFound)
    assert floor.job(job).cancel_reason == "expired"


@pytest.mark.parametrize("count", [2])
def test_two_that_expire_at_once_share_nothing(floor: Floor, count: int) -> None:
    floor.submit_many(6, expires_in_seconds=0.0)
    with floor.connection.transaction():
        first = expire_jobs(floor.connection, limit=3)
        rival = floor.rival(expire_jobs)
        assert not rival.waits()
    assert len(first) == len(rival.result()) == 3
    assert floor.value("select count(*) from mill.completed_job") == 3 * count
