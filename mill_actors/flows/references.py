"""What an expression may read, told from its text alone: a plain path, or the names in it.

Conservative: `names` may hold what is never read (a name in a string, a branch not taken), and what
cannot be told from the text (`results[x]`) makes the expression `dynamic`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

#: Names that every expression sees, beside `results.<id>`, `variable(path)` and `resource(path)`.
GLOBALS = (
    "flow_input",
    "previous_result",
    "flow_env",
    "result",
    "error",
    "resume",
    "resumes",
    "approvers",
    "iter",
    "all_iters",
)

_WORD = r"[A-Za-z_$][\w$]*"
# Without escapes: a string that has one is JavaScript's to read.
_QUOTED = r"\"[^\"\\\n\r]*\"|'[^'\\\n\r]*'"
_DOT = rf"(?P<dotted>\?)?\.\s*(?P<word>{_WORD})"
_BRACKET = rf"(?P<bracketed>\?\.)?\s*\[\s*(?:(?P<text>{_QUOTED})|(?P<index>0|[1-9]\d{{0,8}}))\s*\]"
_STEP = re.compile(rf"\s*(?:{_DOT}|{_BRACKET})", re.ASCII)
_ROOT = re.compile(rf"\s*({_WORD})", re.ASCII)
_END = re.compile(r"[\s;]*\Z")
# Not a property of something else (`a.error`), but what is spread (`...flow_input`).
_BARE = r"(?:(?<![\w$.])|(?<=\.\.\.))"
_NAME = re.compile(rf"{_BARE}({'|'.join(GLOBALS)})(?![\w$])", re.ASCII)
_RESULTS = re.compile(rf"{_BARE}results(?![\w$])", re.ASCII)
_RESULT_STEP = re.compile(rf"\s*(?:\??\.\s*({_WORD})|(?:\?\.\s*)?\[\s*({_QUOTED}|`[^`\\$]*`)\s*\])", re.ASCII)
_CALL = re.compile(rf"{_BARE}(variable|resource)(?![\w$])(?:\s*\(\s*({_QUOTED}|`[^`\\$]*`)\s*\))?", re.ASCII)
# Ways to a name that is not written down.
_HIDDEN = re.compile(r"\\u|\b(?:eval|Function|constructor|globalThis|this)\b")
# What may be skipped. Where nothing is, every name in the text is read.
_BRANCHES = re.compile(r"\?(?!\.)|&&|\|\||=>|\b(?:function|if|for|while|do|switch|try|class|return)\b")


class Step(NamedTuple):
    """One property: by name or by index. Optional: `?.`."""

    key: str | int
    is_optional: bool = False


class Path(NamedTuple):
    """A top-level name and the properties that lead into it."""

    root: str
    steps: tuple[Step, ...] = ()


class References(NamedTuple):
    """What an expression may read. `path`: it is nothing but this path."""

    path: Path | None
    names: frozenset[str]
    dynamic: bool
    #: Read whenever the expression is evaluated, as far as its text tells.
    certain: tuple[str, ...]


@lru_cache(maxsize=4096)
def references(expr: str) -> References:
    """Return what an expression may read.

    >>> references("results.a?.b[0]").path
    Path(root='results.a', steps=(Step(key='b', is_optional=True), Step(key=0, is_optional=False)))
    >>> sorted(references("results.a + results['b'] + flow_input.x").names)
    ['flow_input', 'results.a', 'results.b']
    """
    found = dict.fromkeys(_NAME.findall(expr))
    dynamic = bool(_HIDDEN.search(expr))
    for match in _RESULTS.finditer(expr):
        step = _RESULT_STEP.match(expr, match.end())
        if step:
            found[f"results.{step[1] or step[2][1:-1]}"] = None
        else:
            dynamic = True
    for function, quoted in _CALL.findall(expr):
        if quoted:
            found[f"{function}:{quoted[1:-1]}"] = None
        else:
            dynamic = True
    names = frozenset(found)
    if "error" in names:
        names |= {"previous_result"}  # where there is no error of its own
    certain = () if _BRANCHES.search(expr) else tuple(found)
    return References(_path(expr), names, dynamic, certain)


def _path(expr: str) -> Path | None:
    start = _ROOT.match(expr)
    if not start:
        return None
    root, at, steps = start[1], start.end(), list[Step]()
    while step := _STEP.match(expr, at):
        at = step.end()
        key = step["word"] or (int(step["index"]) if step["index"] else step["text"][1:-1])
        steps.append(Step(key, bool(step["dotted"] or step["bracketed"])))
    if not _END.match(expr, at):
        return None
    if root == "results" and steps:
        return Path(f"results.{steps[0].key}", tuple(steps[1:]))
    return Path(root, tuple(steps)) if root in GLOBALS else None
