from __future__ import annotations

import json
from datetime import timedelta
from time import monotonic

import pytest
from msgspec.structs import replace

from mill_actors.errors import StoreRefused
from mill_actors.ids import new_id
from mill_actors.jobs.outcome import Outcome, Verdict, error_result
from mill_actors.store.cancelled import cancelled_result
from mill_actors.store.jobs import cancel_job
from mill_actors.store.logs import LogChunk, read_logs
from mill_actors.store.settlement import Retrial, Settled, landed, settle
from tests.store.floor import Floor, outcome

NOTHING = Settled()


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_is_a_final_state(floor: Floor, verdict: Verdict) -> None:
    job = floor.submit({"x": 1}, priority=3, created_by="u/ann")
    hand = floor.hand()
    before = floor.job(job)
    assert hand.finish(hand.claim_one(), verdict=verdict, result=b'{"a": 1}') == NOTHING
    told = floor.job(job)
    assert told.status == verdict
    assert told.is_final
    assert floor.value("select count(*) from mill.queue") == 0
    kept = (
        "id",
        "path",
        "script",
        "tag",
        "priority",
        "submitted_at",
        "scheduled_for",
        "args",
        "created_by",
        "attempt",
    )
    assert [getattr(told, name) for name in kept] == [getattr(before, name) for name in kept]
    assert told.worker == "w1"


def test_the_result_is_kept_verbatim(floor: Floor) -> None:
    results = [
        b'{"a":"\\u0000 \\ud800 \\udc00\\ud800"}', b" [1.50,  2e400]\t", b'"\xc3\xbc\xe2\x98\x83"', b"null",
        b'{"a":1,"a":2}', b"123456789012345678901234567890", b'"{,}\\\\ \\"\'"', b"[" * 900 + b"]" * 900,
    ]  # fmt: skip
    ids = floor.submit_many(len(results))
    hand = floor.hand()
    jobs = hand.claim()
    settle(hand.connection, [outcome(job, result=r) for job, r in zip(jobs, results, strict=True)])
    assert [floor.result(job) for job in ids] == [result.decode() for result in results]


@pytest.mark.slow
def test_a_result_of_100_mb_is_kept(floor: Floor) -> None:
    floor.submit()
    hand = floor.hand()
    job = hand.claim_one()
    hand.finish(job, result=b'"' + b"x" * 100_000_000 + b'"')
    assert floor.value("select length(result::text) from mill.completed_job") == 100_000_002


def test_five_hundred_in_one_statement(floor: Floor) -> None:
    ids = floor.submit_many(500)
    hand = floor.hand()
    jobs = hand.claim()
    told = [outcome(job, list(Verdict)[n % 3], b"%d" % n) for n, job in enumerate(jobs)]
    assert settle(hand.connection, told) == NOTHING
    rows = floor.rows("select id::text, status, result::text from mill.completed_job order by id")
    assert [row[0] for row in rows] == ids
    wanted = [(o.verdict, o.result.decode()) for o in told]
    assert [(s, r) for _, s, r in rows if s != "cancelled"] == [w for w in wanted if w[0] != "cancelled"]


def test_nothing_to_settle_is_nothing_done(floor: Floor) -> None:
    assert settle(floor.connection, []) == NOTHING


def test_times_are_the_databases(floor: Floor) -> None:
    """A node sends how long ago and how long, never a time of day."""
    floor.submit()
    hand = floor.hand()
    job = hand.claim_one()
    earlier = floor.value("select clock_timestamp()")
    settle(hand.connection, [Outcome(job, Verdict.SUCCESS, b"1", 2_000_000, monotonic() - 3.0)])
    later = floor.value("select clock_timestamp()")
    told = floor.job(job.id)
    assert told.completed_at is not None
    assert told.started_at is not None
    assert earlier < told.completed_at < later
    assert timedelta(seconds=5) <= told.completed_at - told.started_at < timedelta(seconds=6)
    assert told.duration_us == 2_000_000


