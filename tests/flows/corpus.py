"""Flows for tests: parts to put together, and whole ones without faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def js(expr: str) -> dict[str, Any]:
    return {"type": "javascript", "expr": expr}


def static(value: Any) -> dict[str, Any]:
    return {"type": "static", "value": value}


def raw(step: str, *reads: str, **options: Any) -> dict[str, Any]:
    """A step of code that reads these expressions."""
    return {
        "id": step,
        "value": {
            "type": "rawscript",
            "language": "python3",
            "content": "def main(**args): return args",
            "input_transforms": {f"in{index}": js(expr) for index, expr in enumerate(reads)},
        },
        **options,
    }


def changed(step: str, **value: Any) -> dict[str, Any]:
    """A step of code whose `value` has these fields."""
    module = raw(step)
    module["value"] |= value
    return module


def loop(step: str, *modules: Any, over: str = "flow_input.items", **options: Any) -> dict[str, Any]:
    return {
        "id": step,
        "value": {"type": "forloopflow", "iterator": js(over), "skip_failures": False, "modules": [*modules]},
        **options,
    }


def repeat(step: str, *modules: Any, **options: Any) -> dict[str, Any]:
    value = {"type": "whileloopflow", "skip_failures": False, "modules": [*modules]}
    return {"id": step, "value": value, **options}


def either(step: str, expr: str, then: list[Any], default: list[Any]) -> dict[str, Any]:
    branches = [{"expr": expr, "modules": then, "summary": "yes"}]
    return {"id": step, "value": {"type": "branchone", "branches": branches, "default": default}}


def both(step: str, *branches: list[Any], **value: Any) -> dict[str, Any]:
    told = [{"modules": modules, "skip_failure": False} for modules in branches]
    return {"id": step, "value": {"type": "branchall", "branches": told, **value}}


def flow(*modules: Any, **fields: Any) -> dict[str, Any]:
    """A flow's `value`."""
    return {"modules": [*modules], **fields}


#: Something of everything.
BIG: dict[str, Any] = flow(
    raw(
        "load",
        "flow_input.url",
        "flow_env.REGION",
        "variable('f/demo/token')",
        summary="Load",
        retry={
            "constant": {"attempts": 2, "seconds": 5},
            "exponential": {"attempts": 3, "multiplier": 2, "seconds": 3, "random_factor": 10},
            "retry_if": {"expr": "error.name != 'Fatal'"},
        },
        stop_after_if={"expr": "result.rows.length == 0", "skip_if_stopped": True, "error_message": "none"},
        timeout=static(30),
        cache_ttl=600,
        priority=50,
    ),
    {
        "id": "charge",
        "value": {
            "type": "script",
            "path": "f/demo/charge",
            "hash": "0123456789abcdef",
            "tag_override": "gpu",
            "input_transforms": {"rows": js("results.load?.rows ?? []"), "key": static("$res:f/demo/key")},
        },
        "skip_if": {"expr": "results['load'].rows.every(row => row.paid)"},
        "sleep": js("results.charge.wait"),
        "suspend": {
            "required_events": 2,
            "timeout": 3600,
            "resume_form": {"schema": {"type": "object", "properties": {}}},
            "user_auth_required": True,
            "user_groups_required": static(["admins"]),
            "self_approval_disabled": True,
            "continue_on_disapprove_timeout": False,
            "skin": "plain",
        },
        "continue_on_error": True,
    },
    loop(
        "each",
        raw("inner", "flow_input.iter.value", "results.load", "results.charge"),
        both(
            "split",
            [raw("left", "results.inner")],
            [raw("right", "results.inner"), loop("again", raw("deep", "results.right"), over="[1, 2]")],
            [],
            parallel=True,
        ),
        raw("joined", "results.split[0]"),
        over="const rows = results.load.rows; return rows.slice(0, 10)",
        stop_after_all_iters_if={"expr": "all_iters.length > 3", "error_message": None},
    ),
    repeat(
        "until",
        raw("try", "results.try ?? 0", "flow_input.iter.index", stop_after_if={"expr": "result > 3"}),
        mock={"enabled": False, "return_value": [1, None]},
    ),
    either(
        "which",
        "results.each.length > 2 && previous_result",
        [raw("yes", "results.until")],
        [{"id": "no", "value": {"type": "identity"}}],
    ),
    {
        "id": "sub-flow",
        "value": {
            "type": "flow",
            "path": "u/bob/other",
            "input_transforms": {"x": js("await results.which")},
        },
        "delete_after_secs": 60,
    },
    changed(
        "send",
        language="bun",
        content="export function main() {}",
        lock="",
        tag="mail",
        concurrent_limit=3,
        concurrency_time_window_s=10,
        custom_concurrency_key="$workspace",
        assets=[],
        input_transforms={"all": js('[results["sub-flow"], ...results.each] // results.nothing')},
    ),
    failure_module=raw("failure", "error.message", "results.load", "results.deep"),
    preprocessor_module=raw("preprocessor", "event.body"),
    same_worker=False,
    preserve_step_tags=True,
    concurrent_limit=1,
    concurrency_key="$args[user]",
    concurrency_time_window_s=60,
    skip_expr="flow_input.user == null",
    cache_ttl=60,
    flow_env={"REGION": "eu", "TOKEN": "$var:f/demo/token", "LIMITS": {"n": 3}},
    priority=10,
    early_return="charge",
    notes=[],
    groups=[{"start_id": "load", "end_id": "charge"}],
    chat_input_enabled=False,
)
BIG["modules"][2]["value"]["parallel"] = True
BIG["modules"][2]["value"]["parallelism"] = static(4)

VALUES: dict[str, dict[str, Any]] = {
    "empty": flow(),
    "one step": flow(raw("a")),
    "everything": BIG,
    "plain numbers, as old exports have them": flow(
        raw("a", timeout=30), {**loop("b"), "value": {**loop("b")["value"], "parallelism": 2}}
    ),
    "empty bodies": flow(loop("a"), repeat("b"), either("c", "true", [], []), both("d")),
    "reads what came before": flow(
        raw("a"), loop("b", raw("c", "results.a"), over="results.a"), raw("d", "results.b")
    ),
}

SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {}}


def document(value: Any, **fields: Any) -> dict[str, Any]:
    return {"summary": "A flow", "description": "", "schema": SCHEMA, "value": value, **fields}


def files() -> dict[str, Any]:
    """The flows that lie in the repository as files."""
    found = [file for name in ("examples", "tests", "bench") for file in (ROOT / name).rglob("flow.yaml")]
    return {str(file.relative_to(ROOT)): yaml.safe_load(file.read_text(encoding="utf-8")) for file in found}


DOCUMENTS: dict[str, Any] = {name: document(value) for name, value in VALUES.items()} | files()

#: Members that name something: every one of them means what it says.
_NAMED = {"input_transforms", "flow_env", "properties"}
UNHEARD = {"since": "tomorrow", "n": 2**70, "in": [None, {}, ""], "ß": 0.1}


def with_unheard(told: Any, key: str = "") -> Any:
    """The same with fields that nobody has heard of in every object of the format."""
    if isinstance(told, list):
        return [with_unheard(item) for item in told]
    if not isinstance(told, dict):
        return told
    inner = {name: with_unheard(item, name) for name, item in told.items()}
    return inner if key in _NAMED else inner | {"unheard_of": UNHEARD}
