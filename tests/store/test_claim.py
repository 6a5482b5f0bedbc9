from __future__ import annotations

import pytest

from mill_actors.ids import new_id
from mill_actors.store import claims
from mill_actors.store.claims import MAX_CLAIM_BYTES, claimed_jobs, next_due_seconds
from mill_actors.store.jobs import await_jobs
from mill_actors.store.submission import Submission
from tests.store.floor import TAG, Floor

MB = 1024 * 1024


def test_a_claim_sets_running_node_claim_worker_and_time(floor: Floor) -> None:
    job = floor.submit({"x": 1})
    hand = floor.hand()
    (claimed,) = hand.claim(claim="01a2042b-c0e9-7692-ad7f-6555ac000000")
    row = floor.row(
        "select running, node::text, claim::text, worker, claimed_at between submitted_at and now() from mill.queue"
    )
    assert row == (True, hand.node, "01a2042b-c0e9-7692-ad7f-6555ac000000", "w1", True)
    assert floor.status(job) == "running"
    assert (claimed.id, claimed.args, claimed.path, claimed.attempt) == (job, '{"x":1}', "f/a/b", 1)


def test_what_is_claimed_is_nobody_elses(floor: Floor) -> None:
    floor.submit_many(3)
    assert len(floor.hand().claim()) == 3
    assert floor.hand().claim() == []


def test_priority_then_due_time_then_id(floor: Floor) -> None:
    ids = sorted(new_id() for _ in range(3))
    told = [
        ("late", 0, "1 second"),
        ("early", 0, "9 seconds"),
        ("important and late", 5, "0 seconds"),
        ("important and early", 5, "8 seconds"),
        ("most important", 100, "0 seconds"),
    ]
    names = {}
    for name, priority, ago in told:
        job = floor.submit(priority=priority)
        floor.do("update mill.queue set scheduled_for = now() - %s::interval where id = %s", ago, job)
        names[job] = name
    for job in reversed(ids):
        floor.submit(id=job)
        floor.do("update mill.queue set scheduled_for = '2020-01-01' where id = %s", job)
    names |= {job: f"same time {n}" for n, job in enumerate(ids)}
    wanted = [
        "most important", "important and early", "important and late",
        "same time 0", "same time 1", "same time 2", "early", "late",
    ]  # fmt: skip
    assert [names[job] for job in floor.hand().ids()] == wanted


def test_one_by_one_comes_in_the_same_order(floor: Floor) -> None:
    for priority in (3, 1, 2, 3, 0, 100):
        floor.submit(priority=priority)
    hand = floor.hand()
    assert [hand.claim_one().priority for _ in range(6)] == [100, 3, 3, 2, 1, 0]


def test_the_limit_takes_the_first(floor: Floor) -> None:
    low = floor.submit_many(5)
    high = floor.submit_many(5, priority=1)
    hand = floor.hand()
    assert hand.ids(7) == high + low[:2]
    assert hand.ids(7) == low[2:]


def test_only_the_tags_asked_for(floor: Floor) -> None:
    gpu = floor.submit(tag="gpu")
    cpu = floor.submit()
    hand = floor.hand()
    assert hand.ids(tags=["other", "gpu"]) == [gpu]
    assert hand.ids(tags=[]) == []
    assert hand.ids() == [cpu]


def test_tags_of_equal_priority_go_in_the_order_asked(floor: Floor) -> None:
    for _ in range(2):
        for tag in ("a", "b", "c"):
            floor.submit(tag=tag)
    urgent = floor.submit(tag="c", priority=1)
    hand = floor.hand()
    jobs = hand.claim(3, ["b", "c", "a"])
    assert {job.tag for job in jobs} == {"b", "c"}
    assert jobs[0].id == urgent
    assert sorted(job.tag for job in hand.claim(3, ["a", "b", "c"])) == ["a", "a", "c"]


def test_a_tag_asked_for_twice_is_claimed_once(floor: Floor) -> None:
    floor.submit_many(4)
    assert len(floor.hand().claim(10, [TAG, TAG])) == 4


def test_nothing_before_it_is_due(floor: Floor) -> None:
    floor.submit(scheduled_in_seconds=3600.0)
    due = floor.submit(scheduled_in_seconds=-1.0)
    hand = floor.hand()
    assert hand.ids() == [due]
    assert hand.ids() == []


