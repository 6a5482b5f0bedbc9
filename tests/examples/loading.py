"""Scripts of the examples as functions of this process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load_script(file: Path) -> Callable[..., Any]:
    """Return a Python script's `main`."""
    spec = importlib.util.spec_from_file_location(file.stem.partition(".")[0], file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[..., Any] = module.main
    return main
