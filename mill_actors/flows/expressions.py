"""The expressions of a flow: JavaScript over what the flow knows so far, as JSON in and JSON out.

As in Windmill: an expression, or the body of a function. Numbers beyond 2^53 lose their last digits
in JavaScript; a plain path (`results.a.b`) and a literal need no JavaScript, and keep them.

More lenient than Windmill: `return` inside a function inside an expression does not make it a body.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from time import thread_time
from types import MappingProxyType
from typing import Any, Literal, Protocol

from mill_actors.errors import MillError
from mill_actors.flows.javascript import Asked, Engine, Failed
from mill_actors.flows.paths import UNDEFINED, NotPlain, ReadOfNothing, Undefined, is_true_text, walk
from mill_actors.flows.references import GLOBALS, Path, References, references
from mill_actors.jobs.jsons import decode, encode

__all__ = ["Evaluator", "ExpressionError", "Missing", "Scope", "UnknownName", "describe", "references"]

_GLOBALS = frozenset(GLOBALS)
_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_SHOWN_SOURCE = 500
_SHOWN_KEYS = 10
#: QuickJS counts the processor time of all threads. Where others are busy, an expression is stopped
#: before it has used its own, and is run again with a higher limit, up to this many times as high.
_MOST_SLACK = 256
#: Of its time, what an expression must have used before it is to blame.
_USED_UP = 0.8
_LITERALS = {"true": b"true", "false": b"false", "null": b"null", "undefined": b"null"}
# 15 digits: beyond them, JavaScript may round.
_NUMBER = re.compile(r"-?[1-9]\d{0,14}|0", re.ASCII)
_QUOTED = re.compile(r"\"[^\"\\\n\r]*\"|'[^'\\\n\r]*'")
_ITER = re.compile(r"iter(_parent)*")
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)


class Missing(Exception):
    """A value that is not at hand: fetch it and evaluate again."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        super().__init__(f"not at hand: {', '.join(sorted(self.names))}")


class UnknownName(Exception):
    """There is nothing of that name: an expression sees undefined."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


class Scope(Protocol):
    """What an expression can see.

    A scope may also have `decoded(name)`, which returns what `value(name)` means: so that a value
    that many expressions walk into is decoded once.
    """

    def value(self, name: str) -> bytes:
        """Return the JSON text of a top-level name.

        There are `flow_input`, `previous_result`, `results.<id>`, `result`, `error`, `resume`, `resumes`,
        `approvers`, `iter`, `flow_env`, `all_iters`, `variable:<path>` and `resource:<path>`.

        Raise `Missing` if it must be fetched first, `UnknownName` if there is no such thing.
        """
        ...


class ExpressionError(MillError):
    """An expression could not be evaluated.

    ``values`` describes what it had read by then: names and types, never the values themselves.
    """

    def __init__(
        self, expr: str, message: str, values: Mapping[str, str], kind: Literal["error", "timeout", "memory"]
    ) -> None:
        self.expr = expr
        self.message = message
        self.values = dict(values)
        self.kind = kind
        source = expr if len(expr) <= _SHOWN_SOURCE else f"{expr[:_SHOWN_SOURCE]}…"
        read = "".join(f"\n  {name} is {type_}" for name, type_ in self.values.items())
        super().__init__(f"{message}\n  in: {source}{read}")


class Evaluator:
    """Evaluates expressions, from any thread: each has an engine of its own.

    `seconds` of processor time and `memory_bytes` are for each evaluation.
    """

    def __init__(self, *, seconds: float = 0.05, memory_bytes: int = 16 * 1024 * 1024) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._local = threading.local()

    def evaluate(self, expr: str, scope: Scope, extra: Mapping[str, bytes] = _NOTHING) -> bytes:
        """Return the JSON text of an expression's value; undefined is null.

        `extra`: further names and their JSON texts; they win over the scope. Raise `Missing`, or
        `ExpressionError`.
        """
        literal = _literal(expr)
        if literal is not None:
            return literal
        known = references(expr)
        if known.path and "results" not in extra:
            try:
                return self._path(expr, known.path, scope, extra)
            except (NotPlain, ValueError, RecursionError):
                pass  # JavaScript knows what it is, or says what is wrong with it
        return self._javascript(expr, known, scope, extra, truth=False).encode()

    def is_true(self, expr: str, scope: Scope, extra: Mapping[str, bytes] = _NOTHING) -> bool:
        """Return whether JavaScript would take an expression's value for true."""
        literal = _literal(expr)
        if literal is not None:
            return is_true_text(literal)
        known = references(expr)
        if known.path and "results" not in extra:
            try:
                return is_true_text(self._path(expr, known.path, scope, extra))
            except (NotPlain, ValueError, RecursionError):
                pass
        return self._javascript(expr, known, scope, extra, truth=True) == "true"

    def _path(self, expr: str, path: Path, scope: Scope, extra: Mapping[str, bytes]) -> bytes:
        if path.root == "flow_input" and path.steps and _ITER.fullmatch(str(path.steps[0].key)):
            # Told apart from the rest of the input, which may be large, and is the same for all iterations.
            name = str(path.steps[0].key)
            if "flow_input" not in extra and _text(name, scope, extra) is not None:
                path = Path(name, path.steps[1:])
        text = _text(path.root, scope, extra)
        if text is None and path.root == "error":
            raise NotPlain  # that of the previous result
        if not path.steps:
            return b"null" if text is None else text
        value = UNDEFINED if text is None else _decoded(path.root, text, scope, extra)
        try:
            value = walk(value, path)
        except ReadOfNothing as error:
            raise ExpressionError(expr, str(error), {path.root: describe(value)}, "error") from None
        return b"null" if value is UNDEFINED else encode(value)

    def _javascript(
        self, expr: str, known: References, scope: Scope, extra: Mapping[str, bytes], *, truth: bool
    ) -> str:
        parameters = _parameters(expr, extra)
        passed, absent = _at_hand((*parameters, *known.certain), scope, extra)
        left, slack = self._seconds, 1
        while True:
            engine = self._engine()
            began = thread_time()
            try:
                answer = engine.run(expr, parameters, passed, left, slack, truth=truth)
            except Failed as failed:
                used = thread_time() - began
                if failed.kind == "timeout" and used < _USED_UP * left and slack < _MOST_SLACK:
                    slack *= 4
                    continue
                raise self._error(expr, failed, passed) from None
            if not isinstance(answer, Asked):
                return answer
            left = max(0.0, left - (thread_time() - began))
            for name in answer.names:
                try:
                    text = _text(name, scope, extra)
                except Missing as missing:
                    raise Missing(missing.names | absent) from None
                passed[name] = None if text is None else text.decode()

    def _engine(self) -> Engine:
        engine: Engine | None = getattr(self._local, "engine", None)
        if engine is None or engine.is_spent:
            engine = self._local.engine = Engine(self._memory_bytes)
        return engine

    def _error(self, expr: str, failed: Failed, passed: Mapping[str, str | None]) -> ExpressionError:
        message = failed.message
        if failed.kind == "timeout":
            message = f"It took longer than {self._seconds * 1000:g} ms."
        elif failed.kind == "memory":
            message = f"It needs more than {self._memory_bytes / 2**20:g} MiB of memory."
        values = {}
        # Who was stopped cannot say what it had touched.
        for name in failed.touched or passed:
            text = passed[name]
            try:
                values[name] = "undefined" if text is None else describe(decode(text))
            except (ValueError, RecursionError):
                values[name] = "no JSON"
        return ExpressionError(expr, message, values, failed.kind)


