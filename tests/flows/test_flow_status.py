"""FlowStatus, from runs in memory: each of Windmill's shapes once, and invariants over any flow."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mill_actors.flows.flow_status import Approver, Begun, flow_status
from mill_actors.flows.rehearsal import ROOT, Rehearsal
from mill_actors.flows.state import Begin, State, decode_state
from mill_actors.flows.step_status import NOBODY, Child, Children
from mill_actors.flows.version import FlowVersion
from tests.flows.generated import answer_of, flows, run_script
from tests.flows.theatre import step as move
from tests.flows.theatre import version, world

EXAMPLES = int(os.environ.get("MILL_TEST_EXAMPLES", "200"))


def status_of(
    rehearsal: Rehearsal, flow: FlowVersion, run: str = ROOT, address: str = "", **more: Any
) -> dict[str, Any]:
    """Read a body's status from what a rehearsal has written."""
    stored = rehearsal.stored
    kept = stored.runs.get(run)
    state = None if kept is None else decode_state(kept.state)
    body = (flow if kept is None else kept.flow).program.bodies[address if kept is None else kept.address]
    found: dict[str, list[Child]] = {}
    tries: dict[str, list[str]] = {}
    for row in stored.rows.values():
        name, tilde, number = row.step.partition("~")
        if row.parent != run:
            continue
        if tilde:
            tries.setdefault(name, [])
            tries[name][int(number) :] = [row.id]
            continue
        child = Child(row.id, row.iteration, row.status or "running", is_flow=row.id in stored.inputs)
        found.setdefault(name, []).append(child)
    children = {}
    for name in found.keys() | tries.keys():
        own = [child for child in found.get(name, []) if child.iteration is None]
        many = sorted(
            (c for c in found.get(name, []) if c.iteration is not None), key=lambda c: c.iteration or 0
        )
        children[name] = Children(
            own[-1] if own else None,
            many,
            many[-1] if many else None,
            len(many),
            sum(child.is_bad for child in many),
            tries.get(name, []),
        )
    ended = rehearsal.status if run == ROOT else stored.rows[run].status
    return flow_status(body, run, children, state, ended, **more)


def identity(step_id: str = "a", **options: Any) -> dict[str, Any]:
    return {"id": step_id, "value": {"type": "identity"}, **options}


def code(step_id: str, content: str = "input", **options: Any) -> dict[str, Any]:
    value = {"type": "rawscript", "language": "python3", "content": content, "input_transforms": {}}
    return {"id": step_id, "value": value, **options}


def loop(step_id: str, *modules: Any, over: Any = (10, 20, 30), **value: Any) -> dict[str, Any]:
    given_ = {"type": "static", "value": list(over)}
    kind = {"type": "forloopflow", "iterator": given_, "skip_failures": False, "modules": list(modules)}
    return {"id": step_id, "value": {**kind, **value}}


class Play:
    """A flow and how far it is."""

    def __init__(self, *modules: Any, begin: Begin | None = None, **more: Any) -> None:
        self.flow = version({"modules": list(modules), **more})
        self.rehearsal = Rehearsal(self.flow, b"{}", begin=begin)

    def end(self, status: Any = "success", result: Any = 1, place: int = 0) -> Play:
        job = self.rehearsal.ready[place]
        self.rehearsal.finish(job.id, status, json.dumps(result).encode())
        return self

    def fail(self) -> Play:
        return self.end("failure", {"error": {"name": "Error", "message": "no"}})

    def status(self, **more: Any) -> dict[str, Any]:
        return status_of(self.rehearsal, self.flow, **more)

    def module(self, place: int, **more: Any) -> dict[str, Any]:
        module = self.status(**more)["modules"][place]
        assert isinstance(module, dict)
        return module

    def types(self) -> list[str]:
        return [module["type"] for module in self.status()["modules"]]

    def job(self, step: str, iteration: int | None = None) -> str:
        """The last job of a step, wherever it is."""
        return [
            row.id for row in self.rehearsal.rows if row.step == step and iteration in {None, row.iteration}
        ][-1]


