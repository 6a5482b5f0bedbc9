"""JavaScript, in QuickJS: one context serves many expressions, and none of them can leave a trace.

Everything that an expression can reach outlives it only frozen: the intrinsics, the global object,
its own compiled function. So a context is used again, which costs a microsecond where a fresh one
costs two thousand. After any error, and now and then without one, it is thrown away.

Values come in as JSON texts and are parsed when they are touched. QuickJS cannot call Python while
a time limit holds; an expression that touches what was not passed is stopped, says what it wants,
and is run again with it: it has no effects, so nobody can tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from time import thread_time
from typing import Any, Literal, NamedTuple

import orjson

# Not `quickjs`: importing that one starts a thread.
from _quickjs import Context, JSException, StackOverflow  # type: ignore[import-not-found]

from mill_actors.flows.prelude import PRELUDE
from mill_actors.flows.references import GLOBALS
from mill_actors.jobs.jsons import decode

#: Some 600 calls deep. The threads of Python have 8 MiB on Linux, 16 MiB on macOS.
STACK_BYTES = 1024 * 1024
EVALUATIONS_PER_CONTEXT = 1000

_AWAIT = re.compile(r"\bawait\b")
_RETURN = re.compile(r"\breturn\b")
_THROWS = re.compile(r"throw|reject")
_LINE = re.compile(r"at (?:(\S+) \()?<input>:(\d+)")
#: The functions of the prelude that stand in stacks.
_OURS = frozenset({"read", "get", "finish", "evaluate", "compile", "variable", "resource"})
_OF_NOTHING = re.compile(r"cannot read property '?(.*?)'? of (null|undefined)", re.DOTALL)


class Failed(Exception):
    """An expression failed. ``touched``: the names whose values it had read."""

    def __init__(self, kind: Literal["error", "timeout", "memory"], message: str, touched: list[str]) -> None:
        self.kind = kind
        self.message = message
        self.touched = touched
        super().__init__(message)


class Asked(NamedTuple):
    """What an expression touched and was not passed."""

    names: list[str]


class Engine:
    """A context and what is compiled in it. For one thread only, and until it `is_spent`."""

    def __init__(self, memory_bytes: int) -> None:
        self._context = Context()
        self._context.set_max_stack_size(STACK_BYTES)
        part = self._context.eval(PRELUDE)(orjson.dumps(GLOBALS).decode())
        self._compile, self._settled, self._report = part("compile"), part("settled"), part("report")
        self._context.set_memory_limit(memory_bytes)
        self._compiled: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._left = EVALUATIONS_PER_CONTEXT

    @property
    def is_spent(self) -> bool:
        return self._left <= 0

    def run(
        self,
        expr: str,
        parameters: tuple[str, ...],
        passed: Mapping[str, str | None],
        seconds: float,
        slack: int = 1,
        *,
        truth: bool = False,
    ) -> str | Asked:
        """Return the JSON text of an expression's value, or what it needs for that.

        `passed`: names and JSON texts; None is undefined. `seconds` is the processor time of this
        thread; all threads together may use `slack` times as much until the expression is stopped.
        `truth`: return whether the value is true. Raise `Failed`; the engine is spent then.
        """
        self._left -= 1
        deadline = thread_time() + seconds
        try:
            self._context.set_time_limit(seconds * slack)
            body = self._body(expr, parameters)
            answer = body(truth, *[part for pair in passed.items() for part in pair])
            while self._context.execute_pending_job():
                left = deadline - thread_time()
                if left <= 0:
                    raise Failed("timeout", "interrupted", [])
                self._context.set_time_limit(left * slack)
            if answer is True:
                answer = self._settled()
            if isinstance(answer, str):
                return answer
            # What it takes to say what went wrong is not the expression's.
            self._context.set_time_limit(1.0)
            report = decode(self._report())
            "".join(report["asked"]).encode()
        except (JSException, StackOverflow) as error:
            self._left = 0
            raise _uncaught(str(error)) from None
        except UnicodeEncodeError:
            self._left = 0
            raise Failed("error", "SyntaxError: half of a surrogate pair", []) from None
        except Failed:
            self._left = 0
            raise
        if report["asked"]:
            return Asked(report["asked"])
        self._left = 0
        if answer is True:
            raise Failed("error", "Error: the promise was never kept", report["touched"])
        name, message, stack = report["failure"]
        if (name, message) == ("", "null") and not _THROWS.search(expr):
            # What QuickJS throws where there is no room left for an error.
            raise Failed("memory", "out of memory", report["touched"])
        raise _failed(name, message, stack, report["touched"])

    def _body(self, expr: str, parameters: tuple[str, ...]) -> Any:
        body = self._compiled.get((expr, parameters))
        if body is None:
            body = self._compiled[expr, parameters] = self._new_body(expr, parameters)
        return body

    def _new_body(self, expr: str, parameters: tuple[str, ...]) -> Any:
        expr.encode()  # QuickJS does not say what is wrong with a lone surrogate
        names = orjson.dumps(parameters).decode()
        head = f"({'async ' if _AWAIT.search(expr) else ''}({', '.join(parameters)}) => {{"
        # On lines of its own: an expression may end in a comment.
        value = f"{head} return (\n{expr.rstrip().rstrip(';')}\n); }})"
        if not _RETURN.search(expr):
            return self._compile(value, names)
        try:
            return self._compile(value, names)
        except JSException:
            return self._compile(f"{head}\n{expr}\n}})", names)


def _uncaught(text: str) -> Failed:
    """Return why QuickJS gave up, where the expression itself could not catch it."""
    if "interrupted" in text:
        return Failed("timeout", text, [])
    if "out of memory" in text or text.strip() == "null":
        return Failed("memory", text, [])
    message, _, stack = text.partition("\n")
    return Failed("error", message + _place(stack), [])


def _failed(name: str, message: str, stack: str, touched: list[str]) -> Failed:
    if name == "InternalError" and message == "out of memory":
        return Failed("memory", message, touched)
    # As V8 says it: who looks for the words finds more of those.
    message = _OF_NOTHING.sub(r"Cannot read properties of \2 (reading '\1')", message)
    message = f"{name}: {message}" if name else f"thrown: {message}"
    return Failed("error", message + _place(stack), touched)


def _place(stack: str) -> str:
    """Return the line, if it is one of the expression; the first one goes without saying."""
    found = _LINE.search(stack)
    if not found or found[1] in _OURS:
        return ""
    line = int(found[2]) - 1  # its own first line is the wrapper's second
    return f" (line {line})" if line > 1 else ""
