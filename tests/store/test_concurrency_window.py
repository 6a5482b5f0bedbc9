"""Concurrency keys with a time window: a place stays taken for a while after its job's end."""

from __future__ import annotations

import random
from time import monotonic
from typing import Any

import pytest

from mill_actors.jobs.outcome import Verdict
from mill_actors.store.concurrency import admit_waiting
from mill_actors.store.connection import Connection
from mill_actors.store.jobs import cancel_job
from mill_actors.store.maintenance import prune
from mill_actors.store.nodes import admissions_wait, beat, rescue_node
from mill_actors.store.submission import Submission, submit
from tests.store.floor import PATIENCE_SECONDS, TAG, Floor

WINDOW = 60.0


@pytest.fixture
def two(floor: Floor) -> str:
    """A script two jobs of which may be admitted in 60 seconds."""
    floor.deploy("f/a/two", concurrency_limit=2, concurrency_window_s=WINDOW)
    return "f/a/two"


def leave(floor: Floor, *jobs: str) -> None:
    """Let the windows of these jobs be over; of all if none is named."""
    floor.do(
        "update mill.concurrency_slot set frees_at = now() where frees_at is not null"
        " and (%s or job = any (%s::uuid[]))",
        not jobs,
        list(jobs),
    )


def left(floor: Floor) -> dict[str, int | None]:
    """The slots, and how many seconds each is still taken after its job's end."""
    rows = floor.rows(
        "select job::text, round(extract(epoch from frees_at - now())) from mill.concurrency_slot"
    )
    return {job: None if seconds is None else int(seconds) for job, seconds in rows}


def window(floor: Floor) -> float:
    seconds: float = floor.value("select window_s from mill.concurrency_key")
    return seconds


# -- a place after an end ----------------------------------------------------------------


@pytest.mark.parametrize("verdict", list(Verdict))
def test_an_end_keeps_its_place_for_the_window(floor: Floor, two: str, verdict: Verdict) -> None:
    ids = floor.submit_many(3, two)
    hand = floor.hand()
    jobs = hand.claim()
    assert [job.id for job in jobs] == ids[:2]
    done = hand.finish(jobs[0], verdict=verdict)
    assert done.admitted_tags == frozenset()
    assert left(floor) in ({ids[0]: 60, ids[1]: None}, {ids[0]: 59, ids[1]: None})
    assert admit_waiting(floor.connection) == set()
    assert hand.claim() == []


def test_a_new_job_waits_while_the_window_lasts(floor: Floor, two: str) -> None:
    floor.submit_many(2, two)
    hand = floor.hand()
    hand.finish(*hand.claim())
    later = floor.submit(path=two)
    assert floor.admitted() == set()
    assert admit_waiting(floor.connection) == set()
    leave(floor)
    assert admit_waiting(floor.connection) == {TAG}
    assert hand.ids() == [later]


def test_each_end_has_a_window_of_its_own(floor: Floor, two: str) -> None:
    ids = floor.submit_many(5, two)
    hand = floor.hand()
    hand.finish(*hand.claim())
    leave(floor, ids[1])
    assert admit_waiting(floor.connection) == {TAG}
    assert floor.admitted() == {ids[2]}
    hand.finish(hand.claim_one())
    leave(floor, ids[0])
    admit_waiting(floor.connection)
    assert floor.admitted() == {ids[3]}


def test_never_more_than_the_limit_in_any_window(floor: Floor, two: str) -> None:
    """Begin as many as there is room for, end them, let one window pass: two at a time, every time."""
    ids = floor.submit_many(8, two)
    hand = floor.hand()
    begun: list[str] = []
    for turn in range(4):
        jobs = hand.claim()
        assert len(jobs) == 2
        begun += [job.id for job in jobs]
        hand.finish(*jobs)
        assert hand.claim() == []
        if turn < 3:
            leave(floor)
            assert admit_waiting(floor.connection) == {TAG}
    assert begun == ids


