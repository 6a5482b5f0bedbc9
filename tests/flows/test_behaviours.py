"""Windmill's documented behaviours, one test each, and where we chose otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mill_actors.flows.machine import advance
from mill_actors.flows.program import compile_flow
from mill_actors.flows.recovery import ChildRow, OpenChild, recover
from mill_actors.flows.rehearsal import Rehearsal, World
from mill_actors.flows.run import Run, RunScope
from mill_actors.flows.state import (
    Begin,
    Ended,
    Lost,
    Phase,
    Recount,
    Resume,
    State,
    Transition,
    decode_state,
)
from mill_actors.flows.stored import Row
from tests.flows.theatre import EVALUATOR, step, version, world

Json = Any


def js(expr: str) -> Json:
    return {"type": "javascript", "expr": expr}


def static(value: Json) -> Json:
    return {"type": "static", "value": value}


def raw(name: str, code: str = "echo", /, *, x: Json = None, inputs: Json = None, **options: Json) -> Json:
    """A step that runs a script on `x`, which is an expression if it is text."""
    transforms = inputs if inputs is not None else {"x": js(x) if isinstance(x, str) else static(x)}
    value = {"type": "rawscript", "language": "python3", "content": code, "input_transforms": transforms}
    return {"id": name, "value": value, **options}


def identity(name: str, **options: Json) -> Json:
    return {"id": name, "value": {"type": "identity"}, **options}


def loop(
    name: str, over: Json, *modules: Json, skip: bool = False, parallel: bool = False, **options: Json
) -> Json:
    iterator = js(over) if isinstance(over, str) else static(over)
    width = {"parallelism": options.pop("parallelism")} if "parallelism" in options else {}
    value = {
        "type": "forloopflow",
        "iterator": iterator,
        "modules": modules,
        "skip_failures": skip,
        "parallel": parallel,
    }
    return {"id": name, "value": value | width, **options}


def repeat(name: str, *modules: Json, skip: bool = False, **options: Json) -> Json:
    return {
        "id": name,
        "value": {"type": "whileloopflow", "modules": modules, "skip_failures": skip},
        **options,
    }


def one(
    name: str, *branches: tuple[str, list[Json]], default: list[Json] | None = None, **options: Json
) -> Json:
    told = [{"expr": expr, "modules": modules} for expr, modules in branches]
    return {"id": name, "value": {"type": "branchone", "branches": told, "default": default or []}, **options}


def every(
    name: str, *branches: list[Json], parallel: bool = False, forgiven: tuple[int, ...] = (), **options: Json
) -> Json:
    told = [{"modules": modules, "skip_failure": place in forgiven} for place, modules in enumerate(branches)]
    return {"id": name, "value": {"type": "branchall", "branches": told, "parallel": parallel}, **options}


def inner(name: str, path: str, inputs: Json = None, **options: Json) -> Json:
    return {"id": name, "value": {"type": "flow", "path": path, "input_transforms": inputs or {}}, **options}


def stop(expr: str = "true", **options: Json) -> Json:
    return {"expr": expr, "skip_if_stopped": False, **options}


def again(attempts: int = 1, seconds: float = 0, **options: Json) -> Json:
    return {"constant": {"attempts": attempts, "seconds": seconds}, **options}


def perform(code: str, args: Json, attempt: int) -> tuple[bool, Json]:
    """The scripts of these tests: `fail` raises, `fail 2` in its first two attempts."""
    what, _, number = code.partition(" ")
    given = args.get("x")
    failed = False, {"error": {"name": "Boom", "message": code}}
    match what:
        case "fail":
            return failed if attempt <= int(number or 99) else (True, given)
        case "odd":
            return failed if given % 2 else (True, given)
        case "args":
            return True, args
        case "attempt":
            return True, attempt
        case _:
            return True, given


class Played:
    def __init__(
        self, modules: list[Json], args: Json = None, flows: dict[str, Json] | None = None, **options: Json
    ) -> None:
        begin = options.pop("begin", None)
        self.answer: Callable[[str], str] = options.pop("answer", lambda _: "approve")
        self.world: World = options.pop("world", None) or world(flows or {})
        self.flow = version({"modules": modules, **options})
        given = json.dumps({} if args is None else args).encode()
        self.rehearsal = Rehearsal(self.flow, given, self.world, evaluator=EVALUATOR, begin=begin)

    def play(self) -> Played:
        while step(self.rehearsal, perform, self.answer):
            pass
        return self

    @property
    def status(self) -> str | None:
        return self.rehearsal.status

    @property
    def result(self) -> Json:
        return None if self.rehearsal.result is None else json.loads(self.rehearsal.result)

    @property
    def ended(self) -> tuple[str | None, Json]:
        return self.status, self.result

    @property
    def error(self) -> str:
        assert self.status == "failure"
        return str(self.result["error"]["name"])

    @property
    def error_of_items(self) -> list[str]:
        return [item["error"]["name"] for item in self.result]

    def all(self, name: str) -> list[Row]:
        return [row for row in self.rehearsal.rows if row.step == name]

    def ran(self, name: str) -> bool:
        return bool(self.all(name))

    def of(self, name: str) -> Json:
        return json.loads(self.all(name)[-1].result or b"null")


def play(*modules: Json, args: Json = None, **options: Json) -> Played:
    return Played(list(modules), args, **options).play()


ECHO = raw("seen", x="previous_result")
FAILURE = {
    "failure_module": raw("failure", "args", inputs={"name": js("error.name"), "step": js("error.step_id")})
}
RECOVER = {"failure_module": raw("failure", x=None, inputs={"x": static({"recover": True})})}


# -- the flow and its steps ----------------------------------------------------------------


def test_the_last_steps_result_is_the_flows() -> None:
    assert play(raw("a", x=1), raw("b", x="results.a + 1")).ended == ("success", 2)


def test_an_empty_flow_returns_its_input() -> None:
    assert play(args={"n": 1}).ended == ("success", {"n": 1})


def test_previous_result_of_the_first_step_is_the_input() -> None:
    assert play(ECHO, args={"n": 1}).result == {"n": 1}


def test_previous_result_is_that_of_the_step_before() -> None:
    assert play(raw("a", x=5), ECHO).result == 5


def test_identity_passes_the_previous_result_on() -> None:
    assert play(raw("a", x=5), identity("b"), ECHO).result == 5


def test_a_thousand_identities_end() -> None:
    played = play(*[identity(f"s{n}") for n in range(1000)], args={"n": 1})
    assert played.ended == ("success", {"n": 1})
    assert len(played.rehearsal.rows) == 1000


def test_an_unknown_step_reads_as_undefined() -> None:
    assert play(raw("a", x="results.nowhere")).result is None


def test_a_later_step_reads_as_undefined() -> None:
    assert play(raw("a", x="results.b"), raw("b", x=1), raw("c", x="results.a")).result is None


def test_each_input_is_evaluated_for_itself() -> None:
    assert play(raw("a", "args", inputs={"x": static(1), "y": js("typeof x")})).result == {
        "x": 1,
        "y": "undefined",
    }


def test_a_failed_input_fails_its_step() -> None:
    assert play(raw("a", x="results.nowhere.b")).error == "ExpressionError"


def test_flow_env_is_seen() -> None:
    assert play(raw("a", x="flow_env.GREETING"), flow_env={"GREETING": "hello"}).result == "hello"


def test_variables_and_resources_are_seen() -> None:
    reachable = World(variables={"f/a/v": "secret"}, resources={"f/a/r": b'{"port": 1}'})
    modules = [raw("a", x="variable('f/a/v')"), raw("b", x="[results.a, resource('f/a/r').port]")]
    assert play(*modules, world=reachable).result == ["secret", 1]


def test_a_script_that_is_not_there_fails_its_step() -> None:
    missing = {"id": "a", "value": {"type": "script", "path": "f/a/b", "input_transforms": {}}}
    assert play(missing).error == "ScriptNotFound"
    assert play(missing | {"continue_on_error": True}, raw("b", x=2)).result == 2


def test_skip_expr_ends_the_flow_as_skipped() -> None:
    assert play(raw("a"), args={"n": 1}, skip_expr="flow_input.n == 1").ended == ("skipped", "stopped early")


def test_a_broken_skip_expr_fails_the_flow() -> None:
    assert play(raw("a"), skip_expr="nothing.at.all").error == "ExpressionError"


def test_early_return_gives_the_steps_result_while_the_flow_goes_on() -> None:
    played = play(raw("a", x=1), raw("b", x=2), early_return="a")
    assert (played.rehearsal.stored.early, played.result) == (b"1", 2)


def test_early_return_of_a_failed_step_waits_for_the_failure_module() -> None:
    assert play(raw("a", "fail"), early_return="a", **FAILURE).rehearsal.stored.early is None


def test_early_return_waits_for_the_last_try() -> None:
    played = play(raw("a", "fail 1", x=1, retry=again()), early_return="a")
    assert played.rehearsal.stored.early == b"1"


# -- mock, skip_if -------------------------------------------------------------------------


def test_a_mock_is_its_result() -> None:
    played = play(raw("a", "fail", mock={"enabled": True, "return_value": 7}), ECHO)
    assert played.result == 7


def test_a_mock_without_a_value_is_null() -> None:
    assert play(raw("a", x=1, mock={"enabled": True})).ended == ("success", None)


def test_a_mocked_loop_is_its_value_and_no_array() -> None:
    played = play(
        loop("l", [1, 2], raw("a"), mock={"enabled": True, "return_value": 7}), raw("b", x="results.l")
    )
    assert played.result == 7
    assert not played.ran("a")


def test_a_mock_wins_over_skip_if_and_stops() -> None:
    mocked = raw(
        "a",
        mock={"enabled": True, "return_value": 7},
        skip_if={"expr": "true"},
        stop_after_if=stop("result == 7"),
    )
    assert play(mocked, raw("b")).ended == ("success", 7)


def test_a_disabled_mock_is_none() -> None:
    assert play(raw("a", x=1, mock={"enabled": False, "return_value": 7})).result == 1


def test_a_skipped_step_passes_the_previous_result_on() -> None:
    played = play(raw("a", x=5), raw("b", skip_if={"expr": "previous_result == 5"}), ECHO)
    assert played.result == 5
    assert played.all("b")[0].status == "skipped"


def test_a_skipped_loop_passes_the_previous_result_on() -> None:
    assert play(raw("a", x=5), loop("l", [1], raw("c"), skip_if={"expr": "true"}), ECHO).result == 5


def test_a_skipped_step_does_not_stop() -> None:
    assert play(raw("a", skip_if={"expr": "true"}, stop_after_if=stop()), raw("b", x=2)).result == 2


def test_a_skipped_step_asks_for_no_approval() -> None:
    played = play(
        raw("a", skip_if={"expr": "true"}, suspend={"required_events": 1}), raw("b", x=2), answer=pytest.fail
    )
    assert played.result == 2


def test_a_broken_skip_if_fails_the_step() -> None:
    played = play(
        raw("a", skip_if={"expr": "nowhere.b"}, continue_on_error=True),
        raw("b", x="previous_result.error.name"),
    )
    assert played.result == "ExpressionError"


# -- stop_after_if -------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "result"), [(-123, -123), (123, "last step saw 123")])
def test_stop_after_if(n: int, result: Json) -> None:
    modules = [
        raw("a", x="flow_input.n", stop_after_if=stop("result < 0")),
        raw("b", x="`last step saw ${results.a}`"),
    ]
    assert play(*modules, args={"n": n}).ended == ("success", result)


@pytest.mark.parametrize("n", [-123, 123])
def test_stop_after_if_in_a_branch_stops_the_flow(n: int) -> None:
    inside = [raw("b", x="flow_input.n", stop_after_if=stop("result < 0"))]
    played = play(every("a", inside), raw("c", x="`last step saw ${results.a}`"), args={"n": n})
    assert played.result == ([-123] if n < 0 else "last step saw 123")


def test_stop_after_if_in_branchone_stops_the_flow() -> None:
    played = play(one("a", ("true", [raw("b", x=1, stop_after_if=stop())])), raw("c"))
    assert (played.ended, played.ran("c")) == (("success", 1), False)


def test_stop_after_if_in_a_branch_keeps_its_skip() -> None:
    played = play(one("a", ("true", [raw("b", x=1, stop_after_if=stop(skip_if_stopped=True))])), raw("c"))
    assert played.ended == ("skipped", 1)


def test_stop_after_if_in_a_parallel_branch_ends_that_branch() -> None:
    inside = [raw("b", x=1, stop_after_if=stop()), raw("c", x=2)]
    assert play(every("a", inside, [raw("d", x=3)], parallel=True), ECHO).result == [1, 3]


def test_stop_after_if_in_a_loop_breaks_the_loop_alone() -> None:
    inside = [raw("b", x="flow_input.iter.value", stop_after_if=stop("result == 2")), identity("c")]
    assert play(loop("a", [1, 2, 3], *inside), ECHO).result == [1, 2]


def test_stop_after_if_in_a_parallel_loop_ends_that_iteration() -> None:
    inside = [raw("b", x="flow_input.iter.value", stop_after_if=stop("result == 2")), raw("c", x=0)]
    assert play(loop("a", [1, 2, 3], *inside, parallel=True), ECHO).result == [0, 2, 0]


def test_stop_after_if_of_a_loop_is_asked_after_each_iteration() -> None:
    played = play(
        loop("a", [1, 2, 3], raw("b", x="flow_input.iter.value"), stop_after_if=stop("result == 2")), ECHO
    )
    assert played.result == [1, 2]


def test_stop_after_if_of_a_loop_drops_its_message_and_skip() -> None:
    told = stop(error_message="no", skip_if_stopped=True)
    assert play(loop("a", [1, 2], raw("b", x=1), stop_after_if=told), ECHO).ended == ("success", [1])


def test_stop_after_if_of_a_parallel_loop_is_not_heard() -> None:
    assert play(loop("a", [1, 2], raw("b", x=1), parallel=True, stop_after_if=stop()), ECHO).result == [1, 1]


def test_stop_after_if_of_branchall_is_not_heard() -> None:
    assert play(every("a", [raw("b", x=1)], stop_after_if=stop()), raw("c", x=2)).result == 2


def test_stop_after_if_of_branchone_is_asked_about_the_branch() -> None:
    assert play(one("a", ("true", [raw("b", x=1)]), stop_after_if=stop("result == 1")), raw("c")).ended == (
        "success",
        1,
    )


def test_stop_after_if_in_a_nested_flow_ends_that_flow_alone() -> None:
    nested = {"f/a/b": {"modules": [raw("x", x=1, stop_after_if=stop(skip_if_stopped=True)), raw("y")]}}
    assert play(inner("a", "f/a/b"), raw("b", x="results.a + 1"), flows=nested).ended == ("success", 2)


def test_a_nested_flow_that_stopped_is_asked_whether_to_stop() -> None:
    nested = {"f/a/b": {"modules": [raw("x", x=1, stop_after_if=stop(skip_if_stopped=True)), raw("y")]}}
    modules = [inner("a", "f/a/b", stop_after_if=stop("result == 1")), raw("b", x=2)]
    assert play(*modules, flows=nested).ended == ("success", 1)


def test_stop_after_if_is_not_asked_of_a_failed_step() -> None:
    assert play(raw("a", "fail", continue_on_error=True, stop_after_if=stop()), raw("b", x=2)).result == 2


def test_stop_after_if_sees_all_iterations_so_far() -> None:
    stops = stop("all_iters.length == 2")
    assert play(loop("a", [5, 6, 7], raw("b", x="flow_input.iter.value"), stop_after_if=stops)).result == [
        5,
        6,
    ]


@pytest.mark.parametrize(
    ("message", "told"), [("", "stop after if: result == 1"), ("too small", "too small")]
)
def test_an_early_stop_with_a_message_is_a_failure(message: str, told: str) -> None:
    played = play(raw("a", x=1, stop_after_if=stop("result == 1", error_message=message)), raw("b"))
    assert played.ended == ("failure", {"error": {"name": "EarlyStopError", "message": told}})


def test_an_early_stop_with_a_message_that_skips_is_none() -> None:
    played = play(raw("a", x=1, stop_after_if=stop(error_message="no", skip_if_stopped=True)))
    assert played.ended == ("skipped", {"error": {"name": "EarlyStopError", "message": "no"}})


def test_an_early_stop_may_include_the_result() -> None:
    played = play(raw("a", x=1, stop_after_if=stop(error_message="no", error_include_result=True)))
    assert played.result["error"]["result"] == 1


def test_an_early_stop_with_a_message_runs_the_failure_module() -> None:
    played = play(raw("a", x=1, stop_after_if=stop(error_message="no")), raw("b"), **FAILURE)
    assert played.ended == ("failure", {"name": "EarlyStopError", "step": "a"})


def test_an_early_stop_with_a_message_is_not_tried_again() -> None:
    told = stop(error_message="no")
    played = play(
        one("o", ("true", [raw("a", x=1, stop_after_if=told)]), retry=again(3), continue_on_error=True),
        raw("b"),
    )
    assert played.error == "EarlyStopError"
    assert len(played.all("a")) == 1


def test_a_broken_stop_after_if_fails_the_flow_and_not_the_step() -> None:
    played = play(
        raw("a", x=1, stop_after_if=stop("nowhere.b"), retry=again(), continue_on_error=True),
        raw("b"),
        **FAILURE,
    )
    assert played.ended == ("failure", {"name": "ExpressionError", "step": "a"})
    assert len(played.all("a")) == 1


@pytest.mark.parametrize("parallel", [False, True])
def test_stop_after_all_iters_if_stops_the_flow(parallel: bool) -> None:
    told = stop("result.length == 2")
    played = play(loop("a", [1, 2], raw("b", x=1), parallel=parallel, stop_after_all_iters_if=told), raw("c"))
    assert played.ended == ("success", [1, 1])


def test_stop_after_all_iters_if_includes_the_array() -> None:
    told = stop(error_message="no", error_include_result=True)
    assert play(every("a", [raw("b", x=1)], stop_after_all_iters_if=told)).result["error"]["result"] == [1]


def test_stop_after_all_iters_if_is_asked_of_a_failed_loop_too() -> None:
    assert (
        play(loop("a", [1], raw("b", "fail"), stop_after_all_iters_if=stop()), raw("c")).status == "success"
    )


def test_a_broken_stop_after_all_iters_if_runs_the_failure_module() -> None:
    for parallel in (False, True):
        looped = loop("l", [1], raw("a", x=1), parallel=parallel, stop_after_all_iters_if=stop("nowhere.b"))
        assert play(looped, **FAILURE).result == {"name": "ExpressionError", "step": "l"}


# -- failing -------------------------------------------------------------------------------


def test_a_failed_step_fails_the_flow_with_its_result() -> None:
    assert play(raw("a", "fail"), raw("b")).ended == (
        "failure",
        {"error": {"name": "Boom", "message": "fail"}},
    )


def test_continue_on_error_goes_on_with_the_error() -> None:
    assert (
        play(raw("a", "fail", continue_on_error=True), raw("b", x="previous_result.error.name")).result
        == "Boom"
    )


def test_continue_on_error_on_the_last_step_is_a_success() -> None:
    played = play(raw("a", "fail", continue_on_error=True), **FAILURE)
    assert (played.status, played.result["error"]["name"], played.ran("failure")) == (
        "success",
        "Boom",
        False,
    )


def test_a_step_that_was_passed_over_asks_for_no_approval() -> None:
    modules = [raw("a", "fail", continue_on_error=True, suspend={"required_events": 1}), raw("b", x=2)]
    assert play(*modules, answer=pytest.fail).result == 2


def test_the_failure_module_sees_the_error_and_its_result_is_the_flows() -> None:
    assert play(raw("a", "fail"), raw("b"), **FAILURE).ended == ("failure", {"name": "Boom", "step": "a"})


def test_the_failure_module_recovers() -> None:
    assert play(raw("a", "fail"), **RECOVER).ended == ("success", {"recover": True})


def test_a_failed_failure_module_is_the_result() -> None:
    assert (
        play(raw("a", "fail"), failure_module=raw("failure", "fail 2", x=1)).result["error"]["message"]
        == "fail 2"
    )


def test_the_failure_module_is_tried_again() -> None:
    again_and_again = raw("failure", "fail 2", x=1, retry=again(2))
    assert play(raw("a", "fail"), failure_module=again_and_again).ended == ("failure", 1)


def test_a_failure_module_with_a_broken_input_is_tried_again_and_fails() -> None:
    played = play(raw("a", "fail"), failure_module=raw("failure", x="nowhere.b", retry=again(1)))
    assert (played.error, len(played.rehearsal.rows)) == ("ExpressionError", 3)


def test_the_failure_module_runs_where_the_error_is_and_not_again() -> None:
    played = play(loop("l", [1, 2], raw("a", "fail"), raw("b")), **FAILURE)
    assert played.result == [{"name": "Boom", "step": "a"}]
    assert len(played.all("failure")) == 1


def test_the_failure_module_runs_inside_each_parallel_iteration() -> None:
    played = play(loop("l", [1, 2], raw("a", "fail"), parallel=True), **FAILURE)
    assert (played.status, len(played.all("failure"))) == ("failure", 2)


def test_an_iteration_that_was_recovered_is_a_success() -> None:
    assert play(loop("l", [1, 2], raw("a", "fail")), ECHO, **RECOVER).ended == (
        "success",
        [{"recover": True}] * 2,
    )


def test_the_failure_module_runs_for_a_nested_flow_that_has_run_its_own() -> None:
    nested = {"f/a/b": {"modules": [raw("x", "fail")], "failure_module": raw("failure", "fail", x=1)}}
    played = play(inner("a", "f/a/b"), flows=nested, **FAILURE)
    assert (played.result, len(played.all("failure"))) == ({"name": "Boom", "step": "a"}, 2)


def test_the_error_of_a_failed_loop_is_that_of_its_iteration() -> None:
    over = loop("l", "nowhere.b", raw("a"))
    assert play(over, **FAILURE).result == {"name": "ExpressionError", "step": "l"}


def test_a_cancelled_step_is_not_tried_again() -> None:
    played = Played([raw("a", retry=again(3)), raw("b")])
    played.rehearsal.finish(played.rehearsal.ready[0].id, "cancelled", b'{"error": {"name": "Canceled"}}')
    assert (played.error, len(played.rehearsal.rows)) == ("Canceled", 1)


def test_the_error_of_a_loop_with_one_failed_iteration_is_its_error() -> None:
    failing = one("o", default=[raw("a", "fail")])
    played = play(inner("n", "f/a/b"), flows={"f/a/b": {"modules": [loop("l", [1], failing)]}}, **FAILURE)
    assert played.result == {"name": "Boom", "step": "n"}


def test_the_error_of_a_loop_with_several_failed_iterations_names_them() -> None:
    message = {"failure_module": raw("failure", x="error.message")}
    flows = {"f/a/b": {"modules": [loop("l", [1, 2], raw("a", "fail"), parallel=True)]}}
    assert play(inner("n", "f/a/b"), flows=flows, **message).result == "[0] fail; [1] fail"


def test_a_broken_stop_after_if_of_a_loop_fails_the_flow() -> None:
    modules = [
        loop("l", [1], raw("a", x=1), stop_after_if=stop("nowhere.b"), retry=again(), continue_on_error=True),
        raw("b"),
    ]
    assert play(*modules).error == "ExpressionError"
    assert play(*modules, **FAILURE).result == {"name": "ExpressionError", "step": "l"}


def test_iter_is_seen_without_flow_input() -> None:
    assert play(loop("l", [5], raw("a", x="iter.value")), raw("b", x="typeof iter")).result == "undefined"
    assert play(loop("l", [5], raw("a", x="iter.value"))).result == [5]


def test_a_body_that_ran_nothing_is_tried_again() -> None:
    played = play(loop("l", [1], identity("a"), identity("b"), raw("c", x="nowhere.b"), retry=again(1)))
    assert (played.error_of_items, [row.step for row in played.rehearsal.rows if row.parent == "root"]) == (
        ["ExpressionError"], ["l~0", "l"])  # fmt: skip


def test_a_rename_of_the_failure_module() -> None:
    handler = raw("on_failure", x="error.name")
    assert play(raw("a", "fail"), failure_module=handler).result == "Boom"


# -- retry ---------------------------------------------------------------------------------


def test_a_failed_step_is_tried_again() -> None:
    played = play(raw("a", "fail 2", x=1, retry=again(2)))
    assert played.result == 1
    assert [row.step for row in played.rehearsal.rows] == ["a~0", "a~1", "a"]


def test_a_try_waits() -> None:
    played = Played([raw("a", "fail", x=1, retry=again(1, seconds=5))])
    assert [job.delay_seconds for job in played.rehearsal.ready] == [0.0]
    step(played.rehearsal, perform)
    assert [(job.delay_seconds, job.attempt) for job in played.rehearsal.ready] == [(5.0, 2)]


def test_exponential_tries_count_the_constant_ones() -> None:
    retry = again(1, seconds=7, exponential={"attempts": 2, "multiplier": 2, "seconds": 3})
    played, waits = Played([raw("a", "fail", x=1, retry=retry)]), []
    while played.rehearsal.ready:
        waits.append(played.rehearsal.ready[0].delay_seconds)
        step(played.rehearsal, perform)
    assert waits == [0.0, 7.0, 18.0, 54.0]


def test_retry_if_sees_the_error() -> None:
    played = play(raw("a", "fail", x=1, retry=again(5, retry_if={"expr": "error.name != 'Boom'"})))
    assert (played.error, len(played.rehearsal.rows)) == ("Boom", 1)


def test_a_broken_retry_if_is_no_retry() -> None:
    assert len(play(raw("a", "fail", retry=again(5, retry_if={"expr": "nowhere.b"}))).rehearsal.rows) == 1


def test_a_loop_is_tried_again_as_a_whole_after_a_pause() -> None:
    played = Played(
        [loop("l", [1, 2], raw("a", "odd", x="flow_input.iter.value"), retry=again(1, seconds=5))]
    )
    step(played.rehearsal, perform)
    assert [seconds for _, seconds in played.rehearsal.sleeping] == [5.0]
    played.play()
    assert [row.step for row in played.rehearsal.rows] == ["l~0", "l"]


def test_a_nested_flow_is_tried_again_after_a_pause() -> None:
    nested = {"f/a/b": {"modules": [raw("x", "fail")]}}
    played = Played([inner("a", "f/a/b", retry=again(1, seconds=5))], flows=nested)
    step(played.rehearsal, perform)
    assert [seconds for _, seconds in played.rehearsal.sleeping] == [5.0]
    assert len([row for row in played.play().rehearsal.rows if row.step == "x"]) == 2


def test_a_step_inside_a_loop_is_tried_again() -> None:
    assert play(loop("l", [1, 2], raw("a", "fail 1", x=1, retry=again()))).result == [1, 1]


def test_a_retry_does_not_see_the_last_try() -> None:
    assert play(raw("a", "fail 1", x="results.a ?? 'none'", retry=again())).result == "none"


# -- loops ---------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [False, True])
def test_a_loop_returns_an_array_in_the_order_of_its_items(parallel: bool) -> None:
    assert play(loop("l", [3, 1, 2], raw("a", x="flow_input.iter.value"), parallel=parallel)).result == [
        3,
        1,
        2,
    ]


def test_the_iterator_sees_the_previous_result() -> None:
    assert play(raw("a", x=[1, 2]), loop("l", "result", raw("b", x="flow_input.iter.index"))).result == [0, 1]


@pytest.mark.parametrize("value", [{"a": 1}, "text", None, True, -1, 1.5])
def test_an_iterator_that_is_no_array_fails_the_loop(value: Json) -> None:
    looped = loop("l", [], raw("a"))
    looped["value"]["iterator"] = static(value)
    played = play(looped)
    assert played.error == "ExecutionErr"
    assert "Expected an array value in the iterator expression" in played.result["error"]["message"]


def test_an_iterator_may_be_a_number() -> None:
    assert play(loop("l", 3, raw("a", x="flow_input.iter.value"))).result == [0, 1, 2]


def test_a_broken_iterator_is_tried_again_like_any_failure() -> None:
    played = play(loop("l", "nowhere.b", raw("a"), retry=again(1), continue_on_error=True), raw("c", x=3))
    assert played.result == 3
    assert [row.step for row in played.rehearsal.rows] == ["l~0", "l", "c"]


@pytest.mark.parametrize("parallel", [False, True])
def test_a_loop_over_nothing_is_an_empty_array(parallel: bool) -> None:
    assert play(loop("l", [], raw("a"), parallel=parallel)).result == []
    assert play(loop("l", [], raw("a"), parallel=parallel), raw("b", x="results.l")).result == []


def test_a_loop_of_nothing_is_an_empty_array() -> None:
    assert play(loop("l", [1, 2])).result == []


def test_a_failed_iteration_ends_a_loop_with_the_array_so_far() -> None:
    played = play(loop("l", [2, 3, 4], raw("a", "odd", x="flow_input.iter.value")))
    assert (played.status, [type(item) for item in played.result]) == ("failure", [int, dict])


def test_a_failed_iteration_of_a_parallel_loop_ends_it_when_all_have_ended() -> None:
    played = play(loop("l", [2, 3, 4], raw("a", "odd", x="flow_input.iter.value"), parallel=True))
    assert (played.status, [type(item) for item in played.result]) == ("failure", [int, dict, int])


@pytest.mark.parametrize("parallel", [False, True])
def test_skip_failures_keeps_the_error_in_the_array(parallel: bool) -> None:
    played = play(loop("l", [2, 3], raw("a", "odd", x="flow_input.iter.value"), parallel=parallel, skip=True))
    assert (played.status, played.result[1]["error"]["name"]) == ("success", "Boom")


def test_ten_thousand_iterations_with_failed_expressions_end() -> None:
    items = [{"id": n} for n in range(10_000)]
    played = play(loop("l", items, raw("a", x="results.nowhere.b"), skip=True))
    assert (played.status, len(played.result)) == ("success", 10_000)


def test_parallelism_is_how_many_run_at_a_time() -> None:
    played = Played([loop("l", 5, raw("a", x=1), parallel=True, parallelism=2)])
    assert [job.iteration for job in played.rehearsal.ready] == [0, 1]
    played.rehearsal.finish(played.rehearsal.ready[1].id, "success", b"1")
    assert [job.iteration for job in played.rehearsal.ready] == [0, 2]


def test_the_items_of_nested_loops() -> None:
    inside = raw("a", x="[flow_input.iter_parent.value, flow_input.iter.value]")
    assert play(loop("o", [1, 2], loop("i", "[flow_input.iter.value * 10]", inside))).result == [
        [[1, 10]],
        [[2, 20]],
    ]


def test_a_branch_in_a_loop_sees_the_item() -> None:
    assert play(loop("l", [1, 2], one("o", default=[raw("a", x="flow_input.iter.value")]))).result == [1, 2]


def test_a_plain_step_in_a_loop_sees_the_iteration_before() -> None:
    assert play(raw("a", x=5), loop("l", 3, raw("b", x="previous_result + 1"))).result == [6, 7, 8]


def test_the_first_of_several_steps_in_a_loop_sees_the_input() -> None:
    inside = [raw("b", x="previous_result.iter.index"), identity("c")]
    assert play(raw("a", x=5), loop("l", 2, *inside)).result == [0, 1]


def test_results_from_inside_a_loop_are_not_seen_outside() -> None:
    assert play(loop("l", 2, raw("a", x=1)), raw("b", x="results.a")).result is None


def test_results_from_outside_a_loop_are_seen_inside() -> None:
    assert play(raw("a", x=5), loop("l", 1, raw("b", x="results.a"), identity("c"))).result == [5]


def test_the_results_of_a_loop_are_not_seen_inside_it() -> None:
    assert play(loop("l", 2, raw("a", x="typeof results.l"), identity("b"))).result == ["undefined"] * 2


def test_a_while_loop_ends_by_an_inner_stop() -> None:
    inside = raw("a", x="flow_input.iter.index", stop_after_if=stop("result == 2"))
    assert play(repeat("w", inside), raw("b", x="results.w")).result == [0, 1, 2]


def test_a_while_loop_ends_by_its_own_stop() -> None:
    assert play(
        repeat("w", raw("a", x="flow_input.iter.value"), stop_after_if=stop("result >= 1"))
    ).result == [0, 1]


def test_a_failed_iteration_ends_a_while_loop() -> None:
    assert play(repeat("w", raw("a", "odd", x="flow_input.iter.value"))).status == "failure"


def test_a_while_loop_with_skip_failures_goes_on() -> None:
    played = play(
        repeat("w", raw("a", "odd", x="flow_input.iter.value"), skip=True, stop_after_if=stop("result == 2"))
    )
    assert (played.status, len(played.result)) == ("success", 3)


def test_a_while_loop_of_nothing_is_an_empty_array() -> None:
    assert play(repeat("w")).result == []


# -- branches ------------------------------------------------------------------------------


def test_branchone_takes_the_first_that_is_true() -> None:
    assert play(one("o", ("0", []), ("1", [raw("a", x=1)]), ("true", [raw("b", x=2)]))).result == 1


def test_branchone_takes_the_default_otherwise() -> None:
    assert play(one("o", ("false", []), default=[raw("a", x=1)])).result == 1


def test_branchone_without_branches_takes_the_default() -> None:
    assert (
        play(one("o", default=[raw("a", x=1), raw("b", x="results.a + 1")]), raw("c", x="results.o")).result
        == 2
    )


def test_an_empty_branch_of_branchone_passes_the_previous_result_on() -> None:
    assert play(raw("a", x=5), one("o", ("true", [])), ECHO).result == 5


def test_a_broken_predicate_fails_the_step() -> None:
    played = play(
        one("o", ("nowhere.b", []), continue_on_error=True), raw("b", x="previous_result.error.name")
    )
    assert played.result == "ExpressionError"


@pytest.mark.parametrize("parallel", [False, True])
def test_branchall_returns_an_array(parallel: bool) -> None:
    assert play(every("a", [raw("b", x=1)], [raw("c", x=2)], parallel=parallel)).result == [1, 2]


def test_branchall_without_branches_is_an_empty_array() -> None:
    assert play(every("a"), raw("b", x="results.a")).result == []


@pytest.mark.parametrize("parallel", [False, True])
def test_an_empty_branch_of_branchall_is_the_input(parallel: bool) -> None:
    assert play(every("a", [], [raw("c", x=2)], parallel=parallel), ECHO, args={"n": 1}).result == [
        {"n": 1},
        2,
    ]


def test_a_failed_branch_ends_a_sequential_branchall() -> None:
    played = play(every("a", [raw("b", "fail")], [raw("c", x=2)]))
    assert (played.status, [item["error"]["name"] for item in played.result]) == ("failure", ["Boom"])


def test_a_failed_branch_of_a_parallel_branchall_lets_the_others_end() -> None:
    played = play(every("a", [raw("b", "fail")], [raw("c", x=2)], parallel=True))
    assert (played.status, played.result[1]) == ("failure", 2)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_failed_branch_that_is_forgiven_is_in_the_array(parallel: bool) -> None:
    played = play(every("a", [raw("b", "fail")], [raw("c", x=[1, 2])], parallel=parallel, forgiven=(0,)))
    assert (played.status, played.result[0]["error"]["name"], played.result[1]) == ("success", "Boom", [1, 2])


def test_branchall_inside_branchall() -> None:
    def pair(name: str, last: int) -> Json:
        return every(name, [raw(f"{name}x", x=[1, last])], [raw(f"{name}y", x=4)])

    played = play(every("a", [every("b", [pair("c", 2)], [pair("d", 3)])], [raw("e", x=[1, 6])]))
    assert played.result == [[[[1, 2], 4], [[1, 3], 4]], [1, 6]]


# -- nested flows --------------------------------------------------------------------------


def test_a_nested_flow_gets_its_inputs_and_returns_its_result() -> None:
    nested = {"f/a/b": {"modules": [raw("x", x="flow_input.n + 1")]}}
    assert play(inner("a", "f/a/b", {"n": static(1)}), raw("b", x="results.a + 1"), flows=nested).result == 3


def test_a_nested_flow_does_not_see_the_results_around_it() -> None:
    nested = {"f/a/b": {"modules": [raw("x", x="results.a")]}}
    assert play(raw("a", x=1), inner("b", "f/a/b"), flows=nested).result is None


def test_a_nested_flow_that_is_not_there_fails_its_step() -> None:
    assert play(inner("a", "f/a/b")).error == "FlowNotFound"


def test_a_flow_that_runs_itself_fails() -> None:
    played = Played([])
    itself = version({"modules": [inner("a", "f/a/b")]})
    played.rehearsal = Rehearsal(itself, b"{}", World(flow=lambda _: itself), evaluator=EVALUATOR)
    assert played.error == "FlowTooDeep"


# -- sleep, suspend ------------------------------------------------------------------------


def test_sleep_is_after_its_step() -> None:
    played = Played([raw("a", x=2, sleep=js("result * 10")), raw("b", x=3)])
    step(played.rehearsal, perform)
    assert [seconds for _, seconds in played.rehearsal.sleeping] == [20]
    assert played.play().result == 3


def test_a_sleep_that_is_no_number_fails_the_next_step() -> None:
    played = play(raw("a", sleep=static("long")), raw("b"))
    assert (played.error, played.all("b")[0].status) == ("ExecutionErr", "failure")


def test_suspend_gates_the_next_step() -> None:
    played = Played(
        [
            raw("a", x=1, suspend={"required_events": 2}),
            raw("b", x="[resume, resumes, approvers, previous_result]"),
        ]
    )
    step(played.rehearsal, perform)
    for name in ("ann", "ben"):
        [waiting] = played.rehearsal.suspended
        played.rehearsal.answer(
            waiting.id, Resume(approved=True, value=json.dumps(name).encode(), approver=name)
        )
    assert played.play().result == ["ben", ["ann", "ben"], ["ann", "ben"], 1]


def test_suspend_for_no_events_is_none() -> None:
    assert play(raw("a", suspend={"required_events": 0}), raw("b", x=2), answer=pytest.fail).result == 2


@pytest.mark.parametrize(
    ("answer", "name"), [("refuse", "SuspendedDisapproved"), ("time_out", "SuspendedTimedOut")]
)
def test_a_refused_approval_fails_the_gated_step(answer: str, name: str) -> None:
    modules = [
        raw("a", suspend={"required_events": 1}),
        raw("b", continue_on_error=True, retry=again(3)),
        raw("c"),
    ]
    played = play(*modules, answer=lambda _: answer)
    assert (played.error, played.all("b")[0].status, len(played.all("b")), played.ran("c")) == (
        name,
        "failure",
        1,
        False,
    )


def test_a_refused_approval_names_who_refused() -> None:
    played = play(raw("a", suspend={"required_events": 1}), raw("b"), answer=lambda _: "refuse")
    assert played.result == {"error": {"name": "SuspendedDisapproved", "message": "Disapproved by ruben"}}


def test_a_refused_approval_runs_the_failure_module() -> None:
    played = play(
        raw("a", suspend={"required_events": 1}),
        raw("b", continue_on_error=True),
        answer=lambda _: "refuse",
        **FAILURE,
    )
    assert played.ended == ("failure", {"name": "SuspendedDisapproved", "step": "b"})


@pytest.mark.parametrize("answer", ["refuse", "time_out"])
def test_a_refused_approval_may_go_on_with_the_error(answer: str) -> None:
    suspend = {"required_events": 1, "continue_on_disapprove_timeout": True}
    played = play(raw("a", suspend=suspend), raw("b", x="resume.error.name"), answer=lambda _: answer)
    assert played.result in {"SuspendedDisapproved", "SuspendedTimedOut"}


def test_a_refused_approval_before_a_loop_is_the_loops_result_and_no_array() -> None:
    played = play(
        raw("a", suspend={"required_events": 1}),
        loop("l", [1], raw("b")),
        answer=lambda _: "refuse",
        **FAILURE,
    )
    assert played.result == {"name": "SuspendedDisapproved", "step": "l"}


def test_the_sleep_is_after_the_approval() -> None:
    played = Played([raw("a", suspend={"required_events": 1}, sleep=static(5)), raw("b", x=2)])
    step(played.rehearsal, perform)
    assert not played.rehearsal.sleeping
    step(played.rehearsal, perform)
    assert len(played.rehearsal.sleeping) == 1
    assert played.play().result == 2


def test_an_approval_after_the_last_step_gates_the_end_of_the_flow() -> None:
    played = play(raw("a", x=1, suspend={"required_events": 1}), answer=lambda _: "refuse")
    assert played.error == "SuspendedDisapproved"
    assert play(raw("a", x=1, suspend={"required_events": 1})).result == 1


def test_an_approval_after_the_last_step_of_a_branch_is_not_asked_for() -> None:
    played = play(one("o", default=[raw("a", x=1, suspend={"required_events": 1})]), ECHO, answer=pytest.fail)
    assert played.result == 1


# -- the preprocessor, restarts ------------------------------------------------------------


@pytest.mark.parametrize(("returned", "seen"), [({"n": 2}, {"n": 2}), (None, {}), (5, {"value": 5})])
def test_the_preprocessors_result_is_the_input(returned: Json, seen: Json) -> None:
    preprocessor = raw("preprocessor", "echo", inputs={})
    assert (
        play(
            ECHO, args={"x": returned}, preprocessor_module=preprocessor, begin=Begin(preprocess=True)
        ).result
        == seen
    )


def test_the_preprocessor_runs_only_when_asked_to() -> None:
    assert play(ECHO, args={"n": 1}, preprocessor_module=raw("preprocessor", "fail")).result == {"n": 1}


def test_a_failed_preprocessor_fails_the_flow() -> None:
    options = {"preprocessor_module": raw("preprocessor", "fail"), "begin": Begin(preprocess=True)}
    assert play(ECHO, **options).error == "Boom"
    assert play(ECHO, **options, **FAILURE).result == {"name": "Boom", "step": "preprocessor"}


def test_a_preprocessor_is_tried_again() -> None:
    preprocessor = raw("preprocessor", "fail 1", retry=again(1, seconds=5))
    assert play(
        ECHO, args={"x": {"n": 3}}, preprocessor_module=preprocessor, begin=Begin(preprocess=True)
    ).result == {"n": 3}


def test_a_restart_begins_at_its_step_with_no_approval_before() -> None:
    played = play(
        raw("a", suspend={"required_events": 1}), raw("b", x=2), begin=Begin(at=1), answer=pytest.fail
    )
    assert (played.result, played.ran("a")) == (2, False)


def test_a_restart_inside_a_loop_begins_at_its_iteration() -> None:
    played = play(loop("l", [5, 6, 7], raw("a", x="flow_input.iter.value")), begin=Begin(iteration=2))
    assert [row.iteration for row in played.rehearsal.rows] == [2]


def test_a_sleep_after_the_last_step_is_before_a_step_that_does_nothing() -> None:
    compiled = compile_flow(json.dumps({"modules": [raw("a", sleep=static(1))]}).encode())
    assert [module.id for module in compiled.root.steps] == ["a", "a-v"]


# -- what was lost -------------------------------------------------------------------------


def root_of(played: Played) -> Run:
    kept = played.rehearsal.snapshot().runs["root"]
    root = Run("root", played.flow, played.flow.program.root, played.rehearsal.ready[0].run.owner)
    root.state = decode_state(kept.state)
    return root


def test_what_is_old_changes_nothing() -> None:
    played = Played([raw("a", x=1), raw("b", x=2)])
    root = root_of(played)
    nothing = played.rehearsal._memory
    for event in (
        Begin(),
        Ended("a", None, "another", "success", b"1"),
        Ended("b", None, "another", "success", b"1"),
    ):
        assert advance(root.body, root.state, event, RunScope(root, nothing)) == Transition(root.state, [])


def test_of_a_step_with_one_child_only_that_one_counts() -> None:
    played = Played([loop("l", [1, 2, 3], raw("a", x=1))])
    step(played.rehearsal, perform)
    [job] = played.rehearsal.ready
    root = root_of(played)
    assert recover(root, [], [OpenChild(job.id, 1)]) == []
    assert recover(root, [], []) == [Lost()]
    assert recover(root, [ChildRow("another", "l", 0, "success")], []) == [Lost()]
    ended = ChildRow(job.id, "l", 1, "failure", b"1", "stop")
    assert recover(root, [ended], []) == [Ended("l", 1, job.id, "failure", b"1", "stop")]


def test_of_a_parallel_step_all_are_counted() -> None:
    played = Played([loop("l", [1, 2, 3, 4], raw("a", x=1), parallel=True, parallelism=3)])
    first, second, third = (job.id for job in played.rehearsal.ready)
    root = root_of(played)
    under_way = [OpenChild(first, 0), OpenChild(second, 1), OpenChild(third, 2)]
    assert recover(root, [], under_way) == []
    assert recover(root, [], under_way[:2]) == [Recount(0, 0, (2,))]
    ended = [
        ChildRow(first, "l", 0, "failure"),
        ChildRow(second, "l", 1, "success"),
        ChildRow("x", "l~0", 2, "failure"),
    ]
    assert recover(root, ended, under_way[2:]) == [Recount(2, 1, ())]


def test_what_has_not_begun_begins_and_what_waits_for_a_time_waits_on() -> None:
    played = Played([raw("a", x=1, sleep=static(5)), raw("b")])
    root = root_of(played)
    root.state = State()
    assert recover(root, [], []) == [Begin()]
    assert recover(root, [], [], Begin(at=1)) == [Begin(at=1)]
    root.state = State(Phase.SLEEPING, 1)
    assert recover(root, [], []) == []


def test_a_lost_preprocessor_and_a_lost_failure_module_run_again() -> None:
    flow = {"modules": [raw("a", x=1, stop_after_if=stop(error_message="no"))], **FAILURE}
    flow["preprocessor_module"] = raw("preprocessor", x=None)
    begin = Begin(preprocess=True)
    played = Played([], world=World())
    played.flow = version(flow)
    played.rehearsal = Rehearsal(played.flow, b"{}", evaluator=EVALUATOR, begin=begin)
    for _ in range(4):
        lost = [job.id for job in played.rehearsal.ready]
        stored = played.rehearsal.snapshot()
        played.rehearsal = Rehearsal.resume(played.flow, stored, lost=lost, evaluator=EVALUATOR, begin=begin)
        step(played.rehearsal, perform)
    assert played.ended == ("failure", {"name": "EarlyStopError", "step": "a"})
