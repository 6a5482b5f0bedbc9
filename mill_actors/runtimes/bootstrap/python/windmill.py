"""Windmill's client `wmill` remembers the token it finds when a client is made.

Here a process outlives its jobs, and each of them has a token of its own, good while it runs: so a client
that was given none sends that of the job that runs. Nothing is imported that the script does not import.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

_CLIENT = "wmill.client"
_TOKEN = "WM_TOKEN"  # noqa: S105 - its name


class _Finder:
    """Finds that one module as everybody does, and adapts it once it is loaded."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != _CLIENT:
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            load = loader.exec_module

            def load_and_adapt(module: Any) -> None:
                load(module)
                _adapt(module)

            loader.exec_module = load_and_adapt
        return spec


def follow() -> None:
    """Adapt the client when the script imports it, now or in a job."""
    finder: Any = _Finder
    sys.meta_path.insert(0, finder)


def _adapt(module: Any) -> None:
    made = module.Windmill.get_client

    def get_client(self: Any) -> Any:
        client = made(self)
        if self.token == os.environ.get(_TOKEN):  # at import there is none
            client.event_hooks["request"].append(_identify)
        return client

    module.Windmill.get_client = get_client


def _identify(request: Any) -> None:
    token = os.environ.get(_TOKEN)
    if token is None:
        message = "no job runs while its script is imported, so there is no token: ask in main, not beside it"
        raise RuntimeError(message)
    request.headers["Authorization"] = f"Bearer {token}"