def test_a_tier_that_is_not_due_hides_no_lower_one(floor: Floor) -> None:
    floor.submit(priority=9, scheduled_in_seconds=3600.0)
    due = floor.submit(priority=1)
    assert floor.hand().ids() == [due]


def test_the_expired_are_never_claimed(floor: Floor) -> None:
    floor.submit(expires_in_seconds=0.0)
    alive = floor.submit(expires_in_seconds=60.0)
    assert floor.hand().ids() == [alive]


def test_what_waits_for_its_place_is_not_claimed(floor: Floor) -> None:
    first, _ = floor.submit_many(2, "f/a/one")
    assert floor.hand().ids() == [first]


# -- bytes ---------------------------------------------------------------------------


def sized(floor: Floor, *megabytes: float) -> list[str]:
    told = [
        Submission(path="f/a/b", args=b'{"x":"' + b"a" * (int(size * MB) - 8) + b'"}') for size in megabytes
    ]
    return [receipt.id for receipt in floor.receipts(told)]


def test_a_claim_takes_8_mb_of_arguments_and_no_more(floor: Floor) -> None:
    ids = sized(floor, 3, 3, 3, 1)
    hand = floor.hand()
    assert MAX_CLAIM_BYTES == 8 * MB
    jobs = hand.claim()
    assert [job.id for job in jobs] == ids[:2]
    assert sum(job.args_bytes for job in jobs) <= MAX_CLAIM_BYTES
    assert hand.ids() == ids[2:]


def test_a_claim_may_be_full_to_the_last_byte(floor: Floor) -> None:
    ids = sized(floor, 4, 4, 0.1)
    assert floor.hand().ids() == ids[:2]


def test_a_job_above_the_budget_comes_alone(floor: Floor) -> None:
    ids = sized(floor, 9, 0.1)
    hand = floor.hand()
    assert hand.ids() == ids[:1]
    assert hand.ids() == ids[1:]


def test_a_big_job_behind_small_ones_waits_for_the_next_claim(floor: Floor) -> None:
    """It would make the claim as big as itself on top of what is there."""
    ids = sized(floor, 0.1, 0.1, 20, 0.1)
    hand = floor.hand()
    assert hand.ids() == ids[:2]
    assert hand.ids() == ids[2:3]
    assert hand.ids() == ids[3:]


# -- rescued jobs --------------------------------------------------------------------


def test_a_rescued_job_is_claimed_alone(floor: Floor) -> None:
    ids = floor.submit_many(5)
    floor.do("update mill.queue set rescues = 1 where id = any (%s::uuid[])", [ids[0], ids[2], ids[3]])
    hand = floor.hand()
    claims = [hand.ids() for _ in range(5)]
    assert claims == [[job] for job in ids]


def test_jobs_before_a_rescued_one_are_claimed_without_it(floor: Floor) -> None:
    ids = floor.submit_many(4)
    floor.do("update mill.queue set rescues = 2 where id = %s", ids[2])
    hand = floor.hand()
    assert [hand.ids(), hand.ids(), hand.ids()] == [ids[:2], [ids[2]], [ids[3]]]


# -- two at once ---------------------------------------------------------------------


def test_two_claims_at_once_share_nothing_and_do_not_wait(floor: Floor) -> None:
    ids = floor.submit_many(10)
    one, other = floor.hand(), floor.hand()
    with one.connection.transaction():
        first = one.ids(4)
        rival = floor.rival(lambda _: other.ids(4))
        assert not rival.waits()
        second = rival.result()
    assert first == ids[:4]
    assert second == ids[4:8]


