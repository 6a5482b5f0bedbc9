"""Flows of every kind, with what Python and the oracle need to run them.

A script is named by what it does; an expression stands in `VALUES` or `TRUTHS` with its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.flows.oracle import Bad, Seen

Json = Any


def _boom(_: Seen) -> Json:
    raise Bad


def _read(name: str) -> Callable[[Seen], Json]:
    return lambda seen: seen.results.get(name)


def _error(value: Json) -> bool:
    return isinstance(value, dict) and bool(value.get("error"))


def _true(value: Json) -> bool:
    return isinstance(value, list | dict) or bool(value)


VALUES: dict[str, Callable[[Seen], Json]] = {
    "flow_input.n": lambda seen: seen.input.get("n"),
    "flow_input": lambda seen: seen.input,
    "previous_result": lambda seen: seen.previous,
    "flow_input.iter ? flow_input.iter.index : -1": lambda seen: seen.input.get("iter", {"index": -1})[
        "index"
    ],
    "flow_input.iter?.value": lambda seen: seen.input.get("iter", {}).get("value"),
    "flow_input.iter_parent?.index": lambda seen: seen.input.get("iter_parent", {}).get("index"),
    "Array.isArray(previous_result) ? previous_result.length : 7": lambda seen: (
        len(seen.previous) if isinstance(seen.previous, list) else 7
    ),
    "results.nowhere.boom": _boom,
    "[1, 2]": lambda _: [1, 2],
    "undefined": lambda _: None,
}
TRUTHS: dict[str, Callable[[Seen], bool]] = {
    "true": lambda _: True,
    "false": lambda _: False,
    "flow_input.n === 2": lambda seen: seen.input.get("n") == 2,
    "flow_input.iter && flow_input.iter.index >= 1": lambda seen: (
        seen.input.get("iter", {"index": 0})["index"] >= 1
    ),
    "Array.isArray(result)": lambda seen: isinstance(seen.previous, list),
    "previous_result && previous_result.error": lambda seen: _error(seen.previous),
    "results.nowhere.boom": _boom,
}
ITERATIONS = {f"flow_input.iter.index >= {n}": n for n in range(3)}


def evaluate(expr: str, seen: Seen) -> Json:
    if expr in ITERATIONS:
        return seen.input["iter"]["index"] >= ITERATIONS[expr]
    if expr.startswith("all_iters.length >= "):
        return len(seen.all_iters) >= int(expr[-1])
    if expr in TRUTHS and expr != "results.nowhere.boom":
        return _true(TRUTHS[expr](seen))
    if expr in VALUES:
        return VALUES[expr](seen)
    return _read(expr.removeprefix("results."))(seen)


def run_script(code: str, args: Json, attempt: int) -> tuple[bool, Json]:
    """Return whether a script succeeds, and its result."""
    what, _, number = code.partition(" ")
    given = args.get("x")
    fails = {
        "fail": True,
        "fail_before": attempt < int(number or 0),
        "fail_odd": isinstance(given, int) and given % 2 == 1,
    }.get(what, False)
    if fails:
        return False, {"error": {"name": what, "message": code}}
    match what:
        case "const":
            return True, {"v": int(number)}
        case "recover":
            return True, {"recover": True, "got": given}
        case "list":
            return True, [given]
        case _:
            return True, given


_SCRIPTS = ["echo", "echo", "echo", "const 1", "list", "fail", "fail_odd", "fail_before 2", "fail_before 3"]


class _Maker:
    def __init__(self, draw: DrawFn, flows: list[str]) -> None:
        self._draw = draw
        self._numbers = st.integers(0, 59)
        self.ids: list[str] = []
        self.flows = flows
        self.room = 9  # modules that may still be made

    def below(self, end: int) -> int:
        return self._draw(self._numbers) % end

    def pick(self, choices: list[Any]) -> Any:
        return choices[self.below(len(choices))]

    def odds(self, one_in: int) -> bool:
        """Whether something rare is there; the simplest flow has nothing of it."""
        return self.below(one_in) == one_in - 1

    def transform(self) -> Json:
        number = self.below(len(VALUES) + 3)
        if number == 0:
            return {"type": "static", "value": self.below(4)}
        if number <= len(VALUES):
            return {"type": "javascript", "expr": list(VALUES)[number - 1]}
        return {"type": "javascript", "expr": f"results.{self.pick(self.ids)}" if self.ids else "true"}

    def truth(self) -> str:
        return str(self.pick(list(TRUTHS)))

    def stop(self, *, whole: bool = False) -> Json:
        stop: Json = {"expr": self.truth(), "skip_if_stopped": self.odds(3)}
        if self.odds(3):
            stop["error_message"] = self.pick(["", "too much"])
            stop["error_include_result"] = self.odds(2)
        return stop

    def modules(self, depth: int, least: int = 0) -> list[Json]:
        return [self.module(depth) for _ in range(least + self.below(3))]

    def module(self, depth: int) -> Json:
        self.room -= 1
        name = f"s{len(self.ids)}"
        kinds = ["rawscript", "rawscript", "rawscript", "identity"]
        if self.flows:
            kinds.append("flow")
        if depth < 3 and self.room > 0:
            kinds += ["forloopflow", "forloopflow", "whileloopflow", "branchone", "branchall"]
        kind = self.pick(kinds)
        self.ids.append(name)
        module: Json = {"id": name, "value": getattr(self, kind)(depth + 1)}
        self._options(module)
        return module

    def rawscript(self, _: int) -> Json:
        return {
            "type": "rawscript",
            "language": "python3",
            "content": self.pick(_SCRIPTS),
            "input_transforms": {"x": self.transform()},
        }

    def identity(self, _: int) -> Json:
        return {"type": "identity"}

    def flow(self, _: int) -> Json:
        return {"type": "flow", "path": self.pick(self.flows), "input_transforms": {"n": self.transform()}}

    def forloopflow(self, depth: int) -> Json:
        iterators: list[Json] = [
            {"type": "static", "value": [3, 4, 5]},
            {"type": "static", "value": [1]},
            {"type": "static", "value": []},
            {"type": "static", "value": 2},
            {"type": "javascript", "expr": "[1, 2]"},
            self.transform(),
        ]
        value: Json = {
            "type": "forloopflow",
            "modules": self.modules(depth),
            "iterator": self.pick(iterators),
        }
        value["skip_failures"] = self.odds(2)
        if self.odds(2):
            value["parallel"] = True
            if self.odds(2):
                value["parallelism"] = 1 + self.below(2)
        return value

    def whileloopflow(self, depth: int) -> Json:
        first: Json = {"id": f"s{len(self.ids)}", "value": self.rawscript(0)}
        first["value"] |= {"content": "const 5", "input_transforms": {}}
        first["stop_after_if"] = {"expr": self.pick(list(ITERATIONS)), "skip_if_stopped": self.odds(3)}
        self.ids.append(first["id"])
        modules = [first, *self.modules(depth)]
        return {"type": "whileloopflow", "modules": modules, "skip_failures": self.odds(2)}

    def branchone(self, depth: int) -> Json:
        branches = [{"expr": self.truth(), "modules": self.modules(depth)} for _ in range(self.below(3))]
        return {"type": "branchone", "branches": branches, "default": self.modules(depth)}

    def branchall(self, depth: int) -> Json:
        branches = [
            {"modules": self.modules(depth), "skip_failure": self.odds(2)} for _ in range(self.below(4))
        ]
        return {"type": "branchall", "branches": branches, "parallel": self.odds(2)}

    def _options(self, module: Json) -> None:
        kind = module["value"]["type"]
        if self.odds(5):
            module["retry"] = {"constant": {"attempts": 1 + self.below(2), "seconds": self.below(2) * 5}}
        if self.odds(6):
            module["continue_on_error"] = True
        if self.odds(8):
            module["skip_if"] = {"expr": self.truth()}
        if self.odds(10):
            module["mock"] = {"enabled": self.odds(2), "return_value": self.pick([None, 1, {"v": 1}, [1]])}
        if self.odds(10):
            module["sleep"] = self.pick(
                [{"type": "static", "value": 3}, {"type": "static", "value": 0}, {"type": "static", "value": -1},
                 self.transform()]
            )  # fmt: skip
        if self.odds(12):
            module["suspend"] = {
                "required_events": self.below(2),
                "continue_on_disapprove_timeout": self.odds(3),
            }
        if self.odds(6):
            module["stop_after_if"] = self.stop()
            if kind in {"forloopflow", "whileloopflow"} and not module.get("mock") and self.odds(2):
                module["stop_after_if"]["expr"] = f"all_iters.length >= {1 + self.below(3)}"
        if kind in {"forloopflow", "whileloopflow", "branchall"} and self.odds(4):
            module["stop_after_all_iters_if"] = self.stop()

    def failure(self) -> Json:
        module: Json = {"id": "failure", "value": self.rawscript(0)}
        module["value"]["content"] = self.pick(["echo", "recover", "fail", "fail_before 2"])
        if self.odds(3):
            module["retry"] = {"constant": {"attempts": 1, "seconds": 0}}
        return module

    def value(self) -> Json:
        value: Json = {"modules": self.modules(0, least=1)}
        if self.odds(3):
            value["failure_module"] = self.failure()
        if self.odds(20):
            value["skip_expr"] = "flow_input.n === 2"
        return value


#: How the approval of a suspended step is answered, by the digits in its id.
def answer_of(step: str) -> str:
    return ("approve", "refuse", "time_out")[int(step[1:]) % 3]


@st.composite
def flows(draw: DrawFn) -> tuple[Json, dict[str, Json]]:
    """A flow's value, and the flows it may run, by path."""
    known: dict[str, Json] = {}
    if draw(st.integers(0, 3)) == 3:
        maker = _Maker(draw, [])
        maker.room = 3
        known["f/generated/inner"] = maker.value()
    return _Maker(draw, list(known)).value(), known
