"""The user's script: imported once, under a name of its own, and its `main`.

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


def _module_name(path: str) -> str:
    stem = os.path.splitext(os.path.basename(path))[0].replace(".", "_")
    try:
        taken = stem in sys.modules or importlib.util.find_spec(stem) is not None
    except (ImportError, ValueError):
        taken = True
    return f"{stem}_script" if taken else stem


def load(path: str) -> Callable[..., Any]:
    """Import the script and return its `main`."""
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
    main = getattr(module, "main", None)
    if not callable(main):
        raise Failure("NoMain", "the script defines no function main")
    return main  # type: ignore[no-any-return]  # callable() narrows to an unknown callable
