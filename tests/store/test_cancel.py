from __future__ import annotations

import json

import pytest

from mill_actors.errors import JobNotFound
from mill_actors.ids import new_id
from mill_actors.jobs.outcome import Verdict
from mill_actors.store.client import Client
from mill_actors.store.jobs import cancel_job
from mill_actors.store.nodes import beat
from tests.store.floor import Floor, Hand


def cancel(floor: Floor, job: str, *, force: bool = False) -> str:
    return cancel_job(floor.connection, "default", job, by="u/ann", reason="no", force=force)


@pytest.mark.parametrize("options", [{}, {"scheduled_in_seconds": 99.0}, {"path": "f/a/one"}], ids=str)
def test_a_job_that_waits_is_cancelled_here_and_now(floor: Floor, options: dict[str, object]) -> None:
    job = floor.submit(**options)  # type: ignore[arg-type]  # fields of Submission
    assert cancel(floor, job) == "cancelled"
    told = floor.job(job)
    assert (told.status, told.cancelled_by, told.cancel_reason) == ("cancelled", "u/ann", "no")
    assert (told.started_at, told.worker, told.duration_us) == (None, None, None)
    assert json.loads(told.result or "")["error"]["name"] == "Canceled"
    assert floor.hand().claim() == []


def test_a_job_that_runs_is_asked_to_end(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.living_hand()
    claimed = hand.claim_one()
    ear = floor.listen("mill_cancel")
    assert cancel(floor, job) == "requested"
    assert floor.status(job) == "running"
    assert floor.job(job).cancel_requested_at is not None
    assert floor.heard(ear) == [("mill_cancel", job)]
    assert beat(hand.connection, hand.node).cancels == (job,)
    hand.finish(claimed, verdict=Verdict.CANCELLED)
    assert beat(hand.connection, hand.node).cancels == ()


def test_the_first_request_counts(floor: Floor) -> None:
    job = floor.submit()
    floor.hand().claim_one()
    cancel(floor, job)
    first = floor.job(job).cancel_requested_at
    assert cancel_job(floor.connection, "default", job, by="u/bob", reason="too") == "requested"
    told = floor.job(job)
    assert (told.cancel_requested_at, told.cancelled_by, told.cancel_reason) == (first, "u/ann", "no")


def test_force_takes_the_claim_away(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.living_hand()
    claimed = hand.claim_one()
    ear = floor.listen("mill_cancel")
    assert cancel(floor, job, force=True) == "cancelled"
    assert floor.status(job) == "cancelled"
    assert floor.heard(ear) == [("mill_cancel", job)]
    assert hand.finish(claimed).stale == {job}
    assert hand.retry(claimed).stale == {job}
    assert floor.status(job) == "cancelled"


def test_force_after_a_request(floor: Floor) -> None:
    job = floor.submit()
    floor.hand().claim_one()
    cancel(floor, job)
    assert cancel_job(floor.connection, "default", job, by="u/bob", force=True) == "cancelled"
    assert floor.job(job).cancelled_by == "u/ann"


@pytest.mark.parametrize("state", ["queued", "running"])
def test_who_waits_is_rung(floor: Floor, state: str) -> None:
    job = floor.submit(awaited=True)
    if state == "running":
        floor.hand().claim_one()
    ear = floor.listen("mill_settled")
    cancel(floor, job, force=True)
    assert floor.heard(ear) == [("mill_settled", job)]


def test_a_job_that_is_over_or_unknown_is_not_found(floor: Floor) -> None:
    floor.submit()
    hand = floor.hand()
    job = hand.claim_one()
    hand.finish(job)
    for name in (job.id, new_id()):
        with pytest.raises(JobNotFound):
            cancel(floor, name)


def test_a_client_is_told_how_it_ended(floor: Floor, client: Client) -> None:
    floor.submit()
    hand = floor.hand()
    job = hand.claim_one()
    assert client.cancel(job.id) == "requested"
    hand.finish(job)
    assert client.cancel(job.id) == "success"
    with pytest.raises(JobNotFound):
        client.cancel(new_id())


def test_a_job_of_another_workspace_is_not_found(floor: Floor) -> None:
    job = floor.submit()
    floor.workspace("acme")
    with pytest.raises(JobNotFound):
        cancel_job(floor.connection, "acme", job, by="u/eve", force=True)
    assert floor.status(job) == "queued"


@pytest.mark.parametrize("force", [False, True])
def test_the_next_one_gets_the_place(floor: Floor, force: bool) -> None:
    first, second = floor.submit_many(2, "f/a/one")
    hand = floor.hand()
    if force:
        hand.claim_one()
    ear = floor.listen("mill_queue")
    assert cancel(floor, first, force=force) == "cancelled"
    assert floor.slots() == floor.admitted() == {second}
    assert floor.heard(ear) == [("mill_queue", "python3")]
    assert hand.ids() == [second]


def test_cancelling_one_that_waits_for_its_place_changes_no_other(floor: Floor) -> None:
    first, second, third = floor.submit_many(3, "f/a/one")
    assert cancel(floor, second) == "cancelled"
    assert floor.slots() == {first}
    assert floor.admitted() == {first}
    assert floor.status(third) == "queued"


# -- interleavings: whoever comes second sees what the first did -------------------------


def test_claim_then_cancel(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    with hand.connection.transaction():
        claimed = hand.claim_one()
        rival = floor.rival(lambda own: cancel_job(own, "default", job, by="u/ann"))
        assert rival.waits()
    assert rival.result() == "requested"
    assert floor.job(job).cancelled_by == "u/ann"
    assert hand.finish(claimed, verdict=Verdict.CANCELLED).stale == frozenset()


def test_cancel_then_claim(floor: Floor) -> None:
    job, other = floor.submit_many(2)
    hand = floor.hand()
    with floor.connection.transaction():
        assert cancel(floor, job) == "cancelled"
        # It does not wait, and passes the job by.
        assert hand.ids() == [other]
    assert floor.status(job) == "cancelled"


def test_cancel_that_is_rolled_back_then_claim(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    with floor.connection.transaction(force_rollback=True):
        cancel(floor, job)
        assert hand.claim() == []
    assert hand.ids() == [job]


@pytest.mark.parametrize("force", [False, True])
def test_finish_then_cancel(floor: Floor, force: bool) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    with hand.connection.transaction():
        hand.finish(claimed, result=b"1")
        rival = floor.rival(lambda own: cancel_job(own, "default", job, by="u/ann", force=force))
        assert rival.waits()
    rival.error(JobNotFound)
    assert (floor.status(job), floor.result(job)) == ("success", "1")


@pytest.mark.parametrize("path", ["f/a/b", "f/a/one"])
def test_cancel_then_finish(floor: Floor, path: str) -> None:
    """The finish waits, and then finishes the row as it has become: nothing of it is lost."""
    job = floor.submit(path=path, awaited=True)
    hand = floor.hand()
    claimed = hand.claim_one()
    with floor.connection.transaction():
        cancel(floor, job)
        rival = floor.rival(lambda _: hand.finish(claimed, verdict=Verdict.CANCELLED))
        assert rival.waits()
    done = rival.result()
    assert (done.stale, done.awaited) == (frozenset(), (job,))
    told = floor.job(job)
    assert (told.status, told.cancelled_by, told.cancel_reason) == ("cancelled", "u/ann", "no")
    assert floor.slots() == set()


def test_forced_cancel_then_finish(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    with floor.connection.transaction():
        cancel(floor, job, force=True)
        rival = floor.rival(lambda _: hand.finish(claimed))
        assert rival.waits()
    assert rival.result().stale == {job}
    assert floor.status(job) == "cancelled"


def test_retry_then_cancel(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    with hand.connection.transaction():
        hand.retry(claimed, delay=99.0)
        rival = floor.rival(lambda own: cancel_job(own, "default", job, by="u/ann"))
        assert rival.waits()
    assert rival.result() == "cancelled"
    assert (floor.status(job), floor.job(job).attempt) == ("cancelled", 2)


def test_cancel_then_retry(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    with floor.connection.transaction():
        cancel(floor, job)
        rival = floor.rival(lambda _: hand.retry(claimed))
        assert rival.waits()
    assert rival.result().stale == frozenset()
    assert (floor.status(job), floor.job(job).attempt) == ("cancelled", 1)


@pytest.mark.parametrize("order", ["release first", "cancel first"])
def test_cancel_and_release(floor: Floor, order: str) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    if order == "release first":
        with hand.connection.transaction():
            assert hand.release(claimed) == {job}
            cancelling = floor.rival(lambda own: cancel_job(own, "default", job, by="u/ann"))
            assert cancelling.waits()
        assert cancelling.result() == "cancelled"
    else:
        with floor.connection.transaction():
            assert cancel(floor, job) == "requested"
            releasing = floor.rival(lambda _: hand.release(claimed))
            assert releasing.waits()
        assert releasing.result() == set()
    assert floor.status(job) == "cancelled"


def test_two_cancels_at_once(floor: Floor) -> None:
    job = floor.submit()
    with floor.connection.transaction():
        assert cancel(floor, job) == "cancelled"
        rival = floor.rival(lambda own: cancel_job(own, "default", job, by="u/bob"))
        assert rival.waits()
    rival.error(JobNotFound)
    assert floor.job(job).cancelled_by == "u/ann"


def test_many_cancels_against_claims_and_finishes(floor: Floor) -> None:
    """Whatever the order, each job ends once, and is claimed or cancelled but never both in the queue."""
    ids = floor.submit_many(200)

    def work(hand: Hand) -> set[str]:
        done: set[str] = set()
        while jobs := hand.claim(9):
            stale = hand.finish(*jobs).stale
            done |= {job.id for job in jobs} - stale
        return done

    def cancel_all(force: bool) -> set[str]:
        with Client(floor.database) as client:
            return {job for job in ids if client.cancel(job, force=force) == "cancelled"}

    hands = [floor.hand(), floor.hand()]
    workers = [floor.rival(lambda _, hand=hand: work(hand)) for hand in hands]  # type: ignore[misc]
    cancellers = [floor.rival(lambda _, force=force: cancel_all(force)) for force in (False, True)]  # type: ignore[misc]
    finished = set().union(*(rival.result() for rival in workers))
    cancelled = set().union(*(rival.result() for rival in cancellers))
    for job in hands[0].claim():
        hands[0].finish(job)
        finished.add(job.id)
    rows = dict(floor.rows("select id::text, status from mill.completed_job"))
    assert sorted(rows) == sorted(ids)
    assert {job for job, status in rows.items() if status == "success"} == finished
    assert {job for job, status in rows.items() if status == "cancelled"} <= cancelled
    assert floor.value("select count(*) from mill.queue") == 0