def test_before_it_begins() -> None:
    flow = version({"modules": [code("a"), code("b")]})
    assert flow_status(flow.program.root, "job", {}, None, None) == {
        "step": 0,
        "modules": [{"type": "WaitingForPriorSteps", "id": "a"}, {"type": "WaitingForPriorSteps", "id": "b"}],
        "failure_module": {"type": "WaitingForPriorSteps", "id": "failure"},
        "preprocessor_module": None,
        "cleanup_module": {},
    }
    assert flow_status(flow.program.root, "job", {}, State(), None)["step"] == 0


def test_a_step_waits_runs_and_ends() -> None:
    play = Play(code("a"), code("b"))
    job = play.job("a")
    assert play.status()["step"] == 0
    assert play.module(0) == {"type": "InProgress", "id": "a", "job": job}
    queued = {"a": Children(own=Child(job, None, "queued"))}
    body = play.flow.program.root
    state = decode_state(play.rehearsal.stored.runs[ROOT].state)
    assert flow_status(body, ROOT, queued, state, None)["modules"][0] == {
        "type": "WaitingForExecutor",
        "id": "a",
        "job": job,
    }
    play.end()
    assert play.module(0) == {"type": "Success", "id": "a", "job": job, "skipped": False}
    assert play.status()["step"] == 1
    play.fail()
    assert play.status()["step"] == 1
    assert play.module(1) == {"type": "Failure", "id": "b", "job": play.job("b")}


def test_all_went_well() -> None:
    play = Play(code("a"), identity("b")).end()
    assert play.rehearsal.status == "success"
    assert play.status()["step"] == 2
    assert play.types() == ["Success", "Success"]


def test_a_skipped_step() -> None:
    play = Play(identity("a", skip_if={"expr": "true"}))
    assert play.module(0) == {"type": "Success", "id": "a", "job": play.job("a"), "skipped": True}


def test_a_sequential_loop() -> None:
    play = Play(loop("l", code("x"))).end()
    first, second = play.job("l", 0), play.job("l", 1)
    assert play.module(0) == {
        "type": "InProgress",
        "id": "l",
        "job": second,
        "iterator": {"index": 1, "itered_len": 3},
        "flow_jobs": [first, second],
        "flow_jobs_success": [True, None],
        "flow_jobs_duration": {"started_at": [None, None], "duration_ms": [None, None]},
    }
    play.end().end()
    told = play.module(0)
    assert (told["type"], told["job"], told["flow_jobs_success"], told["skipped"]) == (
        "Success",
        play.job("l", 2),
        [True, True, True],
        False,
    )


def test_a_failed_iteration() -> None:
    play = Play(loop("l", code("x"))).end().fail()
    assert play.rehearsal.status == "failure"
    told = play.module(0)
    assert (told["type"], told["flow_jobs_success"]) == ("Failure", [True, False])
    assert "skipped" not in told
    forgiven = Play(loop("l", code("x"), skip_failures=True)).end().fail().end()
    assert forgiven.types() == ["Success"]


def test_a_parallel_loop() -> None:
    play = Play(loop("l", code("x"), code("y"), parallel=True))
    play.end(place=0).end(place=2)
    told = play.module(0)
    assert (told["type"], told["job"], told["parallel"], told["iterator"]) == (
        "InProgress",
        ROOT,
        True,
        {"index": 1, "itered_len": 3},
    )
    assert told["flow_jobs_success"].count(True) == 1
    assert len(told["flow_jobs"]) == 3


def test_a_while_loop() -> None:
    play = Play(
        {"id": "w", "value": {"type": "whileloopflow", "skip_failures": False, "modules": [code("x")]}}
    )
    play.end()
    told = play.module(0)
    assert (told["while_loop"], told["iterator"]) == (True, {"index": 1})


@pytest.mark.parametrize("kind", ["forloopflow", "branchall"])
def test_a_loop_without_items_and_no_branches(kind: str) -> None:
    empty = loop("l", code("x"), over=[])
    if kind == "branchall":
        empty["value"] = {"type": "branchall", "branches": []}
    told = Play(empty).module(0)
    assert (told["type"], told["job"], told["flow_jobs"], told["flow_jobs_success"]) == (
        "Success",
        NOBODY,
        [],
        [],
    )


def test_a_mocked_loop_has_no_jobs_of_its_own() -> None:
    play = Play({**loop("l", code("x")), "mock": {"enabled": True, "return_value": 7}})
    assert play.module(0) == {"type": "Success", "id": "l", "job": play.job("l"), "skipped": False}


