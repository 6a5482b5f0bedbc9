"""Running jobs once more, flows from a step on, and what waits for its time now."""

from __future__ import annotations

import pytest

from mill_actors.ids import new_id
from tests.api.conftest import Api
from tests.api.flows import code, deploy_flow
from tests.api.people import folder, member

ADD = "def main(x):\n    return x + 1\n"


@pytest.fixture(scope="module", autouse=True)
def deployed(api: Api) -> None:
    folder(api.dsn, "a", runner=False)
    api.script("f/a/hello")
    deploy_flow(api, "f/a/flow", code("a", ADD, {"x": "flow_input.x"}), code("b", ADD, {"x": "results.a"}))


def again(api: Api, *jobs: str, token: str | None = None, **options: object) -> list[str]:
    told = {"job_ids": jobs, "script_options_by_path": {}, "flow_options_by_path": {}, **options}
    answer = api.post("jobs/run/batch_rerun_jobs", token=token, json=told)
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/event-stream")
    return answer.text.splitlines()


def done(api: Api, path: str, args: dict[str, object]) -> str:
    job = api.post(f"jobs/run/{path}", json=args).text
    api.wait(job)
    return job


def test_jobs_run_once_more_with_their_arguments(api: Api) -> None:
    script, flow = done(api, "p/f/a/hello", {"name": "Ada"}), done(api, "f/f/a/flow", {"x": 1})
    lines = again(api, script, new_id(), flow, "nonsense")
    assert api.wait(lines[0]).value == "Hello Ada"
    assert api.wait(lines[2]).value == 3
    assert lines[1].startswith("Error: There is no job")
    assert lines[3].startswith("Error: 'nonsense' is no job's id")


def test_the_version_is_the_old_one_unless_the_latest_is_asked_for(api: Api) -> None:
    api.script("f/a/versions", "def main():\n    return 1\n")
    old = done(api, "p/f/a/versions", {})
    api.script("f/a/versions", "def main():\n    return 2\n")
    assert api.wait(again(api, old)[0]).value == 1
    options = {"f/a/versions": {"use_latest_version": True}}
    assert api.wait(again(api, old, script_options_by_path=options)[0]).value == 2


def test_arguments_are_made_anew(api: Api) -> None:
    old = done(api, "p/f/a/hello", {"name": "Ada"})
    options = {"f/a/hello": {"input_transforms": {"name": {"type": "static", "value": "Bob"}}}}
    assert api.wait(again(api, old, script_options_by_path=options)[0]).value == "Hello Bob"
    told = {"type": "javascript", "expr": "job.input.name.toUpperCase()"}
    options = {"f/a/hello": {"input_transforms": {"name": told}}}
    assert api.wait(again(api, old, script_options_by_path=options)[0]).value == "Hello ADA"
    told = {"type": "javascript", "expr": "nonsense("}
    options = {"f/a/hello": {"input_transforms": {"name": told}}}
    assert again(api, old, script_options_by_path=options)[0].startswith("Error: ")


def test_previews_run_again_too_but_not_for_operators(api: Api) -> None:
    told = {"content": "def main():\n    return 7\n", "language": "python3", "path": "f/a/preview"}
    old = api.post("jobs/run/preview", json=told).text
    api.wait(old)
    assert api.wait(again(api, old)[0]).value == 7
    operator = member(api.dsn, "runner", "operator")
    assert again(api, old, token=operator)[0].startswith("Error: Operators run what is deployed")
    hello = done(api, "p/f/a/hello", {})
    assert api.wait(again(api, hello, token=operator)[0]).value == "Hello you"
    assert again(api, hello, token=member(api.dsn, "outsider"))[0].startswith("Error: u/outsider may not")


def test_a_flow_begins_at_a_step(api: Api) -> None:
    old = done(api, "f/f/a/flow", {"x": 1})
    answer = api.post(f"jobs/restart/f/{old}", json={"step_id": "b"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/plain; charset=utf-8")
    assert api.wait(answer.text).value == 3
    assert api.store.flow_status(answer.text)["modules"][0]["job"]


def test_a_preview_begins_at_a_step_as_it_was(api: Api) -> None:
    value = {"modules": [code("a", ADD, {"x": "flow_input.x"}), code("b", ADD, {"x": "results.a"})]}
    old = api.post("jobs/run/preview_flow", json={"value": value, "args": {"x": 10}}).text
    api.wait(old)
    new = api.post(f"jobs/restart/f/{old}", json={"step_id": "b"}).text
    assert api.wait(new).value == 12


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"step_id": "nope"}, 400),
        ({"step_id": "b", "nested_path": [{"step_id": "x"}]}, 400),
        ({"step_id": "b", "branch_or_iteration_n": 3}, 400),
        ({"step_id": "b", "flow_version": 10**30}, 404),
        ({"step_id": "b", "flow_version": 999_999}, 404),
        ({}, 400),
    ],
)
def test_a_flow_does_not_begin_anywhere(api: Api, told: dict[str, object], status: int) -> None:
    old = done(api, "f/f/a/flow", {"x": 1})
    answer = api.post(f"jobs/restart/f/{old}", json=told)
    assert answer.status_code == status, answer.text
    hello = done(api, "p/f/a/hello", {})
    assert api.post(f"jobs/restart/f/{hello}", json={"step_id": "b"}).status_code == 400
    assert api.post(f"jobs/restart/f/{new_id()}", json={"step_id": "b"}).status_code == 404


def test_what_waits_for_its_time_runs_now(api: Api) -> None:
    later = {"scheduled_in_secs": 3600}
    for path in ("p/f/a/hello", "f/f/a/flow"):
        job = api.post(f"jobs/run/{path}", params=later, json={"x": 1} if path[0] == "f" else {}).text
        answer = api.post(f"jobs/queue/run_now/{job}")
        assert (answer.status_code, answer.text) == (200, job)
        assert api.wait(job).status == "success"
        assert api.post(f"jobs/queue/run_now/{job}").status_code == 400
    assert api.post(f"jobs/queue/run_now/{new_id()}").status_code == 404
