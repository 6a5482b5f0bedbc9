"""`mill server` in a process of its own, with default settings, on a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.server import ROOT

STOP_SECONDS = 30.0


class ServerProcess:
    """Started by the constructor, up when it returns; used in a `with`."""

    def __init__(self, dsn: str, folder: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MILL_")}
        environment |= {"DATABASE_URL": dsn, "PYTHONPATH": str(ROOT)}
        with (folder / "server.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "mill_actors.cli", "server", "--json", "--port", "0"],
                cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._popen.stdout is not None
        told = self._popen.stdout.readline()
        assert told, (folder / "server.log").read_text()
        self.url: str = json.loads(told)["url"]
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(STOP_SECONDS)
        finally:
            self._popen.kill()
            self._popen.wait()


def load(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start `bench.api_load`; its output is JSON."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "bench.api_load", *map(str, arguments), *flags],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def told_by(popen: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a load to end, and return what it says."""
    with popen:
        out, _ = popen.communicate()
    assert popen.returncode == 0, f"the load failed:\n{out[-2000:]}"
    told: dict[str, Any] = json.loads(out)
    return told