@pytest.mark.parametrize(
    ("expr", "chosen"), [("true", {"type": "branch", "branch": 0}), ("false", {"type": "default"})]
)
def test_one_branch(expr: str, chosen: Any) -> None:
    branch = {"expr": expr, "modules": [code("x"), code("y")]}
    value = {"type": "branchone", "branches": [branch], "default": [code("p"), code("q")]}
    play = Play({"id": "b", "value": value})
    told = play.module(0)
    assert told == {"type": "InProgress", "id": "b", "job": play.job("b"), "branch_chosen": chosen}
    play.end().end()
    told = play.module(0)
    assert told == {
        "type": "Success",
        "id": "b",
        "job": play.job("b"),
        "branch_chosen": chosen,
        "skipped": False,
    }


def test_an_empty_branch() -> None:
    play = Play({"id": "b", "value": {"type": "branchone", "branches": [], "default": []}})
    told = play.module(0)
    assert (told["job"], told["branch_chosen"]) == (NOBODY, {"type": "default"})


def test_all_branches() -> None:
    branches = [{"modules": [code("x")], "skip_failure": True}, {"modules": [code("y")]}]
    play = Play({"id": "b", "value": {"type": "branchall", "branches": branches, "parallel": False}})
    assert play.module(0)["branchall"] == {"branch": 0, "len": 2}
    play.fail()
    assert play.module(0)["branchall"] == {"branch": 1, "len": 2}
    play.end()
    told = play.module(0)
    assert (told["type"], told["flow_jobs_success"]) == ("Success", [False, True])


def test_an_approval() -> None:
    asks = {"required_events": 2, "user_auth_required": True, "self_approval_disabled": True}
    play = Play(code("a", suspend=asks), code("b")).end()
    status = play.status(approvers={"a": [Approver(7, "")]})
    assert status["step"] == 1
    assert status["modules"] == [
        {
            "type": "Success",
            "id": "a",
            "job": play.job("a"),
            "approvers": [{"resume_id": 7, "approver": "unknown"}],
            "skipped": False,
        },
        {"type": "WaitingForEvents", "id": "b", "count": 2, "job": play.job("a")},
    ]
    assert status["approval_conditions"] == {
        "user_auth_required": True,
        "user_groups_required": [],
        "self_approval_disabled": True,
    }


def test_a_pause() -> None:
    play = Play(code("a", sleep={"type": "static", "value": 60}), code("b")).end()
    assert play.types() == ["Success", "WaitingForPriorSteps"]
    assert play.status()["step"] == 1


def test_retries() -> None:
    play = Play(code("a", retry={"constant": {"attempts": 2, "seconds": 0}}))
    first = play.job("a")
    play.fail()
    status = play.status()
    assert status["retry"] == {"fail_count": 1, "failed_jobs": [first]}
    second = play.job("a")
    play.fail().end()
    assert play.module(0)["failed_retries"] == [first, second]
    assert "retry" not in play.status()


def test_a_failure_module() -> None:
    play = Play(code("a"), code("b"), failure_module=code("failure")).fail()
    status = play.status()
    assert (status["step"], play.types()) == (2, ["Failure", "WaitingForPriorSteps"])
    assert status["failure_module"] == {"type": "InProgress", "id": "failure", "job": play.job("failure")}
    play.end()
    status = play.status()
    assert (status["step"], status["failure_module"]["type"]) == (2, "Success")
    assert play.types() == ["Failure", "WaitingForPriorSteps"]


def test_a_failure_module_inside_of_a_loop_names_the_loop() -> None:
    play = Play(loop("l", code("x"), code("y")), failure_module=code("failure")).fail()
    inner = play.job("l", 0)
    status = status_of(play.rehearsal, play.flow, inner, "l")
    assert status["failure_module"]["parent_module"] == "l"


def test_an_early_stop() -> None:
    play = Play(code("a", stop_after_if={"expr": "true"}), code("b")).end()
    assert (play.status()["step"], play.types()) == (1, ["Success", "WaitingForPriorSteps"])


def test_an_early_stop_with_an_error_fails_its_step() -> None:
    stops = {"expr": "true", "error_message": "enough"}
    play = Play(code("a", stop_after_if=stops), code("b")).end()
    assert play.rehearsal.status == "failure"
    assert play.module(0) == {"type": "Failure", "id": "a", "job": play.job("a")}
    handled = Play(code("a", stop_after_if=stops), code("b"), failure_module=code("failure")).end()
    assert handled.types() == ["Failure", "WaitingForPriorSteps"]
    handled.end()
    assert handled.types() == ["Failure", "WaitingForPriorSteps"]


