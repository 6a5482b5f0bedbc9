"""Running code that is not deployed."""

from __future__ import annotations

from typing import Any

import pytest

from mill_actors.ids import new_id
from mill_actors.jobs.script import is_preview
from tests.api.conftest import Api
from tests.api.people import folder, member

CODE = "def main(name='you'):\n    return f'Hi {name}'\n"
STEP = {
    "type": "rawscript",
    "language": "python3",
    "content": "def main(x):\n    return x + 1\n",
    "input_transforms": {"x": {"type": "javascript", "expr": "flow_input.x"}},
}
FLOW = {
    "modules": [
        {"id": "a", "value": STEP},
        {
            "id": "b",
            "value": STEP | {"input_transforms": {"x": {"type": "javascript", "expr": "results.a"}}},
        },
    ]
}


@pytest.fixture(scope="module", autouse=True)
def folders(api: Api) -> None:
    folder(api.dsn, "a", writer=True)
    api.script("f/a/hello", "def main():\n    return 'deployed'\n")


def preview(api: Api, **told: Any) -> str:
    answer = api.post("jobs/run/preview", json={"content": CODE, "language": "python3", **told})
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/plain; charset=utf-8"), (
        answer.text
    )
    return answer.text


def test_a_path_that_nothing_could_have_is_left_out(api: Api) -> None:
    for path in ("no path", "f/a/" + "x" * 252):
        assert api.store.job(preview(api, path=path)).path == "u/admin/preview"


def test_a_script_runs_that_is_nowhere(api: Api) -> None:
    job = preview(api, args={"name": "Ada"})
    assert api.wait(job).value == "Hi Ada"
    found = api.store.job(job)
    assert (found.path, is_preview(found.script)) == ("u/admin/preview", True)
    assert "u/admin/preview" not in {script.path for script in api.store.scripts()}


def test_the_path_that_is_told_means_what_it_meant(api: Api) -> None:
    job = preview(api, path="f/a/hello", args=None)
    assert api.wait(job).value == "Hi you"
    assert api.store.job(job).path == "f/a/hello"
    assert api.post("jobs/run_wait_result/p/f/a/hello").json() == "deployed"


def test_typescript_runs_too(api: Api) -> None:
    code = "export function main(n: number) { return n * 2 }"
    answer = api.post(
        "jobs/run_wait_result/preview", json={"content": code, "language": "bun", "args": {"n": 21}}
    )
    assert (answer.status_code, answer.json()) == (200, 42)


@pytest.mark.parametrize("route", ["run_wait_result/preview", "run_inline/preview"])
def test_its_result_is_waited_for(api: Api, route: str) -> None:
    told = {"content": CODE, "language": "python3", "args": {"name": "Ada", "more": 1}}
    assert api.post(f"jobs/{route}", json=told).json() == "Hi Ada"
    failed = api.post(f"jobs/{route}", json=told | {"content": "def main():\n    1 / 0\n"})
    assert (failed.status_code, failed.json()["error"]["name"]) == (422, "ZeroDivisionError")


def test_an_id_may_be_chosen(api: Api) -> None:
    chosen = new_id()
    answer = api.post(
        "jobs/run/preview", params={"job_id": chosen}, json={"content": CODE, "language": "python3"}
    )
    assert answer.text == chosen


def test_a_flow_runs_that_is_nowhere(api: Api) -> None:
    answer = api.post("jobs/run/preview_flow", json={"value": FLOW, "args": {"x": 1}})
    assert answer.status_code == 201
    assert api.wait(answer.text).value == 3
    assert [step["type"] for step in api.store.flow_status(answer.text)["modules"]] == ["Success"] * 2
    waited = api.post("jobs/run_wait_result/preview_flow", json={"value": FLOW, "args": {"x": 5}})
    assert waited.json() == 7


def test_a_flow_goes_on_from_a_step_of_an_earlier_run(api: Api) -> None:
    first = api.post("jobs/run/preview_flow", json={"value": FLOW, "args": {"x": 1}}).text
    api.wait(first)
    other = {"modules": [FLOW["modules"][0], FLOW["modules"][1] | {"value": {"type": "identity"}}]}
    begin = {"flow_job_id": first, "step_id": "b"}
    told = {"value": other, "args": {"x": 100}, "restarted_from": begin}
    assert api.post("jobs/run_wait_result/preview_flow", json=told).json() == 2


def test_all_faults_of_a_flow_are_told(api: Api) -> None:
    value = {"modules": [{"id": "a"}, {"id": "b", "value": {"type": "nonsense"}}]}
    answer = api.post("jobs/run/preview_flow", json={"value": value})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_flow")
    assert len(answer.json()["faults"]) == 2


def test_operators_may_not_and_others_only_where_they_may_run(api: Api) -> None:
    told = {"content": CODE, "language": "python3"}
    operator, writer = member(api.dsn, "operator", "operator"), member(api.dsn, "writer")
    assert api.post("jobs/run/preview", token=operator, json=told).status_code == 403
    assert api.post("jobs/run/preview_flow", token=operator, json={"value": FLOW}).status_code == 403
    assert api.post("jobs/run/preview", token=writer, json=told | {"path": "f/b/x"}).status_code == 403
    assert api.post("jobs/run/preview", token=writer, json=told | {"path": "f/a/x"}).status_code == 201
    mine = api.post("jobs/run/preview", token=writer, json=told | {"path": "no path"})
    assert api.store.job(mine.text).path == "u/writer/preview"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"content": 7, "language": "python3"}',
        b'{"content": "x", "language": "cobol"}',
        b'{"content": "x"}',
        b'{"content": "x", "language": "python3", "args": [1]}',
        b'{"content": "x", "language": "python3", "kind": "http"}',
        b'{"content": "a\\u0000b", "language": "python3"}',
        b'{"content": "\\ud800", "language": "python3"}',
        b'{"content": "x", "language": "python3", "tag": "a\\u0000b"}',
        b'{"content": "x", "language": "python3", "args": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    ],
)
def test_what_cannot_run_is_refused(api: Api, body: bytes) -> None:
    answer = api.post("jobs/run/preview", content=body)
    assert (answer.status_code, answer.json()["status"]) == (400, 400), answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"value": 7}',
        b'{"value": null}',
        b'{"value": {"modules": []}, "args": "x"}',
        b'{"value": {"modules": []}, "restarted_from": {"flow_job_id": "x", "step_id": "a"}}',
        b'{"value": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_what_is_no_flow_is_refused(api: Api, body: bytes) -> None:
    answer = api.post("jobs/run/preview_flow", content=body)
    assert answer.status_code in {400, 404}, answer.text
    assert answer.json()["status"] == answer.status_code