def test_the_next_end_or_submit_admits_when_the_window_is_over(floor: Floor, two: str) -> None:
    ids = floor.submit_many(4, two)
    hand = floor.hand()
    jobs = hand.claim()
    hand.finish(jobs[0])
    leave(floor)
    assert hand.finish(jobs[1]).admitted_tags == {TAG}
    assert floor.admitted() == {ids[2]}
    leave(floor)
    floor.submit(path=two)
    assert floor.admitted() == set(ids[2:])


def test_the_sweep_is_wanted_while_somebody_waits_for_a_window(floor: Floor, two: str) -> None:
    floor.submit_many(3, two)
    hand = floor.living_hand()
    hand.finish(*hand.claim())
    assert beat(hand.connection, hand.node).admissions_wait
    leave(floor)
    admit_waiting(floor.connection)
    assert not admissions_wait(floor.connection)


def test_a_window_ends_by_itself(floor: Floor) -> None:
    floor.submit(concurrency_key="k", concurrency_limit=1, concurrency_window_s=0.05)
    last = floor.submit(concurrency_key="k", concurrency_limit=1, concurrency_window_s=0.05)
    hand = floor.hand()
    hand.finish(hand.claim_one())
    deadline = monotonic() + PATIENCE_SECONDS
    while not admit_waiting(floor.connection):
        assert monotonic() < deadline
    assert floor.admitted() == {last}


def test_keys_have_windows_of_their_own(floor: Floor) -> None:
    floor.deploy(
        "f/a/k", concurrency_limit=1, concurrency_window_s=WINDOW, concurrency_key="$workspace:$args[who]"
    )
    receipts = floor.receipts([Submission(path="f/a/k", args={"who": who}) for who in ("ann", "bob") * 2])
    hand = floor.hand()
    ann, bob = hand.claim()
    hand.finish(ann, bob)
    leave(floor, bob.id)
    admit_waiting(floor.connection)
    assert floor.admitted() == {receipts[3].id}


# -- restarts, rescues, retries, cancels ---------------------------------------------------


def test_a_restart_forgets_no_window(floor: Floor, two: str) -> None:
    """Nothing of it is in a worker's memory, and no round of the pruner's takes it away."""
    floor.submit_many(3, two)
    hand = floor.living_hand()
    hand.finish(*hand.claim())
    rescue_node(floor.connection, hand.node, None)
    prune(floor.connection, 30, 30)
    fresh = floor.connect()
    assert admit_waiting(fresh) == set()
    assert set(left(floor).values()) <= {59, 60}
    leave(floor)
    assert admit_waiting(fresh) == {TAG}


def test_windows_that_are_over_are_pruned_and_their_keys_with_them(floor: Floor, two: str) -> None:
    floor.submit_many(2, two)
    hand = floor.hand()
    hand.finish(*hand.claim())
    prune(floor.connection, 30, 30)
    assert len(left(floor)) == 2
    leave(floor)
    prune(floor.connection, 30, 30)
    assert left(floor) == {}
    assert floor.rows("select from mill.concurrency_key") == []


def test_a_rescued_job_keeps_its_one_place(floor: Floor, two: str) -> None:
    ids = floor.submit_many(3, two)
    hand = floor.living_hand()
    hand.claim()
    rescue_node(floor.connection, hand.node, 0)
    again = floor.hand()
    jobs = again.claim(1) + again.claim(1)
    again.finish(*jobs)
    assert set(left(floor)) == set(ids[:2])
    assert again.claim() == []


@pytest.mark.parametrize("limit", [1, 2])
def test_a_retry_in_its_window_counts_once(floor: Floor, limit: int) -> None:
    """Two attempts of one job take one place, not two."""
    told: dict[str, Any] = {
        "concurrency_key": "k",
        "concurrency_limit": limit,
        "concurrency_window_s": WINDOW,
    }
    job = floor.submit(**told)
    hand = floor.hand()
    hand.retry(hand.claim_one())
    again = hand.claim_one()
    assert (again.id, again.attempt) == (job, 2)
    hand.finish(again)
    assert set(left(floor)) == {job}
    later = [floor.submit(**told) for _ in range(2)]
    assert floor.admitted() == set(later[: limit - 1])