def test_many_claimers_share_nothing_and_leave_nothing(floor: Floor) -> None:
    ids = floor.submit_many(600)
    hands = [floor.hand() for _ in range(4)]

    def work(number: int) -> list[str]:
        mine: list[str] = []
        while found := hands[number].ids(7):
            mine += found
        return mine

    rivals = [floor.rival(lambda _, number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    taken = [job for rival in rivals for job in rival.result()]
    # One that found all that was left locked has stopped early; so one more look.
    taken += hands[0].ids()
    assert sorted(taken) == sorted(ids)


def test_a_claim_that_is_rolled_back_leaves_the_jobs(floor: Floor) -> None:
    ids = floor.submit_many(2)
    hand = floor.hand()
    with hand.connection.transaction(force_rollback=True):
        assert hand.ids() == ids
    assert hand.ids() == ids


def test_who_asks_for_a_ring_while_a_claim_passes_rings_for_the_claim(floor: Floor) -> None:
    """The claim skips the row that is locked; without a ring it would lie there until the slow poll."""
    job = floor.submit()
    ear = floor.listen("mill_queue")
    hand = floor.hand()
    with floor.connection.transaction():
        await_jobs(floor.connection, [job])
        assert hand.claim() == []
    assert floor.heard(ear) == [("mill_queue", TAG)]
    assert hand.ids() == [job]


# -- after a lost reply --------------------------------------------------------------


def test_a_claim_tells_again_what_it_holds(floor: Floor) -> None:
    for priority in (0, 2, 1):
        floor.submit({"p": priority}, priority=priority)
    hand = floor.hand()
    claim = new_id()
    jobs = hand.claim(claim=claim)
    assert claimed_jobs(floor.connection, hand.holder, claim) == jobs
    assert claimed_jobs(floor.connection, hand.holder, new_id()) == []
    assert claimed_jobs(floor.connection, floor.hand().holder, claim) == []


def test_a_claim_no_longer_tells_what_has_ended(floor: Floor) -> None:
    floor.submit_many(4)
    hand = floor.hand()
    claim = new_id()
    jobs = hand.claim(claim=claim)
    hand.finish(jobs[0])
    hand.release(jobs[1])
    hand.retry(jobs[2])
    assert claimed_jobs(hand.connection, hand.holder, claim) == jobs[3:]


def test_held_jobs_are_this_workers_alone(floor: Floor) -> None:
    floor.submit_many(3)
    node = new_id()
    one, other = floor.hand(node, "w1"), floor.hand(node, "w2")
    mine, theirs = one.claim(2), other.claim(1)
    assert one.held() == {job.id: job.claim for job in mine}
    assert other.held() == {job.id: job.claim for job in theirs}
    one.finish(mine[0])
    assert one.held() == {mine[1].id: mine[1].claim}


def test_everything_a_worker_needs_is_in_the_claim(floor: Floor) -> None:
    from mill_actors.jobs.retry import ConstantRetry, RetryPolicy

    script = floor.deploy("f/a/c", concurrency_limit=3, concurrency_key="c:$args[who]", priority=4)
    told = Submission(
        path="f/a/c", args={"who": "é"}, created_by="u/ann", timeout_seconds=2.5,
        retry=RetryPolicy(ConstantRetry(2, 1.0)),
    )  # fmt: skip
    (receipt,) = floor.receipts([told])
    job = floor.hand().claim_one()
    assert (job.id, job.workspace, job.path, job.script, job.tag) == (
        receipt.id, "default", "f/a/c", script.hash, TAG,
    )  # fmt: skip
    assert (job.args, job.args_bytes) == ('{"who":"é"}', len('{"who":"é"}'.encode()))
    assert (job.created_by, job.priority, job.attempt, job.rescues) == ("u/ann", 4, 1, 0)
    assert (job.timeout_seconds, job.concurrency_key) == (2.5, "c:é")
    assert job.retry["constant"] == {"attempts": 2, "seconds": 1.0}
    assert abs(job.due - floor.job(job.id).scheduled_for.timestamp()) < 1e-5


# -- due times -----------------------------------------------------------------------


def test_nothing_scheduled_has_no_due_time(floor: Floor) -> None:
    assert next_due_seconds(floor.connection, [TAG]) is None
    assert next_due_seconds(floor.connection, []) is None


def test_the_next_due_time_is_the_earliest_of_all_tiers_and_tags(floor: Floor) -> None:
    for tag, priority, seconds in (("a", 0, 500.0), ("a", 7, 300.0), ("b", 3, 400.0), ("c", 0, 100.0)):
        floor.submit(tag=tag, priority=priority, scheduled_in_seconds=seconds)
    for tags, wanted in ((["a"], 300), (["a", "b"], 300), (["b"], 400), (["a", "b", "c"], 100)):
        found = next_due_seconds(floor.connection, tags)
        assert found is not None
        assert wanted - 30 < found <= wanted


def test_what_is_due_for_long_sets_no_timer(floor: Floor) -> None:
    """Others hold it, or it has expired: a timer of zero would be a busy loop."""
    job = floor.submit()
    floor.do("update mill.queue set scheduled_for = now() - interval '2 seconds' where id = %s", job)
    assert next_due_seconds(floor.connection, [TAG]) is None


def test_what_falls_due_between_a_claim_and_the_question_is_due_now(floor: Floor) -> None:
    floor.submit(scheduled_in_seconds=3600.0)
    job = floor.submit(scheduled_in_seconds=60.0)
    hand = floor.hand()
    assert hand.claim() == []
    floor.do("update mill.queue set scheduled_for = now() where id = %s", job)
    assert next_due_seconds(hand.connection, [TAG]) == 0.0


def test_jobs_that_wait_for_a_place_set_no_timer(floor: Floor) -> None:
    floor.submit(path="f/a/one")
    floor.submit(path="f/a/one", scheduled_in_seconds=60.0)
    floor.hand().claim()
    assert next_due_seconds(floor.connection, [TAG]) is None


# -- release -------------------------------------------------------------------------


def test_what_is_released_is_claimed_again_as_the_same_attempt(floor: Floor) -> None:
    floor.submit_many(2)
    hand = floor.hand()
    one, two = hand.claim()
    assert hand.release(one) == {one.id}
    (again,) = floor.hand().claim()
    assert (again.id, again.attempt, again.rescues) == (one.id, 1, 0)
    assert hand.held() == {two.id: two.claim}
    assert floor.row("select claim is not null, attempt from mill.queue where id = %s", two.id) == (True, 1)


def test_a_release_tells_the_tags_to_ring_for(floor: Floor) -> None:
    floor.submit(tag="gpu")
    hand = floor.hand()
    (job,) = hand.claim(tags=["gpu"])
    assert claims.release_jobs(hand.connection, [(job.id, job.claim)]) == [(job.id, "gpu")]
    assert claims.release_jobs(hand.connection, []) == []


def test_only_whoever_holds_a_job_can_release_it(floor: Floor) -> None:
    floor.submit_many(2)
    hand = floor.hand()
    one, two = hand.claim()
    crossed = [(one.id, new_id()), (two.id, one.id), (new_id(), two.claim)]
    assert claims.release_jobs(hand.connection, crossed) == []
    assert len(hand.held()) == 2


def test_claims_of_two_batches_cannot_be_crossed_in_a_release(floor: Floor) -> None:
    floor.submit_many(2)
    hand = floor.hand()
    one, two = hand.claim(1)[0], hand.claim(1)[0]
    assert claims.release_jobs(hand.connection, [(one.id, two.claim), (two.id, one.claim)]) == []
    assert len(hand.held()) == 2


def test_a_released_job_keeps_its_place(floor: Floor) -> None:
    first, second = floor.submit_many(2, "f/a/one")
    hand = floor.hand()
    hand.release(hand.claim_one())
    assert floor.slots() == {first}
    assert hand.ids() == [first]
    assert second not in floor.admitted()


@pytest.mark.parametrize("awaited", [False, True])
def test_a_released_job_whose_cancel_was_asked_for_is_cancelled(floor: Floor, awaited: bool) -> None:
    """Nobody would hear of the request again before the job has run."""
    from mill_actors.store.jobs import cancel_job

    first, second = floor.submit_many(2, "f/a/one", awaited=awaited)
    hand = floor.hand()
    job = hand.claim_one()
    assert cancel_job(floor.connection, "default", first, by="u/ann", reason="no") == "requested"
    ear = floor.listen("mill_settled", "mill_queue")
    assert hand.release(job) == set()
    told = floor.job(first)
    assert (told.status, told.cancelled_by, told.cancel_reason) == ("cancelled", "u/ann", "no")
    assert floor.slots() == {second}
    assert sorted(floor.heard(ear)) == [("mill_queue", TAG)] + [("mill_settled", first)] * awaited


def test_a_due_job_whose_cancel_was_asked_for_under_another_claim_is_left_alone(floor: Floor) -> None:
    from mill_actors.store.jobs import cancel_job

    job = floor.submit()
    hand = floor.hand()
    old = hand.claim_one()
    hand.release(old)
    hand.claim_one()
    cancel_job(floor.connection, "default", job, by="u/ann")
    assert hand.release(old) == set()
    assert floor.status(job) == "running"
