"""Cancelling jobs over HTTP."""

from __future__ import annotations

import pytest

from mill_actors.ids import new_id
from tests.api.conftest import Api
from tests.api.people import folder, member, stranger

SLOW = "import time\ndef main():\n    print('runs', flush=True)\n    time.sleep(600)\n"


@pytest.fixture(scope="module", autouse=True)
def scripts(api: Api) -> None:
    folder(api.dsn, "a", reader=False)
    api.script("f/a/hello")
    api.script("f/a/slow", SLOW)


def later(api: Api, path: str = "f/a/hello", **options: object) -> str:
    answer = api.post(f"jobs/run/p/{path}", params={"scheduled_in_secs": 3600}, json={}, **options)
    assert answer.status_code == 201
    return answer.text


@pytest.mark.parametrize("root", ["jobs_u", "jobs"])
@pytest.mark.parametrize("verb", ["cancel", "force_cancel"])
def test_a_job_that_waits_is_cancelled_at_once_and_again_without_an_error(
    api: Api, root: str, verb: str
) -> None:
    job = later(api)
    first = api.post(f"{root}/queue/{verb}/{job}", json={"reason": "enough"})
    assert (first.status_code, first.text) == (200, job)
    again = api.post(f"{root}/queue/{verb}/{job}", json={})
    assert (again.status_code, again.text) == (200, f"queued job id {job} is already completed")
    told = api.wait(job)
    assert told.status == "cancelled"
    assert told.value["error"] == {
        "name": "Canceled",
        "message": "Job canceled: enough by u/admin",
        "reason": "enough",
        "canceler": "u/admin",
    }


def test_a_job_that_runs_ends(api: Api) -> None:
    job = api.post("jobs/run/p/f/a/slow").text
    assert api.post(f"jobs_u/queue/cancel/{job}").text == job
    assert api.wait(job).status == "cancelled"


def test_a_whole_path_is_cancelled(api: Api) -> None:
    api.script("f/a/persistent")
    jobs = [later(api, "f/a/persistent") for _ in range(3)]
    other = later(api)
    answer = api.post("jobs_u/queue/cancel_persistent/f/a/persistent", json={"reason": "all"})
    assert (answer.status_code, answer.text) == (200, "3 jobs of f/a/persistent are cancelled")
    assert {api.wait(job).status for job in jobs} == {"cancelled"}
    assert api.store.job(other).status == "queued"


def test_a_selection_is_cancelled_as_far_as_it_is_open(api: Api) -> None:
    one, two = later(api), later(api)
    api.post(f"jobs_u/queue/cancel/{one}")
    answer = api.post("jobs/queue/cancel_selection", json=[one, two, two, new_id()])
    assert (answer.status_code, answer.json()) == (200, [two])


def test_only_who_may_run_a_path_or_started_the_job_may_cancel_it(api: Api) -> None:
    reader, outsider, other = (
        member(api.dsn, "reader", "operator"),
        member(api.dsn, "outsider"),
        stranger(api.dsn),
    )
    job = later(api)
    assert api.post(f"jobs_u/queue/cancel/{job}", token=outsider).status_code == 403
    assert api.post(f"jobs_u/queue/cancel/{job}", token=other).status_code == 403
    assert api.post(f"/w/other/jobs_u/queue/cancel/{job}", token=other).status_code == 404
    assert api.post("jobs/queue/cancel_selection", token=outsider, json=[job]).json() == []
    assert api.post("jobs_u/queue/cancel_persistent/f/a/hello", token=outsider).status_code == 403
    assert api.store.job(job).status == "queued"
    assert api.post(f"jobs_u/queue/cancel/{job}", token=reader).text == job
    mine = later(api, token=reader)
    assert api.post(f"jobs_u/queue/cancel/{mine}", token=reader).text == mine


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        (f"jobs_u/queue/cancel/{new_id()}", {}, 404),
        ("jobs_u/queue/cancel/nonsense", {}, 400),
        ("jobs_u/queue/cancel/%00", {}, 400),
        (f"jobs_u/queue/cancel/{new_id()}", {"content": b'{"reason": 7}'}, 400),
        (f"jobs_u/queue/cancel/{new_id()}", {"content": b"[" * 100_000}, 400),
        ("jobs/queue/cancel_selection", {"json": ["x"]}, 400),
        ("jobs/queue/cancel_selection", {"json": {"a": 1}}, 400),
        ("jobs/queue/cancel_selection", {"json": [new_id()] * 10_001}, 400),
        ("jobs/queue/cancel_selection", {"params": {"force_cancel": "perhaps"}, "json": []}, 400),
    ],
)
def test_nonsense_is_refused(api: Api, path: str, options: dict[str, object], status: int) -> None:
    answer = api.post(path, **options)
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_a_reason_may_hold_anything(api: Api) -> None:
    job = later(api)
    assert api.post(f"jobs_u/queue/cancel/{job}", content=b'{"reason": "a\\u0000b\\ud800"}').status_code in {
        200,
        400,
    }
    assert api.post(f"jobs_u/queue/cancel/{job}", json={"reason": "x" * 100_000}).status_code == 200