def test_a_retry_after_its_window_has_a_place_again(floor: Floor, two: str) -> None:
    ids = floor.submit_many(2, two)
    hand = floor.hand()
    first, second = hand.claim()
    hand.finish(second)
    hand.retry(first, delay=99.0)
    leave(floor)
    floor.do("update mill.queue set scheduled_for = now()")
    admit_waiting(floor.connection)
    assert floor.admitted() == {ids[0]}
    assert left(floor)[ids[0]] is None


def test_who_is_cancelled_before_he_had_a_place_takes_none(floor: Floor, two: str) -> None:
    ids = floor.submit_many(3, two)
    assert cancel_job(floor.connection, "default", ids[2], by="u/ann") == "cancelled"
    assert set(left(floor)) == set(ids[:2])


# -- windows that change -------------------------------------------------------------------


def test_a_job_may_bring_its_own_window(floor: Floor, two: str) -> None:
    floor.submit(path=two, concurrency_window_s=5.0)
    assert window(floor) == 5.0
    floor.submit(path=two)
    assert window(floor) == WINDOW


@pytest.mark.parametrize("seconds", [0.0, None])
def test_without_a_window_an_end_frees_its_place_at_once(floor: Floor, seconds: float | None) -> None:
    floor.deploy("f/a/k", concurrency_limit=1, concurrency_window_s=seconds)
    first, second = floor.submit_many(2, "f/a/k")
    hand = floor.hand()
    job = hand.claim_one()
    assert job.id == first
    assert hand.finish(job).admitted_tags == {TAG}
    assert left(floor) == {second: None}
    assert window(floor) == 0.0


def test_a_window_that_is_taken_away_holds_for_those_that_have_ended(floor: Floor, two: str) -> None:
    ids = floor.submit_many(2, two)
    hand = floor.hand()
    first, second = hand.claim()
    hand.finish(first)
    floor.deploy(two, concurrency_limit=2)
    third = floor.submit(path=two)
    hand.finish(second)
    assert set(left(floor)) == {ids[0], third}


def test_a_key_that_is_put_back_has_its_window_again(floor: Floor, two: str) -> None:
    floor.submit_many(3, two)
    floor.do("delete from mill.concurrency_key")
    floor.do("delete from mill.concurrency_slot")
    admit_waiting(floor.connection)
    assert floor.rows("select max_running, window_s from mill.concurrency_key") == [(2, WINDOW)]


# -- exact, whoever comes at once ------------------------------------------------------------


@pytest.mark.slow
def test_the_limit_is_exact_whoever_comes_at_once(floor: Floor, two: str) -> None:
    """Submitters, workers and sweeps, and no window ends: two jobs have run, and no third."""
    wanted = 40

    def submitter(own: Connection, seed: int) -> None:
        rng = random.Random(seed)
        left = wanted // 2
        while left:
            count = min(left, rng.randint(1, 5))
            left -= count
            submit(own, [Submission(path=two)] * count)

    def worker(own: Connection, seed: int) -> None:
        rng, hand = random.Random(seed), hands[seed]
        for _ in range(100):
            for job in hand.claim(rng.randint(1, 4)):
                (hand.retry if rng.random() < 0.3 and job.attempt < 9 else hand.finish)(job)
            admit_waiting(own)

    hands = {seed: floor.hand() for seed in (1, 2)}
    rivals = [floor.rival(lambda own, s=s: submitter(own, s)) for s in (11, 12)]  # type: ignore[misc]
    rivals += [floor.rival(lambda own, s=s: worker(own, s)) for s in hands]  # type: ignore[misc]
    for rival in rivals:
        rival.result()
    for job in hands[1].claim():
        hands[1].finish(job)
    assert floor.value("select count(*) from mill.completed_job") == 2
    assert floor.value("select count(*) from mill.queue where not admitted") == wanted - 2
    assert len(left(floor)) == 2