def describe(value: Any) -> str:
    """Return the type of a value of JSON in words, with no value in them.

    >>> describe({"a": 1, "b": [2]}), describe([1, 2, 3]), describe(None)
    ('object {a, b}', 'array of 3', 'null')
    """
    match value:
        case None:
            return "null"
        case Undefined():
            return "undefined"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return f"array of {len(value)}"
        case dict():
            keys = ", ".join(islice(value, _SHOWN_KEYS))
            return f"object {{{keys}{', …' if len(value) > _SHOWN_KEYS else ''}}}"
        case _:
            return type(value).__name__


@lru_cache(maxsize=4096)
def _literal(expr: str) -> bytes | None:
    text = expr.strip()
    if _NUMBER.fullmatch(text):
        return text.encode()
    return encode(text[1:-1]) if _QUOTED.fullmatch(text) else _LITERALS.get(text)


def _text(name: str, scope: Scope, extra: Mapping[str, bytes]) -> bytes | None:
    """Return the JSON text of a name; None: there is no such thing."""
    if name in extra:
        return extra[name]
    try:
        return scope.value(name)
    except UnknownName:
        return None


def _decoded(name: str, text: bytes, scope: Scope, extra: Mapping[str, bytes]) -> Any:
    decoded = None if name in extra else getattr(scope, "decoded", None)
    return decoded(name) if decoded else decode(text)


def _parameters(expr: str, extra: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the further names that are no globals of JavaScript and stand in the text."""
    return tuple(
        name for name in extra if name not in _GLOBALS and _IDENTIFIER.fullmatch(name) and name in expr
    )


def _at_hand(
    names: Iterable[str], scope: Scope, extra: Mapping[str, bytes]
) -> tuple[dict[str, str | None], frozenset[str]]:
    """Return the texts of names that are at hand, and the names that are to be fetched."""
    passed: dict[str, str | None] = {}
    absent: frozenset[str] = frozenset()
    for name in names:
        try:
            text = _text(name, scope, extra)
        except Missing as missing:
            absent |= missing.names
        else:
            passed[name] = None if text is None else text.decode()
    return passed, absent
