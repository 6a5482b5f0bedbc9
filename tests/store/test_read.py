"""Jobs as people and programs see them."""

from __future__ import annotations

import pytest

from mill_actors.errors import JobNotFound
from mill_actors.ids import new_id
from mill_actors.jobs.jsons import decode
from mill_actors.jobs.outcome import Verdict
from mill_actors.store.client import Client
from mill_actors.store.jobs import JobResult, count_jobs, get_job, job_results, list_jobs
from tests.store.floor import Floor


def test_a_job_is_found_wherever_it_is(floor: Floor) -> None:
    job = floor.submit({"x": 1})
    hand = floor.hand()
    assert floor.status(job) == "queued"
    claimed = hand.claim_one()
    told = floor.job(job)
    assert (told.status, told.worker, told.is_final) == ("running", "w1", False)
    assert told.started_at is not None
    hand.finish(claimed, result=b"[1]")
    told = floor.job(job)
    assert (told.status, told.result, told.is_final, told.args) == ("success", "[1]", True, '{"x":1}')


def test_a_job_on_its_way_to_history_is_never_missed(floor: Floor) -> None:
    """Both tables are read in one snapshot."""
    ids = floor.submit_many(300)
    hand = floor.hand()
    jobs = hand.claim()
    rival = floor.rival(lambda _: [hand.finish(job) for job in jobs])
    states = {get_job(floor.connection, "default", job).status for _ in range(5) for job in ids}
    rival.result()
    assert states <= {"running", "success"}


@pytest.mark.parametrize("name", ["", "x", "0", "'; drop table", "\0", "\ud800", new_id()])
def test_what_names_no_job_is_not_found(floor: Floor, name: str) -> None:
    with pytest.raises(JobNotFound):
        floor.job(name)


def test_a_job_of_another_workspace_is_not_found(floor: Floor) -> None:
    job = floor.submit()
    with pytest.raises(JobNotFound):
        floor.job(job, "acme")


def test_only_the_finished_have_results(floor: Floor) -> None:
    ids = floor.submit_many(3)
    hand = floor.hand()
    hand.finish(*hand.claim(2), result=b'"x"')
    found = job_results(floor.connection, [*ids, new_id()])
    assert sorted(found, key=lambda r: r.id) == [JobResult(job, "success", '"x"') for job in ids[:2]]
    assert job_results(floor.connection, []) == []


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (None, None),
        ("null", None),
        ('{"a": [1.5]}', {"a": [1.5]}),
        ('"\\ud800\\u0000"', "\ud800\0"),
        ("36893488147419103233", 2**65 + 1),
        ('"1234567890123456789012"', "1234567890123456789012"),
        ("-9223372036854775809", -(2**63) - 1),
    ],
)
def test_a_results_value_is_what_was_returned(raw: str | None, value: object) -> None:
    assert JobResult("", "success", raw).value == value


@pytest.mark.parametrize("text", ["", "{", "NaN", "[1234567890123456789, NaN]", b"\xff", "01"])
def test_what_is_no_json_has_no_value(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        decode(text)


def test_open_jobs_are_listed_before_finished_ones(floor: Floor) -> None:
    old, new = floor.submit(), floor.submit()
    hand = floor.hand()
    for job in hand.claim():
        hand.finish(job)
    waiting, urgent = floor.submit(), floor.submit(priority=9)
    floor.do("update mill.queue set scheduled_for = now() where id = %s", waiting)
    running = floor.submit(tag="gpu")
    hand.claim(tags=["gpu"])
    order = [job.id for job in list_jobs(floor.connection, "default")]
    assert order == [running, urgent, waiting, new, old]
    assert [job.id for job in list_jobs(floor.connection, "default", limit=4)] == order[:4]


def test_lists_can_be_narrowed(floor: Floor, client: Client) -> None:
    floor.deploy("f/a/c")
    one, other = floor.submit(), floor.submit(path="f/a/c")
    failed = floor.submit(tag="gpu")
    hand = floor.hand()
    hand.finish(*hand.claim(tags=["gpu"]), verdict=Verdict.FAILURE)
    assert {job.id for job in client.list("queued")} == {one, other}
    assert client.list("running") == []
    assert [job.id for job in client.list("failure")] == [failed]
    assert client.list("success") == []
    assert [job.id for job in client.list(path="f/a/c")] == [other]
    assert {job.id for job in client.list(path="f/a/b")} == {one, failed}
    assert client.list("failure", path="f/a/c") == []


def test_lists_and_counts_are_of_one_workspace(floor: Floor) -> None:
    floor.workspace("acme")
    floor.submit()
    assert list_jobs(floor.connection, "acme") == []
    assert count_jobs(floor.connection, "acme", 60.0) == {
        "waiting": 0,
        "scheduled": 0,
        "limited": 0,
        "running": 0,
    }


def test_jobs_are_counted_by_state(floor: Floor) -> None:
    floor.submit_many(3)
    floor.submit(scheduled_in_seconds=99.0)
    floor.submit_many(3, "f/a/one")
    hand = floor.hand()
    one, two = hand.claim(2)
    hand.finish(one)
    hand.finish(two, verdict=Verdict.FAILURE)
    hand.claim(1)
    floor.submit_many(4, scheduled_in_seconds=99.0, tag="x")
    assert count_jobs(floor.connection, "default", 60.0) == {
        "waiting": 1, "scheduled": 5, "limited": 2, "running": 1, "success": 1, "failure": 1,
    }  # fmt: skip
    floor.do("update mill.completed_job set completed_at = now() - interval '1 h'")
    assert "success" not in count_jobs(floor.connection, "default", 60.0)
