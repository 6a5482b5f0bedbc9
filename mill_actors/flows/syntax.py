"""Expressions before they run: whether they are JavaScript, and which steps' results they read."""

from __future__ import annotations

import re
from functools import lru_cache

# Not `quickjs`: importing that one starts a thread.
from _quickjs import Context, JSException  # type: ignore[import-not-found]

_MEMORY_BYTES = 64 << 20
#: Fits into the stack of any thread of Python.
_STACK_BYTES = 384 * 1024

# From left to right: what is no code, what reads a result, and any other `results`. A quote in a
# regular expression may hide what follows it: then a fault goes unseen until the flow runs. No text
# is looked through more often than once or twice, whatever it is.
_TOKEN = re.compile(
    r"""
      //[^\n]* | /\*.*?(?:\*/|\Z)
    | (?:(?<![\w$.]) | (?<=\.\.\.)) results (?![\w$]) (?P<step> \s* (?:
          \??\.\s*(?P<word>[A-Za-z_$][\w$]*)
        | (?:\?\.\s*)? \[\s* (?: "(?P<double>[^"\\\n]*)" | '(?P<single>[^'\\\n]*)' | (?P<other>) ) ) )?
    | (?<!\\) (?: "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


@lru_cache(maxsize=1024)
def syntax_error(expr: str) -> str | None:
    """Return what JavaScript says against an expression; nothing of it runs.

    >>> syntax_error("flow_input.n + 1"), syntax_error("const n = 1; return n")
    (None, None)
    >>> syntax_error("1 +")
    "SyntaxError: unexpected token in expression: ')'"
    """
    head = "async () => {" if "await" in expr else "() => {"
    value = expr.rstrip().rstrip(";")
    # On lines of its own: it may end in a comment. In two kinds of brackets: a text that closes those
    # that it is in, and opens them again, does not fit into both.
    error = _compile(f"({head} return (\n{value}\n); }})") or _compile(f"[{head} return [\n{value}\n]; }}]")
    if error is not None and "return" in expr:
        error = _compile(f"({head}\n{expr}\n}})") or _compile(f"[{head}\n{expr}\n}}]")
    return error


def _compile(code: str) -> str | None:
    context = Context()
    context.set_memory_limit(_MEMORY_BYTES)
    context.set_max_stack_size(_STACK_BYTES)
    try:
        # The whole is compiled before its first statement is run, and no other statement is.
        context.eval(f"throw 0;{code}")
    except JSException as error:
        message = str(error).split("\n", 1)[0]
        return None if message == "0" else message
    except UnicodeEncodeError:
        return "it is no Unicode text"
    except ValueError:
        return "it contains a NUL character"
    return None


def steps_read(expr: str) -> list[str]:
    """Return the ids in `results.<id>`, each once, in order; `references` finds more than are read.

    >>> steps_read("results.a + results['b-c'].n + results[x] // results.d")
    ['a', 'b-c']
    >>> steps_read("const results = []; return results.length")
    []
    """
    found: dict[str, None] = {}
    for match in _TOKEN.finditer(expr):
        if match["word"] or match["double"] or match["single"]:
            found[match["word"] or match["double"] or match["single"]] = None
        elif match[0] == "results":
            # A variable of its own has that name, or all results are handed on.
            return []
    return list(found)
