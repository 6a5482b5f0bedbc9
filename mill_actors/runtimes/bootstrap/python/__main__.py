"""Start this folder as a program: `python -P <folder>/__main__.py`.

The folder never enters `sys.path`: the package is loaded by its location, under a name no
user module has, so a script can neither shadow it nor import it by accident.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

NAME = "_mill_bootstrap"


def load() -> None:
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        message = f"{folder} is not a package"
        raise ImportError(message)
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    load()
    importlib.import_module(f"{NAME}.process").main()
