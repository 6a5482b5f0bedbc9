"""The user's script: imported once, under a name of its own, and the functions jobs may call in it.

The module is named after its file, and its folder is last in `sys.path`, so that pickle,
multiprocessing, inspect and tracebacks behave as for any module, while a script called
`random.py` shadows nothing: a name that something else already has gets `_script` appended.
"""

from __future__ import annotations

import importlib.util
import linecache
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from .failures import Failure

#: A script has one of them. They may be anything callable, from anywhere.
_KNOWN = ("main", "preprocessor")


def _module_name(path: str) -> str:
    stem = os.path.splitext(os.path.basename(path))[0].replace(".", "_")
    try:
        taken = stem in sys.modules or importlib.util.find_spec(stem) is not None
    except (ImportError, ValueError):
        taken = True
    return f"{stem}_script" if taken else stem


def load(path: str) -> types.ModuleType:
    """Import the script, which has a `main`, a `preprocessor` or both."""
    name = _module_name(path)
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Failure("NoScript", f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Users who ask for __main__ get neither this program nor, in a process started by
    # multiprocessing, a second run of it.
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv[:] = [path]
    spec.loader.exec_module(module)
    linecache.checkcache(path)
    if not any(callable(getattr(module, known, None)) for known in _KNOWN):
        raise _missing("main")
    return module


def function(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """Return what a job calls by this name, or raise `Failure`.

    The name may come from whoever submits jobs: beside the known ones it only reaches the script's own
    public functions, never what the script imports (`from os import system`).
    """
    found = getattr(module, name, None)
    if not callable(found) or not (name in _KNOWN or _is_own(module, name, found)):
        raise _missing(name)
    return found  # type: ignore[no-any-return]  # callable() narrows to an unknown callable


def _is_own(module: types.ModuleType, name: str, found: object) -> bool:
    return not name.startswith("_") and getattr(found, "__module__", None) == module.__name__


def _missing(name: str) -> Failure:
    return Failure("NoMain" if name == "main" else "NoEntryPoint", f"the script defines no function {name}")
