"""The Completer alone: group commit, poison, outages, releases. Its database is real."""

from __future__ import annotations

import json

import psycopg
import pytest

from mill_actors.actors.messages import Release
from mill_actors.jobs.lifecycle import Action
from mill_actors.store.logs import LogChunk
from mill_actors.store.settlement import Retrial
from supervisors import stop
from tests.actors.desk import Desk, failure, success
from tests.system.proxy import Proxy, wait_until

BAD = b'{"broken'  # no process can send this: the pipe carries valid JSON only


def test_outcomes_become_rows(desk: Desk) -> None:
    good, bad = desk.jobs(2)
    desk.tell([success(good, b'{"x":1}', us=1234), failure(bad)])
    assert desk.settled(2) == len(b'{"x":1}') + len(b'{"error":{"name":"E"}}')
    assert desk.final() == {good.id: "success", bad.id: "failure"}
    job = desk.client.job(good.id)
    assert (job.result, job.duration_us, job.attempt, job.worker) == ('{"x":1}', 1234, 1, "test/worker")
    assert desk.count("select count(*) from mill.queue") == 0


def test_a_commit_takes_all_that_gathered_while_the_one_before_was_under_way(desk: Desk) -> None:
    jobs = desk.jobs(300)
    with psycopg.connect(desk.client.database.dsn) as blocker:
        blocker.execute("lock table mill.completed_job in share mode")
        desk.tell([success(jobs[0])])
        wait_until(desk.waits_for_a_lock, "the first commit is under way")
        for job in jobs[1:]:
            desk.tell([success(job)])
        assert desk.final() == {}
        blocker.rollback()
    desk.settled(300)
    sizes = [len(move.jobs) for move in desk.moved() if move.action is Action.SUCCEED]
    assert sum(sizes) == 300
    assert len(sizes) <= 6, sizes  # 1, and the rest in pieces of what `idle_every` lets gather


def test_every_move_is_published_once(desk: Desk) -> None:
    jobs = desk.jobs(6)
    desk.tell([success(jobs[0]), failure(jobs[1])], [Retrial(failure(jobs[2]), 0.0)])
    desk.ref.tell(Release([jobs[3]]))
    desk.settled(4)
    desk.holding()
    moves = {move.action: list(move.jobs) for move in desk.moved()}
    assert moves == {
        Action.SUCCEED: [jobs[0].id],
        Action.FAIL: [jobs[1].id],
        Action.RETRY: [jobs[2].id],
        Action.RELEASE: [jobs[3].id],
    }


def test_a_stale_finish_is_dropped_and_counted(desk: Desk) -> None:
    mine, taken = desk.jobs(2)
    desk.look.execute(
        "update mill.queue set running = false, claim = null, node = null where id = %s", [taken.id]
    )
    desk.tell([success(mine), success(taken)])
    desk.settled(2)
    assert desk.final() == {mine.id: "success"}
    assert desk.client.job(taken.id).status == "queued"
    desk.holding()
    assert desk.context.counters.stale == 1
    assert desk.moved_ids(Action.SUCCEED) == [mine.id]


# -- poison ----------------------------------------------------------------------------


def test_one_bad_row_in_a_batch_of_500_fails_alone(desk: Desk) -> None:
    jobs = desk.jobs(500)
    desk.tell([success(job, BAD if at == 137 else b'"fine"') for at, job in enumerate(jobs)])
    desk.settled(500)
    statuses = desk.final()
    assert statuses.pop(jobs[137].id) == "failure"
    assert set(statuses.values()) == {"success"}
    assert len(statuses) == 499
    error = json.loads(desk.result(jobs[137].id))["error"]
    assert error["name"] == "ResultRefused"
    assert desk.ref.is_alive()


def test_the_bad_one_is_published_as_the_failure_it_became(desk: Desk) -> None:
    good, bad = desk.jobs(2)
    desk.tell([success(good), success(bad, BAD)])
    desk.settled(2)
    desk.holding()
    moves = {move.action: list(move.jobs) for move in desk.moved()}
    assert moves == {Action.SUCCEED: [good.id], Action.FAIL: [bad.id]}


def test_many_bad_rows_fail_each_alone(desk: Desk) -> None:
    jobs = desk.jobs(40)
    desk.tell([success(job, BAD if at % 3 == 0 else b"1") for at, job in enumerate(jobs)])
    desk.settled(40)
    assert [desk.final()[job.id] for job in jobs] == [
        "failure" if at % 3 == 0 else "success" for at in range(40)
    ]


