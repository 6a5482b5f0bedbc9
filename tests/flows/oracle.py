"""OpenFlow, told plainly: a recursive interpreter that shares no line with the engine's.

Expressions are Python functions of what a step sees, by their JavaScript text; so are scripts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Json = Any
PLAIN = {
    "stop_after_if",
    "stop_after_all_iters_if",
    "skip_if",
    "sleep",
    "suspend",
    "continue_on_error",
    "mock",
    "retry",
}


class Bad(Exception):
    def __init__(self, name: str = "ExpressionError") -> None:
        self.error = {"error": {"name": name}}


@dataclass
class Out:
    """How something ended; `handled`: the failure module has run for it; `own`: no child's fault."""

    status: str
    result: Json
    stop: str = ""
    handled: bool = False
    asked: bool = False
    kept: Json = None  # the step's result, where its body ends with another

    @property
    def is_bad(self) -> bool:
        return self.status == "failure"


@dataclass
class Seen:
    """What an expression sees."""

    previous: Json
    input: Json
    results: dict[str, Json]
    all_iters: Json = None


@dataclass
class Oracle:
    evaluate: Callable[[str, Seen], Json]  # raises Bad
    script: Callable[[str, Json, int], tuple[bool, Json]]  # code, arguments, attempt
    answer: Callable[[str], str]  # the suspended step: approve, refuse, time_out
    flows: dict[str, Json]
    ran: Counter[str]

    def flow(self, value: Json, given: Json) -> Out:
        if value.get("skip_expr") and self.evaluate(value["skip_expr"], Seen(given, given, {})):
            return Out("skipped", "stopped early", "skip")
        modules = value["modules"]
        if modules[-1].keys() & {"sleep", "suspend"}:
            modules = [*modules, {"id": "end", "value": {"type": "identity"}}]
        out = self.body(modules, value.get("failure_module"), given, {})
        return replace(out, status="skipped") if out.stop == "skip" and not out.is_bad else out

    def body(self, modules: list[Json], failure: Json, given: Json, outer: dict[str, Json]) -> Out:
        results, previous, armed = dict(outer), given, False
        for index, module in enumerate(modules):
            seen = Seen(previous, given, results)
            before = modules[index - 1] if index else {}
            unrun: Bad | None = None
            if armed and before.get("suspend", {}).get("required_events"):
                answer = self.answer(before["id"])
                name = {"refuse": "SuspendedDisapproved", "time_out": "SuspendedTimedOut"}.get(answer)
                if name and not before["suspend"].get("continue_on_disapprove_timeout"):
                    return self.fail(Out("failure", Bad(name).error), failure, seen)
            try:
                self.number(before.get("sleep"), seen)
            except Bad as bad:
                unrun = bad
            out = self.tries(module, failure, seen, unrun)
            results[module["id"]] = previous = out.result if out.kept is None else out.kept
            if out.is_bad:
                if not module.get("continue_on_error") or out.stop:
                    return self.fail(out, failure, seen)
                out = Out("failed on", out.result)
            elif out.stop:
                return Out("success", out.result, out.stop)
            armed = out.status == "success"
            stop = module.get("stop_after_if")
            if stop and armed and not out.asked:
                ended = self.stops(stop, Seen(previous, given, results), out)
                if ended is not None:
                    return self.fail(ended, failure, seen) if ended.is_bad else ended
        return Out("success", previous)

    def stops(self, stop: Json, seen: Seen, out: Out) -> Out | None:
        """What an early stop makes of a body; None: there is none."""
        try:
            if not self.evaluate(stop["expr"], seen):
                return None
        except Bad as bad:
            return Out("failure", bad.error, handled=out.handled)
        kind = "skip" if stop.get("skip_if_stopped") else "stop"
        if stop.get("error_message") is None:
            return Out("success", out.result, kind)
        error = Bad("EarlyStopError").error
        if stop.get("error_include_result"):
            error["error"]["result"] = out.result
        return Out("success" if kind == "skip" else "failure", error, kind, out.handled)

    def fail(self, out: Out, failure: Json, seen: Seen) -> Out:
        stop = out.stop.replace("broken", "")
        if failure is None or out.handled:
            return replace(out, stop=stop, kept=None)
        ended = out
        for attempt in range(1, self.retries(failure) + 2):
            try:
                ended = self.leaf(failure, replace(seen, previous=out.result), attempt)
            except Bad as bad:
                ended = Out("failure", bad.error)
            if not ended.is_bad:
                break
        recovers = isinstance(ended.result, dict) and ended.result.get("recover") is True
        return Out("success" if recovers and not ended.is_bad else "failure", ended.result, stop, True)

    def tries(self, module: Json, failure: Json, seen: Seen, unrun: Bad | None) -> Out:
        attempt = 1
        while True:
            try:
                if unrun is not None:
                    raise unrun
                out = self.once(module, failure, seen, attempt)
            except Bad as bad:
                out = Out("failure", bad.error)
            if not out.is_bad or out.stop or attempt > self.retries(module):
                return out
            attempt, unrun = attempt + 1, None

    def retries(self, module: Json) -> int:
        return int(module.get("retry", {}).get("constant", {}).get("attempts", 0))

    def once(self, module: Json, failure: Json, seen: Seen, attempt: int) -> Out:
        value = module["value"]
        if module.get("mock", {}).get("enabled"):
            return Out("success", module["mock"]["return_value"])
        if "skip_if" in module and self.evaluate(module["skip_if"]["expr"], seen):
            return Out("skipped", seen.previous)
        match value["type"]:
            case "rawscript":
                return self.leaf(module, seen, attempt)
            case "flow":
                out = self.flow(self.flows[value["path"]], self.args(value, seen))
                return Out("failure" if out.is_bad else "success", out.result)
            case "identity":
                return Out("success", seen.previous)
            case "branchone":
                taken = (b["modules"] for b in value["branches"] if self.evaluate(b["expr"], seen))
                modules = next(taken, value["default"])
                return (
                    self.inside(modules, failure, seen.input, seen)
                    if modules
                    else Out("success", seen.previous)
                )
            case _:
                return self.many(module, failure, seen)

    def inside(self, modules: list[Json], failure: Json, given: Json, seen: Seen) -> Out:
        out = self.body(modules, failure, given, seen.results)
        return replace(out, handled=out.is_bad and failure is not None)

    def many(self, module: Json, failure: Json, seen: Seen) -> Out:
        """Loops, and all branches."""
        value = module["value"]
        is_loop, side_by_side = (
            value["type"] != "branchall",
            value.get("parallel") and value["type"] != "whileloopflow",
        )
        items = self.items(value, seen)
        done: list[Out] = []
        status, stop, bad = "success", "", False
        for index, item in enumerate(items if items is not None else iter(int, 1)):
            modules = value["modules"] if is_loop else item["modules"]
            given = seen.input
            if is_loop:
                parents = {
                    f"{k}_parent": v for k, v in given.items() if k.startswith("iter") and isinstance(v, dict)
                }
                given = {
                    **given,
                    **parents,
                    "iter": {"index": index, "value": index if items is None else item},
                }
            carries = is_loop and not side_by_side and failure is None and len(modules) == 1
            if carries and modules[0]["value"]["type"] == "rawscript" and not modules[0].keys() & PLAIN:
                previous = done[-1].result if done else seen.previous
                try:
                    done.append(self.leaf(modules[0], Seen(previous, given, seen.results), 1))
                except Bad as error:
                    done.append(Out("failure", error.error))
            else:
                done.append(self.inside(modules, failure, given, seen))
            out = done[-1]
            failed = (
                out.is_bad
                and not value.get("skip_failures")
                and not (not is_loop and item.get("skip_failure"))
            )
            bad = bad or failed
            if side_by_side:
                continue
            if failed or out.stop:
                stop = "" if is_loop else out.stop
                break
            own = module.get("stop_after_if")
            if is_loop and own and not out.is_bad:
                iters = [d.result for d in done]
                try:
                    if self.evaluate(own["expr"], Seen(out.result, seen.input, seen.results, iters)):
                        break
                except Bad as error:
                    return Out("failure", error.error, "broken", kept=iters)
        results = [out.result for out in done]
        handled = bad and failure is not None
        after = module.get("stop_after_all_iters_if")
        if after and not stop:
            known = {**seen.results, module["id"]: results}
            ended = self.stops(after, Seen(results, seen.input, known), Out("", results, handled=handled))
            if ended is not None:
                return replace(ended, stop=ended.stop or "broken", kept=results)
        return Out("failure" if bad else status, results, stop, handled, asked=True)

    def items(self, value: Json, seen: Seen) -> list[Json] | None:
        if value["type"] == "branchall":
            return list(value["branches"])
        if value["type"] == "whileloopflow":
            return None if value["modules"] else []
        found = self.transform(value["iterator"], seen)
        if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
            found = list(range(found))
        if not isinstance(found, list):
            raise Bad("ExecutionErr")
        return found if value["modules"] else []

    def leaf(self, module: Json, seen: Seen, attempt: int) -> Out:
        args = self.args(module["value"], seen)
        self.ran[module["id"]] += 1
        good, result = self.script(module["value"]["content"], args, attempt)
        return Out("success" if good else "failure", result)

    def args(self, value: Json, seen: Seen) -> Json:
        return {name: self.transform(each, seen) for name, each in value["input_transforms"].items()}

    def number(self, transform: Json, seen: Seen) -> None:
        found = 0 if transform is None else self.transform(transform, seen)
        if isinstance(found, bool) or not isinstance(found, int | float) or found < 0:
            raise Bad("ExecutionErr")

    def transform(self, transform: Json, seen: Seen) -> Json:
        return transform["value"] if transform["type"] == "static" else self.evaluate(transform["expr"], seen)