def test_a_cancelled_job_says_who_and_why(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    assert cancel_job(floor.connection, "default", job, by="u/ann", reason="too slow") == "requested"
    hand.finish(claimed, verdict=Verdict.CANCELLED)
    told = floor.job(job)
    assert (told.cancelled_by, told.cancel_reason) == ("u/ann", "too slow")
    assert json.loads(told.result or "") == {"error": {
        "name": "Canceled", "message": "Job canceled: too slow by u/ann", "reason": "too slow", "canceler": "u/ann",
    }}  # fmt: skip


def test_a_job_that_ends_well_in_spite_of_a_request_was_not_cancelled(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    cancel_job(floor.connection, "default", job, by="u/ann")
    hand.finish(claimed, result=b"1")
    told = floor.job(job)
    assert (told.status, told.result, told.cancelled_by) == ("success", "1", None)


def test_awaited_ids_come_back(floor: Floor) -> None:
    plain, awaited = floor.submit(), floor.submit(awaited=True)
    hand = floor.hand()
    jobs = hand.claim()
    assert hand.finish(*jobs).awaited == (awaited,)
    assert {floor.status(plain), floor.status(awaited)} == {"success"}


def test_logs_are_of_the_same_transaction(floor: Floor) -> None:
    floor.submit()
    hand = floor.hand()
    job = hand.claim_one()
    chunk = LogChunk(job.id, "default", 1, 0, "hello\n")
    with pytest.raises(StoreRefused):
        settle(hand.connection, [outcome(job, result=b"{")], logs=[chunk])
    assert read_logs(floor.connection, "default", job.id) == []
    settle(hand.connection, [outcome(job)], logs=[chunk])
    assert read_logs(floor.connection, "default", job.id) == [chunk]


# -- poison --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "poison",
    [b"{", b"", b"NaN", b'"\xff"', b'"\xed\xa0\x80"', b'"\x00"', b"\\u0000", b"[" * 100_000 + b"]" * 100_000],
    ids=["open", "empty", "nan", "no utf-8", "surrogate in utf-8", "nul", "escape", "deep"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["f/a/b", "f/a/one"])
def test_what_postgres_refuses_leaves_everything(floor: Floor, poison: bytes, path: str) -> None:
    floor.submit_many(3)
    floor.submit(path=path)
    hand = floor.hand()
    jobs = hand.claim()
    told = [outcome(job, result=poison if job.path == path else b"1") for job in jobs]
    with pytest.raises(StoreRefused) as caught:
        settle(hand.connection, told)
    assert caught.value.sqlstate is not None
    assert hand.held() == {job.id: job.claim for job in jobs}
    assert floor.value("select count(*) from mill.completed_job") == 0
    # The connection is as good as before.
    assert settle(hand.connection, [o for o in told if o.result == b"1"]).stale == frozenset()


def test_a_poisoned_retry_leaves_everything(floor: Floor) -> None:
    floor.submit_many(2)
    hand = floor.hand()
    one, two = hand.claim()
    with pytest.raises(StoreRefused):
        settle(hand.connection, [outcome(one)], [Retrial(outcome(two, result=b"{"), 0.0)])
    assert len(hand.held()) == 2
    assert floor.value("select count(*) from mill.job_attempt") == 0


# -- the fence -----------------------------------------------------------------------


def test_a_finish_under_another_claim_is_stale_and_writes_nothing(floor: Floor) -> None:
    floor.submit_many(2)
    hand = floor.hand()
    one, two = hand.claim()
    wrong = replace(one, claim=new_id())
    assert hand.finish(wrong, two) == Settled(stale=frozenset({one.id}))
    assert floor.status(one.id) == "running"
    assert floor.status(two.id) == "success"


def test_a_finish_of_a_job_that_is_gone_is_stale(floor: Floor) -> None:
    floor.submit(awaited=True)
    hand = floor.hand()
    job = hand.claim_one()
    assert hand.finish(job, result=b"1") == Settled(awaited=(job.id,))
    assert hand.finish(job, result=b"2", verdict=Verdict.FAILURE) == Settled(stale=frozenset({job.id}))
    assert floor.rows("select result::text, status from mill.completed_job") == [("1", "success")]


def test_the_same_outcome_twice_in_one_batch_counts_once(floor: Floor) -> None:
    floor.submit()
    hand = floor.hand()
    job = hand.claim_one()
    told = [outcome(job, result=b"1"), outcome(job, Verdict.FAILURE, b"2")]
    assert settle(hand.connection, told) == NOTHING
    assert floor.rows("select result::text, status from mill.completed_job") == [("1", "success")]


def test_claims_of_two_batches_cannot_be_crossed(floor: Floor) -> None:
    """Each is a claim of the batch, but not of that job."""
    floor.submit_many(2)
    hand = floor.hand()
    one, two = hand.claim(1)[0], hand.claim(1)[0]
    crossed = [replace(one, claim=two.claim), replace(two, claim=one.claim)]
    assert hand.finish(*crossed).stale == {one.id, two.id}
    assert hand.retry(*crossed).stale == {one.id, two.id}
    assert hand.held() == {one.id: one.claim, two.id: two.claim}


def test_an_old_claim_and_a_new_one_of_the_same_job_in_one_batch(floor: Floor) -> None:
    floor.submit()
    hand = floor.hand()
    old = hand.claim_one()
    hand.release(old)
    new = hand.claim_one()
    told = [outcome(old, result=b'"old"'), outcome(new, result=b'"new"')]
    assert settle(hand.connection, told).stale == {old.id}
    assert floor.result(old.id) == '"new"'


def test_a_finish_after_a_rescue_is_stale(floor: Floor) -> None:
    from mill_actors.store.nodes import rescue_node

    floor.submit()
    hand = floor.living_hand()
    job = hand.claim_one()
    assert rescue_node(floor.connection, hand.node, 0) is not None
    assert hand.finish(job).stale == {job.id}
    (again,) = floor.hand().claim()
    assert hand.finish(job).stale == {job.id}
    assert floor.status(again.id) == "running"


def test_stale_finishes_free_no_place(floor: Floor) -> None:
    first, second = floor.submit_many(2, "f/a/one")
    hand = floor.hand()
    job = hand.claim_one()
    assert hand.finish(replace(job, claim=new_id())).stale == {first}
    assert hand.retry(replace(job, claim=new_id())).stale == {first}
    assert floor.slots() == {first}
    assert second not in floor.admitted()


def test_landed_names_what_this_worker_has_finished(floor: Floor) -> None:
    floor.submit_many(3)
    hand, other = floor.hand(), floor.hand(worker="w2")
    mine, theirs, left = hand.claim(1)[0], other.claim(1)[0], hand.claim(1)[0]
    hand.finish(mine)
    other.finish(theirs)
    ids = [mine.id, theirs.id, left.id, new_id()]
    assert landed(floor.connection, "w1", ids) == {mine.id}


# -- retries -------------------------------------------------------------------------


def test_a_retry_goes_back_to_the_queue_one_attempt_further(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    settle(
        hand.connection,
        [],
        [Retrial(Outcome(claimed, Verdict.FAILURE, b'{"e":1}', 2_000_000, monotonic() - 1.0), 90.0)],
    )
    told = floor.job(job)
    assert (told.status, told.attempt, told.worker, told.started_at) == ("queued", 2, None, None)
    assert floor.row(
        "select scheduled_for - now() between '80 s' and '90 s', claim, node, worker, claimed_at from mill.queue"
    ) == (True, None, None, None, None)
    assert hand.claim() == []
    ((attempt, lasted, ago, worker, error),) = floor.rows(
        "select attempt, ended_at - started_at, now() - ended_at, worker, error::text from mill.job_attempt"
    )
    assert (attempt, worker, error) == (1, "w1", '{"e":1}')
    assert lasted == timedelta(seconds=2)
    assert timedelta(seconds=1) <= ago < timedelta(seconds=9)


def test_every_attempt_is_kept(floor: Floor) -> None:
    from mill_actors.store.jobs import job_attempts

    job = floor.submit()
    hand = floor.hand()
    for number in range(1, 4):
        claimed = hand.claim_one()
        assert claimed.attempt == number
        hand.retry(claimed, result=error_result("E", f"no {number} \ud800 \0"))
    hand.finish(hand.claim_one())
    attempts = job_attempts(floor.connection, "default", job)
    assert [(a.attempt, a.worker) for a in attempts] == [(n, "w1") for n in (1, 2, 3)]
    assert [a.error["error"]["message"] for a in attempts] == [f"no {n} \\ud800 \0" for n in (1, 2, 3)]
    assert floor.job(job).attempt == 4
    assert job_attempts(floor.connection, "other", job) == []


def test_an_attempts_error_may_hold_whatever_users_return(floor: Floor) -> None:
    from mill_actors.store.jobs import job_attempts

    job = floor.submit()
    hand = floor.hand()
    hand.retry(hand.claim_one(), result=b'{"error":"\\ud800\\u0000","n":36893488147419103233}')
    (attempt,) = job_attempts(floor.connection, "default", job)
    assert attempt.error == {"error": "\ud800\0", "n": 2**65 + 1}


def test_a_release_counts_no_attempt(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    hand.release(hand.claim_one())
    assert floor.job(job).attempt == 1
    assert floor.value("select count(*) from mill.job_attempt") == 0


def test_retries_and_finishes_of_one_batch(floor: Floor) -> None:
    ids = floor.submit_many(6)
    hand = floor.hand()
    jobs = hand.claim()
    stale = replace(jobs[5], claim=new_id())
    done = settle(
        hand.connection,
        [outcome(job) for job in jobs[:2]],
        [Retrial(outcome(job, Verdict.FAILURE), 5.0) for job in (*jobs[2:4], stale)],
    )
    assert done == Settled(stale=frozenset({ids[5]}))
    assert [floor.status(job) for job in ids] == ["success"] * 2 + ["queued"] * 2 + ["running"] * 2


def test_five_hundred_retries(floor: Floor) -> None:
    floor.submit_many(500)
    hand = floor.hand()
    jobs = hand.claim()
    told = [Retrial(outcome(job, Verdict.FAILURE, b'"%d"' % n), float(n)) for n, job in enumerate(jobs)]
    assert settle(hand.connection, [], told) == NOTHING
    rows = floor.rows(
        """
        select q.id::text, round(extract(epoch from q.scheduled_for - a.ended_at))::int, a.error::text
        from mill.queue q join mill.job_attempt a on a.job = q.id order by q.id
        """
    )
    assert rows == [(job.id, n, f'"{n}"') for n, job in enumerate(jobs)]


@pytest.mark.parametrize("path", ["f/a/b", "f/a/one"])
def test_a_retry_whose_cancel_was_asked_for_is_cancelled_instead(floor: Floor, path: str) -> None:
    job = floor.submit(path=path, awaited=True)
    hand = floor.hand()
    claimed = hand.claim_one()
    cancel_job(floor.connection, "default", job, by="u/ann", reason="stop")
    assert hand.retry(claimed) == Settled(awaited=(job,))
    told = floor.job(job)
    assert (told.status, told.attempt, told.cancelled_by) == ("cancelled", 1, "u/ann")
    assert floor.value("select count(*) from mill.job_attempt") == 0
    assert floor.slots() == set()


def test_a_stale_retry_whose_new_holder_was_asked_to_cancel_is_stale(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    old = hand.claim_one()
    hand.release(old)
    hand.claim_one()
    cancel_job(floor.connection, "default", job, by="u/ann")
    assert hand.retry(old).stale == {job}
    assert floor.status(job) == "running"


def test_a_failed_attempt_with_a_lost_reply_is_not_retried_twice(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    hand.retry(claimed)
    assert hand.retry(claimed).stale == {job}
    assert floor.job(job).attempt == 2


def test_the_doors_results_look_alike() -> None:
    """A job cancelled in the queue says the same as one cancelled while it ran."""
    assert json.loads(cancelled_result("u/ann", "no")) == {"error": {
        "name": "Canceled", "message": "Job canceled: no by u/ann", "reason": "no", "canceler": "u/ann",
    }}  # fmt: skip
    assert json.loads(cancelled_result("u/ann", None))["error"]["message"] == "Job canceled by u/ann"
