"""Flows as they are looked at and steered: status, answers, restarts. A real node runs them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mill_actors.errors import InvalidArgs, JobNotFound, MillError
from mill_actors.flows.version import FlowOptions
from mill_actors.store.client import Client
from mill_actors.store.flow_versions import make_flow
from mill_actors.store.shared_values import SharedValueNotFound
from tests.system.engine import SECONDS, Engine
from tests.system.proxy import wait_until


@pytest.fixture
def engine(shared_dsn: str, tmp_path: Path) -> Iterator[Engine]:
    with Engine(shared_dsn, tmp_path) as engine:
        engine.node()
        yield engine


@pytest.fixture
def client(engine: Engine) -> Client:
    return engine.client


def raw(step_id: str, code: str = "def main(): return 1", **options: Any) -> dict[str, Any]:
    value = {"type": "rawscript", "language": "python3", "content": code, "input_transforms": {}}
    return {"id": step_id, "value": value, **options}


def identity(step_id: str, **options: Any) -> dict[str, Any]:
    return {"id": step_id, "value": {"type": "identity"}, **options}


def loop(step_id: str, *modules: Any, over: Any, **value: Any) -> dict[str, Any]:
    kind = {"type": "forloopflow", "skip_failures": False, "modules": list(modules)}
    return {"id": step_id, "value": {**kind, "iterator": {"type": "static", "value": over}, **value}}


Deploy = Callable[..., str]


@pytest.fixture
def deploy(client: Client) -> Deploy:
    def make(*modules: Any, path: str | None = None, **more: Any) -> str:
        path = path or f"f/status/flow_{uuid.uuid4().hex}"
        value = json.dumps({"modules": modules, **more}).encode()
        client.deploy_flow(make_flow("default", path, value))
        return path

    return make


def asked(client: Client, job: str) -> None:
    """Wait until the flow asks for an approval, wherever in it."""

    def asks(body: str) -> bool:
        modules = client.flow_status(body)["modules"]
        if any(module["type"] == "WaitingForEvents" for module in modules):
            return True
        return any(
            asks(inner) for m in modules if m["type"] == "InProgress" for inner in m.get("flow_jobs", [])
        )

    wait_until(lambda: asks(job), "an approval is asked for", SECONDS)


def modules_of(client: Client, job: str) -> dict[str, dict[str, Any]]:
    return {module["id"]: module for module in client.flow_status(job)["modules"]}


# ---------------------------------------------------------------- status


def test_a_finished_flow_and_its_bodies(client: Client, deploy: Deploy) -> None:
    nested = deploy(raw("n"))
    path = deploy(
        loop("l", raw("x"), identity("y"), over=[1, 2]),
        {
            "id": "b",
            "value": {
                "type": "branchone",
                "branches": [{"expr": "true", "modules": [raw("p"), identity("q")]}],
                "default": [],
            },
        },
        {"id": "f", "value": {"type": "flow", "path": nested, "input_transforms": {}}},
    )
    job, future = client.start(path)
    assert future.result(SECONDS).status == "success"
    found = modules_of(client, job)
    assert found["l"]["flow_jobs_success"] == [True, True]
    assert all(found["l"]["flow_jobs_duration"]["started_at"])
    assert found["b"]["branch_chosen"] == {"type": "branch", "branch": 0}
    for body, inner in [
        (found["l"]["flow_jobs"][1], ["x", "y"]),
        (found["b"]["job"], ["p", "q"]),
        (found["f"]["job"], ["n"]),
    ]:
        told = modules_of(client, body)
        assert {name: module["type"] for name, module in told.items()} == dict.fromkeys(inner, "Success")
        assert client.job(body).is_flow
    assert client.flow_job(found["f"]["job"]).version.path == nested


def test_tries_and_the_failure_module(client: Client, deploy: Deploy) -> None:
    bad = raw("a", "def main(): raise ValueError('no')", retry={"constant": {"attempts": 2, "seconds": 0}})
    job, future = client.start(deploy(bad, raw("b"), failure_module=raw("failure")))
    assert future.result(SECONDS).status == "failure"
    status = client.flow_status(job)
    first = status["modules"][0]
    assert (first["type"], len(first["failed_retries"])) == ("Failure", 2)
    assert first["job"] not in first["failed_retries"]
    assert (status["step"], status["failure_module"]["type"]) == (2, "Success")
    assert status["modules"][1] == {"type": "WaitingForPriorSteps", "id": "b"}


def test_a_flow_nobody_has_begun(client: Client, deploy: Deploy) -> None:
    job = client.submit(deploy(raw("a")), scheduled_in_seconds=3600.0)
    assert client.flow_status(job)["modules"] == [{"type": "WaitingForPriorSteps", "id": "a"}]
    assert client.cancel(job) == "cancelled"
    assert client.flow_status(job)["step"] == 0


def test_what_has_no_status(client: Client, engine: Engine, deploy: Deploy) -> None:
    engine.deploy("plain", "def main(): return 1")
    job, future = client.start("f/test/plain")
    future.result(SECONDS)
    with pytest.raises(InvalidArgs, match="is a job of the script f/test/plain, and has no steps"):
        client.flow_status(job)
    with pytest.raises(JobNotFound):
        client.flow_status(str(uuid.uuid4()))
    with pytest.raises(JobNotFound):
        client.flow_status("nonsense")
    # The snapshot it was read in is over: the same connection writes.
    client.set_variable("f/status/after", "x")


@pytest.mark.parametrize("skips", [True, False])
def test_of_a_long_loop_the_first_iterations_are_listed(
    skips: bool, client: Client, engine: Engine, deploy: Deploy
) -> None:
    """Twelve thousand rows as a loop leaves them, one of the last a failure."""
    path = deploy(loop("l", raw("x"), over=1, skip_failures=skips))
    job = client.submit(path, scheduled_in_seconds=3600.0)
    client.cancel(job)
    engine.look.execute(
        "insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at,"
        " scheduled_for, completed_at, args, result, created_by, worker, attempt, rescues, parent_job, step,"
        " iteration)"
        " select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'default', 'f/a/b', 'x', 't', 0,"
        " case when n = 11990 then 'failure' else 'success' end, now(), now(), now(), '{}', '1', 'u/a', 'w', 1, 0,"
        " %s, 'l', n from generate_series(0, 11999) n",
        [job],
    )
    told = modules_of(client, job)["l"]
    assert len(told["flow_jobs"]) == len(told["flow_jobs_success"]) == 10_000
    assert told["flow_jobs_count"] == 12_000
    assert told["job"] == f"00000000-0000-7000-8000-{11_999:012x}"
    assert told["type"] == ("Success" if skips else "Failure")
    engine.look.execute("delete from mill.completed_job where parent_job = %s", [job])


def test_a_flow_that_one_worker_holds_whole(client: Client, engine: Engine) -> None:
    """Its bodies and the steps in hand have no rows of their own in the queue."""
    value = {"modules": [loop("l", raw("a", **ASKS), SAID, over=[1]), raw("z")]}
    path = f"f/status/held_{uuid.uuid4().hex}"
    flow = make_flow("default", path, json.dumps(value).encode(), options=FlowOptions(dedicated=True))
    client.deploy_flow(flow)
    engine.node(worker__dedicated=[path])
    job, future = client.start(path)
    asked(client, job)
    told = modules_of(client, job)["l"]
    assert (told["type"], told["iterator"]) == ("InProgress", {"index": 0, "itered_len": 1})
    body = told["job"]
    assert told["flow_jobs"] == [body]
    assert engine.look.execute("select from mill.queue where id = %s", [body]).fetchone() is None
    assert [m["type"] for m in client.flow_status(body)["modules"]] == ["Success", "WaitingForEvents"]
    assert client.resume(job, "yes", "ada") == body
    assert future.result(SECONDS).status == "success"
    assert modules_of(client, job)["l"]["flow_jobs_success"] == [True]
    assert client.results([body])[0].value == ["yes", ["ada"]]


# ---------------------------------------------------------------- answers

ASKS: dict[str, Any] = {"suspend": {"required_events": 1}}
SAID = {
    "id": "b",
    "value": {
        "type": "rawscript",
        "language": "python3",
        "content": "def main(said, who): return [said, who]",
        "input_transforms": {
            "said": {"type": "javascript", "expr": "resume"},
            "who": {"type": "javascript", "expr": "approvers"},
        },
    },
}


def test_an_answer_reaches_whatever_asks_inside(client: Client, deploy: Deploy) -> None:
    job, future = client.start(deploy(loop("l", raw("a", **ASKS), SAID, over=[1])))
    asked(client, job)
    body = modules_of(client, job)["l"]["job"]
    assert client.resume(job, {"n": 2**70}, "ada") == body
    assert future.result(SECONDS).value == [[{"n": 2**70}, ["ada"]]]


def test_several_answers(client: Client, deploy: Deploy) -> None:
    job, future = client.start(deploy(raw("a", suspend={"required_events": 2}), SAID))
    asked(client, job)
    client.resume(job, 1, "ada", resume_id=7)
    with pytest.raises(MillError, match="The answer 7 was given to job"):
        client.resume(job, 2, "bo", resume_id=7)
    wait_until(
        lambda: modules_of(client, job)["a"].get("approvers") == [{"resume_id": 7, "approver": "ada"}],
        "the first is known",
        SECONDS,
    )
    client.resume(job, 2, "bo", resume_id=8)
    assert future.result(SECONDS).value == [2, ["ada", "bo"]]
    with pytest.raises(MillError, match=r"is over \(success\): nothing waits for an answer"):
        client.resume(job)


def test_a_refusal(client: Client, deploy: Deploy) -> None:
    job, future = client.start(deploy(raw("a", **ASKS), raw("b")))
    asked(client, job)
    client.resume(job, approver="ada", approved=False)
    assert future.result(SECONDS).value["error"]["message"] == "Disapproved by ada"
    assert [m["type"] for m in client.flow_status(job)["modules"]] == ["Success", "Failure"]


def test_an_answer_before_the_question(client: Client, engine: Engine, deploy: Deploy) -> None:
    gate = engine.gate()
    waits = raw("a", f"def main(): open({gate.path!r}).close()", **ASKS)
    job, future = client.start(deploy(waits, SAID))
    wait_until(lambda: "job" in modules_of(client, job)["a"], "a is under way", SECONDS)
    step = modules_of(client, job)["a"]["job"]
    # By the step itself, as a script does that sends its own resume link.
    assert client.resume(step, "early") == job
    gate.open()
    assert future.result(SECONDS).value == ["early", ["anonymous"]]


def test_who_can_not_be_answered(client: Client, engine: Engine) -> None:
    engine.deploy("alone", "def main(): return 1")
    job, future = client.start("f/test/alone")
    future.result(SECONDS)
    with pytest.raises(MillError, match="is no flow, and no step of one"):
        client.resume(job)
    with pytest.raises(JobNotFound):
        client.resume(str(uuid.uuid4()))


# ---------------------------------------------------------------- restart


def test_a_restart_uses_what_there_was(client: Client, engine: Engine, deploy: Deploy) -> None:
    counted = f"def main(): open({str(engine.ledger)!r}, 'a').write('.')\n"
    mark = engine.folder / uuid.uuid4().hex
    fails = f"import os\ndef main():\n    assert os.path.exists({str(mark)!r})\n    return 'now'\n"
    path = deploy(raw("a", counted), raw("b", fails))
    engine.ledger.write_text("")
    job, future = client.start(path, {"x": 1})
    assert future.result(SECONDS).status == "failure"
    mark.touch()
    again = client.restart(job, "b")
    assert client.wait(again, SECONDS).value == "now"
    assert engine.ledger.read_text() == "."
    assert json.loads(client.job(again).args) == {"x": 1}
    assert [m["type"] for m in client.flow_status(again)["modules"]] == ["Success", "Success"]
    other = client.restart(job, "a", args={"x": 2})
    assert client.wait(other, SECONDS).succeeded
    assert json.loads(client.job(other).args) == {"x": 2}
    assert engine.ledger.read_text() == ".."


def test_what_stands_in_the_way_of_a_restart(client: Client, deploy: Deploy) -> None:
    bad = raw("b", "def main(): raise ValueError('no')")
    path = deploy(loop("l", raw("x"), identity("y"), over=[1, 2]), bad, raw("c"))
    job, future = client.start(path)
    future.result(SECONDS)
    body = modules_of(client, job)["l"]["job"]
    for target, step, iteration, says in [
        (job, "z", 0, "step: 'z' is no step of the flow itself; those are l, b, c"),
        (job, "x", 0, "'x' is no step of the flow itself"),
        (job, "c", 0, "step: 'b', which comes before 'c', did not succeed"),
        (job, "l", 3, "iteration: iteration 2 of 'l' did not run"),
        (job, "b", 1, "iteration: 'b' is no loop and no branches that run one after another"),
        (body, "x", 0, f"is a part of a run of {path}: restart the whole flow"),
    ]:
        with pytest.raises(InvalidArgs) as caught:
            client.restart(target, step, iteration)
        assert says in str(caught.value)
    deploy(loop("l", raw("x"), over=[1]), raw("new"), raw("c"), path=path)
    with pytest.raises(InvalidArgs, match="the run has no result of 'new', which comes before 'c'"):
        client.restart(job, "c")
    waiting = client.submit(path, scheduled_in_seconds=3600.0)
    with pytest.raises(InvalidArgs, match="is not over"):
        client.restart(waiting, "l")


def test_what_it_was_restarted_from_is_told_while_it_is_open(client: Client, deploy: Deploy) -> None:
    path = deploy(raw("a", **ASKS), SAID)
    job, future = client.start(path)
    asked(client, job)
    client.resume(job)
    future.result(SECONDS)
    again = client.restart(job, "a")
    asked(client, again)
    assert client.flow_status(again)["restarted_from"] == {
        "flow_job_id": job,
        "step_id": "a",
        "branch_or_iteration_n": None,
        "flow_version": None,
    }
    client.cancel(again)


# ---------------------------------------------------------------- shared values


def test_a_script_gets_what_a_variable_means(client: Client, deploy: Deploy) -> None:
    client.set_variable("f/status/url", "http://stub", "where it is")
    client.set_resource("f/status/api", {"n": 2**70})
    reads = {
        "id": "a",
        "value": {
            "type": "rawscript",
            "language": "python3",
            "content": "def main(url, n): return [url, n]",
            "input_transforms": {
                "url": {"type": "javascript", "expr": "variable('f/status/url')"},
                "n": {"type": "javascript", "expr": "resource('f/status/api')"},
            },
        },
    }
    _, future = client.start(deploy(reads))
    assert future.result(SECONDS).value[0] == "http://stub"
    assert client.resource("f/status/api").value == {"n": 2**70}
    client.set_variable("f/status/url", "http://other")
    assert client.variable("f/status/url").description == "where it is"
    client.delete_variable("f/status/url")
    with pytest.raises(SharedValueNotFound):
        client.variable("f/status/url")
    with pytest.raises(InvalidArgs):
        client.set_variable("f/status/nul", "\0")


def test_children_are_found_by_an_index(engine: Engine) -> None:
    from mill_actors.store.queries import sql

    with psycopg.connect(engine.dsn, autocommit=True) as connection:
        connection.execute("set enable_seqscan = off")
        place = {
            "job": str(uuid.uuid4()),
            "since": "2026-01-01",
            "until": "2030-01-01",
            "steps": ["a"],
            "limit": 9,
        }
        for name in ("flow_children", "flow_children_counts", "failed_tries"):
            plan = connection.execute(f"explain {sql[name]}".encode(), place).fetchall()
            text = "\n".join(row[0] for row in plan)
            assert "Seq Scan" not in text, f"{name}:\n{text}"
