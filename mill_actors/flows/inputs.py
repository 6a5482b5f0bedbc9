"""What the expressions of a body see, and what a step is given.

A `View` narrows the scope of a body's run to one place in it: what came before, which item.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from mill_actors.errors import InvalidArgs
from mill_actors.flows.definition import ByAi, InputTransform, Javascript, Static, Transforms
from mill_actors.flows.expressions import Evaluator, Scope, UnknownName
from mill_actors.flows.program import Body
from mill_actors.jobs.jsons import decode, encode


class View:
    """A scope as one step sees it. `before` is the step whose result is `previous_result`.

    `overlay` is what its `flow_input` has on top: `iter`. `results` are texts at hand that win over
    the scope, by name. Steps of the body from the one at `until` on have no result to be read: one that
    is tried again has, of its last try.
    """

    def __init__(
        self,
        scope: Scope,
        body: Body,
        before: str | None,
        *,
        overlay: Mapping[str, Any] | None = None,
        at_hand: Mapping[str, bytes] | None = None,
        until: int | None = None,
    ) -> None:
        self._scope = scope
        self._body = body
        self._before = before
        self._overlay = overlay
        self._until = until
        self.at_hand = at_hand or {}
        self._decoded: dict[str, Any] = {}

    def value(self, name: str) -> bytes:
        """Return the JSON text of a name; `Missing` and `UnknownName` as in `Scope`."""
        if name.startswith("results."):
            self._check_readable(name.removeprefix("results."))
        found = self.at_hand.get(name)
        if found is not None:
            return found
        match name:
            case "previous_result":
                return self._before_text()
            case "result":
                return self.value("previous_result")
            case "flow_input":
                return self._scope.value(name) if not self._overlay else encode(self.decoded(name))
            case str() if self._overlay is not None and name in self._overlay:
                return encode(self._overlay[name])
            case "error":
                return encode(error_of(self.decoded("previous_result")))
            case _:
                pass
        return self._scope.value(name)

    def _check_readable(self, step: str) -> None:
        own = self._body.by_id.get(step)
        if own is None:
            if self._body.levels_up(step) is None:
                raise UnknownName(f"results.{step}")
        elif self._until is not None and own.index >= self._until:
            raise UnknownName(f"results.{step}")

    def text(self, name: str) -> bytes:
        """Return the JSON text of a name, null if there is no such thing; `Missing` as in `Scope`."""
        try:
            return self.value(name)
        except UnknownName:
            return b"null"

    def decoded(self, name: str) -> Any:
        """Return what `value(name)` means, decoded once."""
        if name in self._decoded:
            return self._decoded[name]
        if self._overlay is not None and name in self._overlay:
            return self._overlay[name]
        if name == "flow_input" and self._overlay and name not in self.at_hand:
            inputs = _decoded(self._scope, name)
            value = {**inputs, **self._overlay} if isinstance(inputs, dict) else dict(self._overlay)
        elif name == "previous_result" and name not in self.at_hand and self._before is None:
            # The first step of a body is told what the body was given.
            value = self.decoded("flow_input")
        elif name == "flow_input" and name not in self.at_hand:
            value = _decoded(self._scope, name)
        else:
            value = decode(self.value(name))
        self._decoded[name] = value
        return value

    def _before_text(self) -> bytes:
        if self._before is None:
            return self.value("flow_input")
        name = f"results.{self._before}"
        found = self.at_hand.get(name)
        return self._scope.value(name) if found is None else found


def _decoded(scope: Scope, name: str) -> Any:
    decoded = getattr(scope, "decoded", None)
    return decode(scope.value(name)) if decoded is None else decoded(name)


def error_of(result: Any) -> Any:
    """Return the `error` of a failed result, as Windmill's failure modules get it (its PR 7196)."""
    if isinstance(result, dict) and result.get("error"):
        return result["error"]
    if result is None:
        return {"name": "UnknownError", "message": "No error found"}
    if not isinstance(result, list):
        return {"name": "UnknownError", "message": "Could not parse the error", "error": result}
    errors = [
        (place, item["error"])
        for place, item in enumerate(result)
        if isinstance(item, dict) and item.get("error")
    ]
    if len(errors) == 1:
        return errors[0][1]
    if not errors:
        return {"name": "MultipleErrors", "message": "Could not parse errors", "errors": result}
    lines = "; ".join(
        f"[{_member(e, 'step_id', str(i))}] {_member(e, 'message', _member(e, 'name', ''))}"
        for i, e in errors
    )
    return {"name": "MultipleErrors", "message": lines, "errors": result}


def _member(error: Any, name: str, otherwise: str) -> str:
    return str(error.get(name, otherwise)) if isinstance(error, dict) else otherwise


class Inputs:
    """Evaluates what a step is given."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator

    def args(self, transforms: Transforms, view: Scope) -> bytes:
        """Return a job's arguments as a JSON object; raise `Missing` or `ExpressionError`."""
        if not transforms:
            return b"{}"
        parts = [
            b"%b:%b" % (_key(name), self.value(transform, view)) for name, transform in transforms.items()
        ]
        return b"{%b}" % b",".join(parts)

    def value(self, transform: InputTransform, view: Scope) -> bytes:
        """Return one value as JSON text."""
        match transform:
            case Static(value):
                return bytes(value)
            case Javascript(expr):
                return self.evaluator.evaluate(expr, view)
            case ByAi():
                raise InvalidArgs("ai", "inputs filled in by a model are not run here")

    def number(self, transform: InputTransform | float, view: Scope, what: str) -> float:
        """Return seconds or a count; raise `InvalidArgs` if it is no number ≥ 0."""
        if isinstance(transform, int | float):
            value: Any = transform
        else:
            value = decode(self.value(transform, view))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e10:
            raise InvalidArgs(what, f"expected a number, found {value!r:.100}")
        return value


@lru_cache(4096)
def _key(name: str) -> bytes:
    return orjson.dumps(name)
