"""The shapes of OpenFlow: what modules and flows may hold. Required is what Windmill's schema requires."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from mill_actors.flows.checks import (
    Check,
    Inspection,
    anything,
    boolean,
    fields,
    integer,
    items,
    optional,
    record,
    text,
)
from mill_actors.flows.fault import kind, shown
from mill_actors.flows.settings import (
    RETRY,
    SECONDS,
    STOP,
    SUSPEND,
    iterator,
    parallelism,
    predicate,
    timeout,
)
from mill_actors.flows.steps import RESERVED
from mill_actors.flows.transforms import MISSING, expression, skip, transform, unknown_type
from mill_actors.jobs.script import PATH

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")

# ---------------------------------------------------------------- modules


def modules(told: Inspection, value: Any, path: str) -> None:
    """Check a list of modules."""
    items(module)(told, value, path)


def module(told: Inspection, value: Any, path: str) -> None:
    """Check a module and all in it."""
    fields(structs.replace(told, step=told.steps.by_path.get(path)), value, path, MODULE, ["id", "value"])


def _id(told: Inspection, value: Any, path: str) -> None:
    step = told.step
    if not isinstance(value, str):
        told.fault(path, f"must be text, not {kind(value)}")
    elif not _ID.fullmatch(value):
        told.fault(path, f"is {shown(value)}; an id has up to 100 letters, digits, _ and -")
    elif step is not None and value in RESERVED and value != step.kind:
        told.fault(path, f"{value} is reserved")
    elif step is not None and told.steps.by_id[value].path != step.path:
        told.fault(path, f"{value} is the id of {told.steps.by_id[value].path} too")


def _module_value(told: Inspection, value: Any, path: str) -> None:
    if not isinstance(value, dict):
        told.fault(path, f"must be an object with a type, not {kind(value)}")
        return
    told_type = value.get("type", MISSING)
    if isinstance(told_type, str) and told_type.startswith("ai"):
        told.fault(
            f"{path}.type", f"{told.name} is of type {shown(told_type)}: AI steps are not available here"
        )
        return
    if not isinstance(told_type, str) or told_type not in VALUES:
        unknown_type(told, told_type, path, ", ".join(VALUES))
        return
    special = told.step is not None and told.step.kind != "step"
    if special and told_type not in {"rawscript", "script"}:
        told.fault(f"{path}.type", f"is {told_type}; this module has to be a rawscript or a script")
        return
    known, required = VALUES[told_type]
    fields(told, value, path, {"type": skip, **known}, required)


def _language(told: Inspection, value: Any, path: str) -> None:
    if not isinstance(value, str):
        told.fault(path, f"must be text, not {kind(value)}")
    elif value not in told.languages:
        supported = ", ".join(sorted(told.languages))
        told.fault(path, f"{told.name} is in {shown(value)}, which is not supported; known are {supported}")


def _content(told: Inspection, value: Any, path: str) -> None:
    text(told, value, path)
    if isinstance(value, str) and "\0" in value:
        told.fault(path, "contains a NUL character")


def _path(told: Inspection, value: Any, path: str) -> None:
    if not isinstance(value, str):
        told.fault(path, f"must be text, not {kind(value)}")
    elif value.startswith("hub/"):
        told.fault(path, f"{shown(value)} is in Windmill's hub, which is not available here")
    elif not PATH.fullmatch(value):
        told.fault(path, f"{shown(value)} does not look like f/folder/name or u/user/name")


def _squash(told: Inspection, value: Any, path: str) -> None:
    boolean(told, value, path)
    if value is True:
        told.fault(path, f"{told.name} wants squash, which is not supported")


def _transforms(told: Inspection, value: Any, path: str) -> None:
    each = transform()
    fields(told, value, path, dict.fromkeys(filter(_is_text, value), each) if isinstance(value, dict) else {})


def _is_text(key: Any) -> bool:
    return isinstance(key, str)


_LOOP: Mapping[str, Check] = {
    "modules": modules,
    "skip_failures": boolean,
    "parallel": boolean,
    "parallelism": optional(parallelism),
    "squash": _squash,
}
CHOICE: Mapping[str, Check] = {"summary": text, "expr": expression(), "modules": modules}
BRANCH: Mapping[str, Check] = {"summary": text, "skip_failure": boolean, "modules": modules}
_CONCURRENCY: Mapping[str, Check] = {
    "concurrent_limit": optional(integer(1)),
    "concurrency_time_window_s": optional(SECONDS),
}

VALUES: Mapping[str, tuple[Mapping[str, Check], list[str]]] = {
    "rawscript": (
        {
            "content": _content,
            "language": _language,
            "input_transforms": _transforms,
            "path": optional(text),
            "lock": optional(text),
            "tag": optional(text),
            "custom_concurrency_key": optional(text),
            **_CONCURRENCY,
        },
        ["content", "language", "input_transforms"],
    ),
    "script": (
        {
            "path": _path,
            "input_transforms": _transforms,
            "hash": optional(text),
            "tag_override": optional(text),
        },
        ["path", "input_transforms"],
    ),
    "flow": ({"path": _path, "input_transforms": _transforms}, ["path", "input_transforms"]),
    "forloopflow": ({"iterator": transform(iterator), **_LOOP}, ["modules", "iterator", "skip_failures"]),
    "whileloopflow": (_LOOP, ["modules", "skip_failures"]),
    "branchone": (
        {"branches": items(record(CHOICE, ["expr", "modules"])), "default": modules},
        ["branches", "default"],
    ),
    "branchall": (
        {"branches": items(record(BRANCH, ["modules"])), "parallel": boolean},
        ["branches"],
    ),
    "identity": ({"flow": boolean}, []),
}

MODULE: Mapping[str, Check] = {
    "id": _id,
    "value": _module_value,
    "summary": text,
    "stop_after_if": optional(STOP),
    "stop_after_all_iters_if": optional(STOP),
    "skip_if": optional(predicate(after=False)),
    "sleep": optional(transform(SECONDS, after=True)),
    "timeout": optional(timeout),
    "cache_ttl": optional(SECONDS),
    "delete_after_use": boolean,
    "delete_after_secs": optional(SECONDS),
    "mock": optional(record({"enabled": boolean})),
    "suspend": optional(record(SUSPEND)),
    "priority": optional(integer(0, 100)),
    "continue_on_error": boolean,
    "retry": optional(record(RETRY)),
}


# ---------------------------------------------------------------- the flow


def _flow_env(told: Inspection, value: Any, path: str) -> None:
    names = filter(_is_text, value) if isinstance(value, dict) else ()
    fields(told, value, path, {name: anything if _IDENTIFIER.fullmatch(name) else _unnamed for name in names})


def _unnamed(told: Inspection, value: Any, path: str) -> None:
    told.fault(path, "is no name: expressions read flow_env.<name>")
    anything(told, value, path)


def _early_return(told: Inspection, value: Any, path: str) -> None:
    if not isinstance(value, str):
        text(told, value, path)
        return
    step = told.steps.by_id.get(value)
    if step is None:
        told.fault(path, f"there is no step {shown(value)}")
    elif step.kind != "step" or step.around:
        told.fault(path, f"{step.name} is not one of the flow's own: only those can answer early")


FLOW: Mapping[str, Check] = {
    "modules": modules,
    "failure_module": optional(module),
    "preprocessor_module": optional(module),
    "same_worker": boolean,
    "preserve_step_tags": boolean,
    "concurrency_key": optional(text),
    **_CONCURRENCY,
    "skip_expr": optional(expression()),
    "cache_ttl": optional(SECONDS),
    "delete_after_secs": optional(SECONDS),
    "flow_env": _flow_env,
    "priority": optional(integer(0, 100)),
    "early_return": optional(_early_return),
}
