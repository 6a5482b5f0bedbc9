"""OpenFlow, told plainly: a recursive interpreter that shares no line with the engine's.

Expressions are Python functions of what a step sees, by their JavaScript text; so are scripts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any, NamedTuple

Json = Any
REFUSALS = {"refuse": "SuspendedDisapproved", "time_out": "SuspendedTimedOut"}


class Bad(Exception):
    def __init__(self, name: str = "ExpressionError", **more: Json) -> None:
        self.error = {"error": {"name": name, **more}}


class Out(NamedTuple):
    """How something ended. `stop`: so does what is around it; "broken": that, but only as a failure."""

    status: str
    result: Json
    stop: str = ""
    handled: bool = False  # the failure module has run for it
    asked: bool = False  # about an early stop
    kept: Json = None  # the step's result, where its body ends with another


class Seen(NamedTuple):
    """What an expression sees."""

    previous: Json
    input: Json
    results: dict[str, Json]
    all_iters: Json = None


class Oracle(NamedTuple):
    evaluate: Callable[[str, Seen], Json]  # raises Bad
    script: Callable[[str, Json, int], tuple[bool, Json]]  # code, arguments, attempt
    answer: Callable[[str], str]  # the suspended step: approve, refuse, time_out
    flows: dict[str, Json]
    ran: Counter[str]

    def flow(self, value: Json, given: Json) -> Out:
        if value.get("skip_expr") and self.evaluate(value["skip_expr"], Seen(given, given, {})):
            return Out("skipped", "stopped early")
        # What the last step says of the next one holds for the flow's end too.
        modules = [*value["modules"], {"id": "end", "value": {"type": "identity"}}]
        out = self.body(modules, value.get("failure_module"), Seen(given, given, {}))
        return out._replace(status="skipped") if (out.status, out.stop) == ("success", "skip") else out

    def body(self, modules: list[Json], failure: Json, seen: Seen) -> Out:
        seen = seen._replace(results=dict(seen.results))
        before: Json = {}
        armed = False
        for module in modules:
            suspend = before.get("suspend", {})
            refusal = armed and suspend.get("required_events") and REFUSALS.get(self.answer(before["id"]))
            if refusal and not suspend.get("continue_on_disapprove_timeout"):
                return self.end(Out("failure", Bad(refusal).error), failure, seen)
            out = self.tries(module, partial(self.once, module, before.get("sleep"), failure, seen))
            result = out.result if out.kept is None else out.kept
            seen.results[module["id"]] = result
            if out.status == "failure" and module.get("continue_on_error") and not out.stop:
                out = Out("failed on", result)
            before, armed, seen = module, out.status == "success", seen._replace(previous=result)
            asks = module.get("stop_after_if") if armed and not out.asked else None
            ended = out if out.status == "failure" or out.stop else self.stops(asks, seen, out)
            if ended:
                return self.end(ended, failure, seen)
        return Out("success", seen.previous)

    def end(self, out: Out, failure: Json, seen: Seen) -> Out:
        """What a body ends with; the innermost that fails runs the failure module."""
        stop = out.stop.replace("broken", "")
        if out.status == "success" or failure is None or out.handled:
            return Out(out.status, out.result, stop, out.handled)
        told = self.tries(failure, partial(self.leaf, failure, seen._replace(previous=out.result)))
        says = told.result.get("recover") if isinstance(told.result, dict) else None
        recovers = told.status == "success" and says is True
        return Out("success" if recovers else "failure", told.result, stop, handled=not recovers)

    def stops(self, stop: Json, seen: Seen, out: Out) -> Out | None:
        """What an early stop makes of a body; None: there is none."""
        try:
            if not stop or not self.evaluate(stop["expr"], seen):
                return None
        except Bad as bad:
            return Out("failure", bad.error, handled=out.handled)
        kind = "skip" if stop.get("skip_if_stopped") else "stop"
        if stop.get("error_message") is None:
            return Out("success", out.result, kind)
        more = {"result": out.result} if stop.get("error_include_result") else {}
        error = Bad("EarlyStopError", **more).error
        return Out("success" if kind == "skip" else "failure", error, kind, out.handled)

    def tries(self, module: Json, run: Callable[[int], Out], attempt: int = 1) -> Out:
        try:
            out = run(attempt)
        except Bad as bad:
            out = Out("failure", bad.error)
        retries = module.get("retry", {"constant": {"attempts": 0}})["constant"]["attempts"]
        is_over = out.status != "failure" or out.stop or attempt > retries
        return out if is_over else self.tries(module, run, attempt + 1)

    def once(self, module: Json, sleep: Json, failure: Json, seen: Seen, attempt: int) -> Out:
        value = module["value"]
        pause = self.told(sleep, seen) if sleep and attempt == 1 else 0
        if type(pause) not in {int, float} or pause < 0:
            raise Bad("ExecutionErr")
        if module.get("mock", {}).get("enabled"):
            return Out("success", module["mock"]["return_value"])
        if "skip_if" in module and self.evaluate(module["skip_if"]["expr"], seen):
            return Out("skipped", seen.previous)
        match value["type"]:
            case "rawscript":
                return self.leaf(module, seen, attempt)
            case "flow":
                out = self.flow(self.flows[value["path"]], self.args(value, seen))
                return Out("failure" if out.status == "failure" else "success", out.result)
            case "branchone":
                taken = (b["modules"] for b in value["branches"] if self.evaluate(b["expr"], seen))
                modules = next(taken, value["default"])
                return self.body(modules, failure, seen._replace(previous=seen.input) if modules else seen)
            case "identity":
                return Out("success", seen.previous)
            case _:
                return self.many(module, failure, seen)

    def many(self, module: Json, failure: Json, seen: Seen) -> Out:
        """Loops, and all branches."""
        value = module["value"]
        is_loop = value["type"] != "branchall"
        in_order = value["type"] == "whileloopflow" or not value.get("parallel")
        asks = module.get("stop_after_if") if is_loop and in_order else None
        plain = [m.keys() == {"id", "value"} and "content" in m["value"] for m in value.get("modules", [])]
        carries_on = plain == [True] and in_order and failure is None
        out, results, bad = Out("", seen.previous), [], False
        for modules, given, is_forgiven in self.children(value, seen):
            out = self.body(modules, failure, Seen(out.result if carries_on else given, given, seen.results))
            results.append(out.result)
            bad = bad or (out.status == "failure" and not is_forgiven)
            # Whether it breaks; what else the stop says is not heard of a loop.
            breaks = {"expr": asks["expr"]} if asks and out.status != "failure" and not out.stop else None
            ended = self.stops(breaks, Seen(out.result, seen.input, seen.results, results), out)
            if ended and ended.status == "failure":
                return ended._replace(stop="broken", kept=results)
            if in_order and (bad or out.stop or ended):
                break
        stop = out.stop if in_order and not is_loop else ""
        whole = Out("failure" if bad else "success", results, stop, bad and failure is not None, asked=True)
        known = Seen(results, seen.input, {**seen.results, module["id"]: results})
        ended = None if stop else self.stops(module.get("stop_after_all_iters_if"), known, whole)
        return ended._replace(stop=ended.stop or "broken", kept=results) if ended else whole

    def children(self, value: Json, seen: Seen) -> Iterable[tuple[list[Json], Json, bool]]:
        """The modules of each iteration or branch, its input, and whether it may fail."""
        if value["type"] == "branchall":
            return [(each["modules"], seen.input, each["skip_failure"]) for each in value["branches"]]
        items = count() if value["type"] == "whileloopflow" else self.told(value["iterator"], seen)
        if type(items) is int and items >= 0:
            items = range(items)
        if not isinstance(items, list | range | count):
            raise Bad("ExecutionErr")
        outer = {f"{name}_parent": told for name, told in seen.input.items() if name.startswith("iter")}
        each = enumerate(items if value["modules"] else ())
        inputs = ({**seen.input, **outer, "iter": {"index": at, "value": item}} for at, item in each)
        return ((value["modules"], given, value["skip_failures"]) for given in inputs)

    def leaf(self, module: Json, seen: Seen, attempt: int) -> Out:
        args = self.args(module["value"], seen)
        self.ran[module["id"]] += 1
        good, result = self.script(module["value"]["content"], args, attempt)
        return Out("success" if good else "failure", result)

    def args(self, value: Json, seen: Seen) -> Json:
        return {name: self.told(each, seen) for name, each in value["input_transforms"].items()}

    def told(self, transform: Json, seen: Seen) -> Json:
        return transform["value"] if transform["type"] == "static" else self.evaluate(transform["expr"], seen)
