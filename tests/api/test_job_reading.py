"""One job over HTTP: what it is, what it gave, what it printed, and what is new about it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from mill_actors.ids import new_id
from mill_actors.store.connection import Database
from mill_actors.store.flow_versions import make_flow
from tests.api.conftest import Api, make_token

#: Waits for a file, so that a test decides when it goes on.
GATE = """
import os, pathlib
def main(fifo, words=""):
    print(words, flush=True)
    open(fifo).close()
    return "through"
"""


class Gate:
    """A named pipe: whoever reads it waits until `open`."""

    def __init__(self, folder: Path) -> None:
        import os

        self.path = str(folder / new_id())
        os.mkfifo(self.path)

    def open(self) -> None:
        with Path(self.path).open("w"):
            pass


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def scripts(api: Api) -> None:
    api.script("f/a/hello")
    api.script("f/a/gate", GATE)
    api.script("f/a/fails", "def main():\n    raise ValueError('no')\n")
    api.script("f/a/labelled", "def main():\n    return {'wm_labels': ['x'], 'items': [{'name': 'y'}]}\n")


def deploy_flow(api: Api, path: str, *modules: dict[str, Any]) -> None:
    api.store.deploy_flow(make_flow("default", path, json.dumps({"modules": modules}).encode()))


def step(name: str, path: str = "f/a/hello", **inputs: str) -> dict[str, Any]:
    transforms = {key: {"type": "javascript", "expr": expr} for key, expr in inputs.items()}
    return {"id": name, "value": {"type": "script", "path": path, "input_transforms": transforms}}


def submit(api: Api, path: str = "f/a/hello", kind: str = "p", **args: object) -> str:
    answer = api.post(f"jobs/run/{kind}/{path}", json=args)
    assert answer.status_code == 201, answer.text
    return answer.text


def done(api: Api, path: str = "f/a/hello", kind: str = "p", **args: object) -> str:
    job = submit(api, path, kind, **args)
    api.wait(job)
    return job


@pytest.fixture(scope="module")
def stranger(api: Api) -> str:
    """A token of a member who may read nothing of f/a."""
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.account (email) values ('bob@localhost')")
        connection.execute(
            "insert into mill.member (workspace, username, email) values ('default', 'bob', 'bob@localhost')"
        )
    return make_token(api.dsn, "bob@localhost")


# -- a job -------------------------------------------------------------------------


def test_a_job_that_is_over_is_told_as_windmill_has_it(api: Api) -> None:
    job = done(api, name="Ada")
    told = api.get(f"jobs_u/get/{job}").json()
    assert told == api.get(f"jobs/get/{job}").json()
    expected = {
        "type": "CompletedJob", "id": job, "workspace_id": "default", "created_by": "admin", "success": True,
        "permissioned_as": "u/admin", "email": "admin@localhost", "canceled": False, "is_skipped": False,
        "job_kind": "script", "script_path": "f/a/hello", "language": "python3", "tag": "python3",
        "is_flow_step": False, "visible_to_owner": True, "args": {"name": "Ada"}, "result": "Hello Ada",
        "status": "success",
    }  # fmt: skip
    assert expected.items() <= told.items()
    assert len(told["script_hash"]) == 16
    assert told["created_at"] <= told["started_at"] <= told["completed_at"]
    assert isinstance(told["duration_ms"], int)
    assert "parent_job" not in told
    assert "flow_status" not in told


def test_an_open_job_is_queued_or_runs(api: Api, gate: Gate) -> None:
    late = api.post("jobs/run/p/f/a/hello", params={"scheduled_in_secs": 3600}, json={}).text
    told = api.get(f"jobs_u/get/{late}").json()
    assert (told["type"], told["running"], told["canceled"]) == ("QueuedJob", False, False)
    assert "started_at" not in told
    job = submit(api, "f/a/gate", fifo=gate.path)
    while not (told := api.get(f"jobs_u/getupdate/{job}", params={"running": "false"}).json()).get("running"):
        assert told["completed"] is False
    told = api.get(f"jobs_u/get/{job}").json()
    assert (told["type"], told["running"]) == ("QueuedJob", True)
    assert told["worker"]
    assert told["started_at"]
    gate.open()
    api.wait(job)
    assert api.get(f"jobs_u/get/{job}").json()["type"] == "CompletedJob"


def test_logs_and_code_can_be_left_out(api: Api) -> None:
    job = done(api, name="Ada")
    until(lambda: api.get(f"jobs_u/get/{job}").json().get("logs") == "to Ada\n")
    assert "logs" not in api.get(f"jobs_u/get/{job}", params={"no_logs": "true"}).json()
    told = {"content": "def main():\n    return 1\n", "language": "python3", "path": "f/a/tried", "args": {}}
    job = api.post("jobs/run/preview", json=told).text
    api.wait(job)
    found = api.get(f"jobs_u/get/{job}").json()
    assert (found["job_kind"], found["raw_code"], found["script_path"]) == (
        "preview",
        told["content"],
        "f/a/tried",
    )
    assert "raw_code" not in api.get(f"jobs_u/get/{job}", params={"no_code": "true"}).json()


def until(is_so: Any) -> None:
    """Logs are written beside the results; nobody tells when."""
    deadline = monotonic() + 10
    while not is_so():
        assert monotonic() < deadline


def test_a_failure_and_its_result(api: Api) -> None:
    job = done(api, "f/a/fails")
    told = api.get(f"jobs_u/completed/get/{job}").json()
    assert (told["success"], told["status"], told["result"]["error"]["name"]) == (
        False,
        "failure",
        "ValueError",
    )


def test_results(api: Api) -> None:
    job = done(api, "f/a/labelled")
    assert api.get(f"jobs_u/completed/get_result/{job}").json()["items"] == [{"name": "y"}]
    part = api.get(f"jobs_u/completed/get_result/{job}", params={"json_path": "items.0.name"})
    assert part.json() == "y"
    assert api.get(f"jobs_u/get/{job}").json()["labels"] == ["x"]
    for path in ("items.7", "nope.x", "items.-1", "items.99999999999999999999", "..", "items.0.name.z"):
        assert api.get(f"jobs_u/completed/get_result/{job}", params={"json_path": path}).json() is None


def test_a_result_maybe_has_four_keys_always(api: Api, gate: Gate) -> None:
    job = submit(api, "f/a/gate", fifo=gate.path)
    waiting = api.get(f"jobs_u/completed/get_result_maybe/{job}")
    assert waiting.status_code == 200
    assert set(waiting.json()) == {"started", "success", "completed", "result"}
    assert waiting.json()["completed"] is False
    gate.open()
    api.wait(job)
    told = api.get(f"jobs_u/completed/get_result_maybe/{job}", params={"get_started": "true"}).json()
    assert told == {"started": True, "success": True, "completed": True, "result": "through"}
    nobody = api.get(f"jobs_u/completed/get_result_maybe/{new_id()}")
    assert (nobody.status_code, nobody.json()["completed"]) == (200, False)
    assert api.get("jobs_u/completed/get_result_maybe/Not%20found").status_code == 400


def test_a_completed_job_is_waited_for_for_a_moment(api: Api, gate: Gate) -> None:
    job = submit(api, "f/a/gate", fifo=gate.path)
    assert api.get(f"jobs_u/completed/get/{job}").status_code == 404
    opener = threading.Thread(target=gate.open)
    opener.start()
    answers = [api.get(f"jobs/completed/get/{job}").status_code for _ in range(3)]
    opener.join()
    assert answers[-1] == 200


def test_timing_args_root_and_logs(api: Api) -> None:
    job = done(api, name="Ada")
    assert set(api.get(f"jobs_u/completed/get_timing/{job}").json()) == {
        "created_at",
        "started_at",
        "duration_ms",
    }
    assert api.get(f"jobs_u/get_args/{job}").json() == {"name": "Ada"}
    assert api.get(f"jobs_u/get_root_job_id/{job}").json() == job
    until(lambda: api.get(f"jobs_u/get_logs/{job}").text == "to Ada\n")
    assert api.get(f"jobs_u/get_logs/{job}").headers["Content-Type"].startswith("text/plain")
    assert api.get(f"jobs_u/get_completed_logs_tail/{job}").json() == "to Ada\n"
    started = api.post("jobs_u/queue/get_started_at_by_ids", json=[new_id(), job])
    assert started.json()[0] is None
    assert started.json()[1].startswith("20")


# -- flows -------------------------------------------------------------------------


def test_a_flow_has_its_status_from_the_first_moment_on(api: Api) -> None:
    loop = {
        "type": "forloopflow", "skip_failures": False, "modules": [step("c"), step("d")],
        "iterator": {"type": "javascript", "expr": "[1, 2]"},
    }  # fmt: skip
    deploy_flow(api, "f/a/flow", step("a"), {"id": "b", "value": loop})
    late = api.post("jobs/run/f/f/a/flow", params={"scheduled_in_secs": 3600}, json={}).text
    told = api.get(f"jobs_u/get/{late}").json()
    assert (told["type"], told["job_kind"]) == ("QueuedJob", "flow")
    assert [(m["id"], m["type"]) for m in told["flow_status"]["modules"]] == [
        ("a", "WaitingForPriorSteps"), ("b", "WaitingForPriorSteps"),
    ]  # fmt: skip
    assert [module["id"] for module in told["raw_flow"]["modules"]] == ["a", "b"]
    job = done(api, "f/a/flow", "f")
    told = api.get(f"jobs_u/get/{job}").json()
    first, second = told["flow_status"]["modules"]
    assert (first["type"], "flow_jobs" in first) == ("Success", False)
    assert (second["type"], len(second["flow_jobs"])) == ("Success", 2)
    child = api.get(f"jobs_u/get/{first['job']}").json()
    assert (child["parent_job"], child["is_flow_step"], child["job_kind"]) == (job, True, "script")
    body = api.get(f"jobs_u/get/{second['flow_jobs'][0]}").json()
    assert body["job_kind"] == "flow"
    assert [module["id"] for module in body["flow_status"]["modules"]] == ["c", "d"]
    leaf = body["flow_status"]["modules"][0]["job"]
    assert api.get(f"jobs_u/get_root_job_id/{leaf}").json() == job
    assert api.get(f"jobs/result_by_id/{job}/a").json() == "Hello you"
    assert api.get(f"jobs/result_by_id/{job}/b").json() == ["Hello you", "Hello you"]
    assert api.get(f"jobs/result_by_id/{job}/c").json() == "Hello you"
    assert api.get(f"jobs/result_by_id/{job}/z").status_code == 404
    until(lambda: api.get(f"jobs_u/get_flow_all_logs/{job}").text.count("to you\n") == 5)
    logs = api.get(f"jobs_u/get_flow_all_logs/{job}").text.splitlines()
    assert logs[0] == f"=== a f/a/hello {first['job']}"
    assert sum(line.startswith("===") for line in logs) == 5


# -- updates -----------------------------------------------------------------------


def test_an_update_is_held_back_until_there_is_one(api: Api, gate: Gate) -> None:
    job = submit(api, "f/a/gate", fifo=gate.path, words="aé😀")
    seen, offset = "", 0
    while seen != "aé😀\n":
        told = api.get(f"jobs_u/getupdate/{job}", params={"running": "true", "log_offset": offset}).json()
        seen += told.get("new_logs", "")
        offset = told["log_offset"]
        assert told["completed"] is False
    # As JavaScript counts: the face is two.
    assert offset == 5
    began = monotonic()
    told = api.get(f"jobs_u/getupdate/{job}", params={"running": "true", "log_offset": offset}).json()
    assert monotonic() - began > 0.8
    assert (told["completed"], told["log_offset"], "new_logs" in told) == (False, 5, False)
    opener = threading.Thread(target=gate.open)
    opener.start()
    while not (told := api.get(f"jobs_u/getupdate/{job}", params={"running": "true"}).json())["completed"]:
        pass
    opener.join()
    assert told["running"] is False


@pytest.mark.parametrize(
    ("offset", "text"), [(0, "aé😀z\n"), (1, "é😀z\n"), (2, "😀z\n"), (4, "z\n"), (99, "")]
)
def test_an_offset_counts_utf_16_units(api: Api, tmp_path: Path, offset: int, text: str) -> None:
    fifo = tmp_path / "empty"
    fifo.touch()
    job = done(api, "f/a/gate", fifo=str(fifo), words="aé😀z")
    until(lambda: api.get(f"jobs_u/get_logs/{job}").text)
    told = api.get(f"jobs_u/getupdate/{job}", params={"log_offset": offset}).json()
    assert told.get("new_logs", "") == text


def test_an_update_of_a_flow_has_its_status(api: Api) -> None:
    deploy_flow(api, "f/a/short", step("a"))
    job = done(api, "f/a/short", "f")
    told = api.get(f"jobs_u/getupdate/{job}").json()
    assert (told["completed"], told["flow_status"]["modules"][0]["type"]) == (True, "Success")


# -- who may, and what makes no sense ------------------------------------------------

READING = [
    "jobs_u/get/{}", "jobs_u/completed/get/{}", "jobs_u/completed/get_result/{}",
    "jobs_u/completed/get_result_maybe/{}", "jobs_u/completed/get_timing/{}", "jobs_u/getupdate/{}",
    "jobs_u/get_logs/{}", "jobs_u/get_args/{}", "jobs_u/get_root_job_id/{}", "jobs/result_by_id/{}/a",
    "jobs_u/get_completed_logs_tail/{}", "jobs_u/get_flow_all_logs/{}",
]  # fmt: skip


@pytest.mark.parametrize("path", READING)
def test_a_job_is_read_by_whoever_may_read_its_path_or_created_it(api: Api, stranger: str, path: str) -> None:
    job = done(api)
    refused = api.get(path.format(job), token=stranger)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    with Database(api.dsn).connect() as connection:
        connection.execute("update mill.completed_job set created_by = 'u/bob' where id = %s", [job])
    assert api.get(path.format(job), token=stranger).status_code in {200, 404}


@pytest.mark.parametrize("path", READING)
@pytest.mark.parametrize("job", ["x", "%00", "0" * 4000, "..", "%F0%9F%98%80", "' or 1=1"])
def test_what_is_no_id_is_told_so(api: Api, path: str, job: str) -> None:
    answer = api.get(path.format(job))
    assert 400 <= answer.status_code < 500
    assert answer.json()["code"]


@pytest.mark.parametrize("path", READING)
def test_another_workspaces_job_is_not_there(api: Api, path: str) -> None:
    job = done(api)
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.workspace (id) values ('acme') on conflict do nothing")
    answer = api.get("/w/acme/" + path.format(job))
    if "maybe" in path:
        assert answer.json()["completed"] is False
    else:
        assert answer.status_code == 404
    bound = make_token(api.dsn, workspace="acme")
    assert api.get(path.format(job), token=bound).status_code == 403


@pytest.mark.parametrize(
    "params",
    [{"log_offset": "-1"}, {"log_offset": "9" * 30}, {"log_offset": "x"}, {"running": "perhaps"}],
)
def test_an_update_from_nowhere_is_refused(api: Api, params: dict[str, str]) -> None:
    assert api.get(f"jobs_u/getupdate/{new_id()}", params=params).status_code in {400, 404}


@pytest.mark.parametrize(
    "body", ["{}", "[1]", '["x"]', "null", "[" * 100_000, json.dumps([new_id()] * 10_001)]
)
def test_started_at_wants_a_list_of_ids(api: Api, body: str) -> None:
    answer = api.post("jobs_u/queue/get_started_at_by_ids", content=body)
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