@pytest.mark.parametrize(
    ("finished", "retried", "is_retried"),
    [
        (0, 3, True),
        *[(*sizes, bad) for sizes in ((1, 1), (2, 1), (1, 2), (3, 2), (2, 2)) for bad in (False, True)],
    ],
)
def test_a_bad_row_beside_retries_fails_alone(
    desk: Desk, finished: int, retried: int, is_retried: bool
) -> None:
    jobs = desk.jobs(finished + retried)
    done, again = jobs[:finished], jobs[finished:]
    bad = again[-1] if is_retried else done[-1]
    desk.tell(
        [success(job, BAD if job is bad else b"1") for job in done],
        [Retrial(failure(job, BAD if job is bad else b'{"error":{}}'), 0.0) for job in again],
    )
    desk.settled(len(jobs))
    assert desk.ref.is_alive()
    statuses = desk.final()
    assert statuses.pop(bad.id) == "failure"
    assert statuses == {job.id: "success" for job in done if job is not bad}
    for job in again:
        if job is not bad:
            assert desk.client.job(job.id).attempt == 2


def test_numbers_that_are_none_fail_alone(desk: Desk) -> None:
    good, bad = desk.jobs(2)
    desk.tell([success(good), success(bad, us=1 << 80)])
    desk.settled(2)
    assert desk.final() == {good.id: "success", bad.id: "failure"}
    assert desk.ref.is_alive()


def test_a_log_that_is_refused_costs_no_result(desk: Desk) -> None:
    first, second = desk.jobs(2)
    logs = [
        LogChunk(first.id, "default", 1, 0, "fine"),
        LogChunk(second.id, "default", 1 << 40, 0, "an attempt no smallint holds"),
        LogChunk(second.id, "default", 1, 5, "nul \0 too"),
    ]
    desk.tell([success(first), success(second)], logs=logs)
    desk.settled(2)
    assert set(desk.final().values()) == {"success"}
    assert [chunk.text for chunk in desk.client.logs(first.id)] == ["fine"]
    assert [chunk.text for chunk in desk.client.logs(second.id)] == ["nul \N{SYMBOL FOR NULL} too"]


