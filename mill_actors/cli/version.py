"""`mill version`."""

from __future__ import annotations

import platform

from mill_actors import __version__
from mill_actors.cli.output import Json, show, show_json


def version(json: Json = False) -> None:
    """Print the version.

    \b
    Example:
      mill version --json
    """
    if json:
        show_json({"mill": __version__, "python": platform.python_version(), "system": platform.platform()})
    else:
        show(f"mill {__version__}")