def test_a_flow_goes_on_after_an_error() -> None:
    play = Play(code("a", continue_on_error=True), code("b")).fail().end()
    assert (play.rehearsal.status, play.types(), play.status()["step"]) == (
        "success",
        ["Failure", "Success"],
        2,
    )


def test_a_preprocessor() -> None:
    more: Any = {"preprocessor_module": code("preprocessor")}
    play = Play(code("a"), begin=Begin(preprocess=True), **more)
    status = play.status(begun=Begun(preprocess=True))
    assert status["step"] == -1
    assert status["preprocessor_module"]["type"] == "InProgress"
    play.end(result={})
    status = play.status()
    assert (status["step"], status["preprocessor_module"]["type"]) == (0, "Success")
    assert Play(code("a"), **more).status()["preprocessor_module"] is None


def test_what_it_was_restarted_from() -> None:
    told = {"flow_job_id": "old", "step_id": "b", "branch_or_iteration_n": None, "flow_version": None}
    assert Play(code("a")).status(begun=Begun(restarted_from=told))["restarted_from"] == told


def test_of_many_iterations_the_first_are_listed_with_how_many_there_are() -> None:
    body = version({"modules": [loop("l", code("x"))]}).program.root
    first = [Child(f"job{n}", n, "success") for n in range(3)]
    children = {"l": Children(many=first, last=Child("job99", 99, "success"), count=100, bad=1)}
    told = flow_status(body, ROOT, children, None, "failure")["modules"][0]
    assert (told["type"], told["job"], told["flow_jobs"], told["flow_jobs_count"]) == (
        "Failure",
        "job99",
        ["job0", "job1", "job2"],
        100,
    )


# ---------------------------------------------------------------- any flow

_FIELDS = {
    "WaitingForPriorSteps": set(),
    "WaitingForEvents": {"count", "job"},
    "WaitingForExecutor": {"job"},
    "InProgress": {"job", "iterator", "branch_chosen", "branchall", "parallel", "while_loop"},
    "Success": {"job", "branch_chosen", "approvers", "skipped"},
    "Failure": {"job", "branch_chosen"},
}
_JOBS = {"flow_jobs", "flow_jobs_success", "flow_jobs_duration"}


def check(status: dict[str, Any]) -> None:
    for module in [*status["modules"], status["failure_module"]]:
        fields = _FIELDS[module["type"]] | _JOBS | {"type", "id", "failed_retries", "parent_module"}
        assert set(module) <= fields, module
        assert ("job" in module) == (module["type"] != "WaitingForPriorSteps")
        assert ("skipped" in module) == (module["type"] == "Success")
        if "flow_jobs" in module:
            assert set(module) >= _JOBS
            assert len(module["flow_jobs"]) == len(module["flow_jobs_success"])
    types = [module["type"] for module in status["modules"]]
    reached = [kind != "WaitingForPriorSteps" for kind in types]
    assert reached == sorted(reached, reverse=True), types
    assert -1 <= status["step"] <= len(types)
    json.dumps(status)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@pytest.mark.timeout(60 + EXAMPLES / 10)
@given(flows(), st.integers(0, 1000))
def test_any_flow_at_any_time_has_a_status(example: Any, seed: int) -> None:
    value, inner = example
    flow, chance = version(value), random.Random(seed)
    rehearsal = Rehearsal(flow, b'{"n":2}', world(inner))
    for _ in range(500):
        for run in rehearsal.stored.runs:
            status = status_of(rehearsal, flow, run)
            check(status)
            active = [m for m in status["modules"] if m["type"] in {"InProgress", "WaitingForEvents"}]
            assert len(active) <= 1
        if not move(rehearsal, run_script, answer_of, chance.randrange):
            break
    status = status_of(rehearsal, flow)
    check(status)
    if rehearsal.status is not None:
        assert not [m for m in status["modules"] if m["type"] in {"InProgress", "WaitingForEvents"}]
    if rehearsal.status == "failure":
        assert (
            not value["modules"]
            or any(m["type"] == "Failure" for m in status["modules"])
            or (status["step"] == 0)
        )
