"""Python: the interpreter of the node, or the one the configuration names (3.11 or later)."""

from __future__ import annotations

import shutil
import sys

from mill_actors.runtimes.language import InterpreterNotFound, Language


def find_python(configured: str | None = None) -> str:
    """Return the configured interpreter, else the one this node runs under."""
    if configured is None:
        return sys.executable
    found = shutil.which(configured)
    if found is None:
        raise InterpreterNotFound("python3", [configured], "name a Python 3.11 or later")
    return found


PYTHON = Language(
    name="python3",
    suffixes=(".py",),
    program="python/__main__.py",
    find=find_python,
    flags=("-P",),  # neither the bootstrap's folder nor the current one enters sys.path
    memory_by_ulimit=True,
)