def test_a_zero_character_in_a_result_is_no_poison(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    desk.tell([success(job, b'"a\\u0000b"')])
    desk.settled(1)
    assert json.loads(desk.result(job.id)) == "a\0b"


# -- retries, cancels ------------------------------------------------------------------


def test_a_retry_keeps_the_attempt_before(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    desk.tell(retried=[Retrial(failure(job), 60.0)])
    desk.settled(1)
    row = desk.client.job(job.id)
    assert (row.status, row.attempt, row.rescues) == ("queued", 2, 0)
    (attempt,) = desk.client.attempts(job.id)
    assert (attempt.attempt, attempt.worker, attempt.error) == (1, "test/worker", {"error": {"name": "E"}})
    assert attempt.started_at <= attempt.ended_at


def test_a_retry_of_a_job_that_shall_be_cancelled_is_its_cancellation(desk: Desk) -> None:
    (job,) = desk.jobs(1)
    assert desk.client.cancel(job.id, "enough") == "requested"
    desk.tell(retried=[Retrial(failure(job), 60.0)])
    desk.settled(1)
    assert desk.final() == {job.id: "cancelled"}
    error = json.loads(desk.result(job.id))["error"]
    assert (error["reason"], error["canceler"]) == ("enough", "u/admin")


def test_a_release_counts_no_attempt(desk: Desk) -> None:
    jobs = desk.jobs(3)
    desk.ref.tell(Release(jobs))
    desk.settled(3)
    for job in jobs:
        row = desk.client.job(job.id)
        assert (row.status, row.attempt, row.rescues, row.worker) == ("queued", 1, 0, None)


def test_a_release_of_a_job_that_shall_be_cancelled_is_its_cancellation(desk: Desk) -> None:
    """Else it would be claimed and run again, until somebody's beat finds the request."""
    asked, other = desk.jobs(2)
    desk.client.cancel(asked.id, "enough")
    desk.ref.tell(Release([asked, other]))
    desk.settled(2)
    assert desk.final() == {asked.id: "cancelled"}
    assert desk.client.job(other.id).status == "queued"
    desk.holding()
    assert desk.moved_ids(Action.CANCEL) == [asked.id]


# -- outages ---------------------------------------------------------------------------


def terminate(desk: Desk) -> None:
    desk.look.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'mill completer' and datname = current_database()"
    )


def test_a_connection_that_is_killed_loses_nothing(desk: Desk) -> None:
    jobs = desk.jobs(10)
    desk.tell([success(job) for job in jobs[:5]])
    desk.settled(5)
    terminate(desk)
    desk.tell([success(job) for job in jobs[5:]])
    desk.settled(5)
    assert len(desk.final()) == 10
    assert desk.context.counters.stale == 0


def test_a_connection_that_is_killed_in_the_middle_of_a_settle_loses_nothing(desk: Desk) -> None:
    jobs = desk.jobs(20)
    with psycopg.connect(desk.client.database.dsn) as blocker:
        blocker.execute("lock table mill.completed_job in share mode")
        desk.tell([success(job) for job in jobs])
        wait_until(desk.waits_for_a_lock, "the commit is under way")
        terminate(desk)
        blocker.rollback()
    desk.settled(20)
    assert set(desk.final().values()) == {"success"}
    assert desk.context.counters.stale == 0


def test_an_outcome_whose_commit_was_answered_to_nobody_is_neither_stale_nor_lost(
    desk: Desk, proxy: Proxy
) -> None:
    jobs = desk.jobs(12)
    desk.tell([success(jobs[0])])
    desk.settled(1)
    lost = proxy.lose_reply("mill completer")
    desk.tell([success(job) for job in jobs[1:6]], [Retrial(failure(job), 0.0) for job in jobs[6:]])
    desk.tell()
    desk.settled(11)
    assert lost.is_set()
    desk.holding()
    assert desk.final() == {job.id: "success" for job in jobs[:6]}
    assert desk.context.counters.stale == 0


@pytest.mark.parametrize("with_retries", [False, True])
def test_a_lost_reply_to_a_commit_is_not_taken_for_a_lost_claim(
    desk: Desk, proxy: Proxy, with_retries: bool
) -> None:
    """The transaction has landed, its reply has not: what we wrote ourselves is not stale."""
    jobs = desk.jobs(6)
    desk.tell([success(jobs[0])])
    desk.settled(1)
    lost = proxy.lose_reply("mill completer", b"COMMIT")
    again = [Retrial(failure(jobs[3]), 0.0)] if with_retries else []
    desk.tell([success(jobs[1]), success(jobs[2])], again, [LogChunk(jobs[1].id, "default", 1, 0, "log")])
    desk.settled(2 + len(again))
    assert lost.is_set()
    desk.holding()
    assert desk.final() == {job.id: "success" for job in jobs[:3]}
    assert desk.context.counters.stale == 0
    assert sorted(desk.moved_ids(Action.SUCCEED)) == sorted(job.id for job in jobs[:3])
    assert [chunk.text for chunk in desk.client.logs(jobs[1].id)] == ["log"]
    if with_retries:
        assert desk.client.job(jobs[3].id).attempt == 2
        assert len(desk.client.attempts(jobs[3].id)) == 1


def test_a_poisoned_batch_whose_reply_is_lost_ends_right(desk: Desk, proxy: Proxy) -> None:
    jobs = desk.jobs(8)
    desk.tell([success(jobs[0])])
    desk.settled(1)
    lost = proxy.lose_reply("mill completer")
    desk.tell([success(job, BAD if at == 2 else b"1") for at, job in enumerate(jobs[1:])])
    desk.settled(7)
    assert lost.is_set()
    desk.holding()
    statuses = desk.final()
    assert statuses.pop(jobs[3].id) == "failure"
    assert set(statuses.values()) == {"success"}
    assert desk.context.counters.stale == 0


def test_it_waits_for_a_database_that_is_away(desk: Desk, proxy: Proxy) -> None:
    jobs = desk.jobs(30)
    proxy.shut()
    for job in jobs[:20]:
        desk.tell([success(job)])
    desk.ref.tell(Release(jobs[20:]))
    assert desk.final() == {}
    proxy.open()
    desk.settled(30)
    assert desk.final() == {job.id: "success" for job in jobs[:20]}
    assert desk.ref.is_alive()


def test_a_stop_during_an_outage_still_waits(desk: Desk, proxy: Proxy) -> None:
    """A stop in order writes what is there, even if the database has to come back first."""
    (job,) = desk.jobs(1)
    proxy.shut()
    desk.tell([success(job)])
    desk.ref.life.stop_requested.set()
    proxy.open()
    assert stop(desk.ref, timeout=15.0)
    assert desk.final() == {job.id: "success"}


def test_a_hurry_gives_up_and_leaves_the_rest_to_the_rescuer(desk: Desk, proxy: Proxy) -> None:
    jobs = desk.jobs(2)
    proxy.shut()
    desk.tell([success(jobs[0])])
    desk.ref.tell(Release([jobs[1]]))
    desk.context.hurry.set()
    assert stop(desk.ref, timeout=15.0)
    assert {desk.client.job(job.id).status for job in jobs} == {"running"}


def test_it_names_what_it_has_not_written(desk: Desk) -> None:
    jobs = desk.jobs(3)
    assert desk.holding() == frozenset()
    desk.tell([success(jobs[0])])
    assert desk.holding() <= {jobs[0].id}  # on its way, or written: never in nobody's hands
    desk.settled(1)
    assert desk.holding() == frozenset()
