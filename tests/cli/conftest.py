"""The real command, in subprocesses, as somebody types it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from mill_actors.jobs.script import NO_OPTIONS, ScriptOptions, make_script
from mill_actors.store.client import Client
from tests.fix_db import Server

ROOT = Path(__file__).parents[2]
SECONDS = 50


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """NDJSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A command that runs, with its output as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def read_until(self, stream: IO[str] | None, text: str) -> str:
        """Read lines until one has the text; return it. The test's timeout is the deadline."""
        assert stream is not None
        seen = []
        for line in stream:
            seen.append(line)
            if text in line:
                return line
        pytest.fail(f"{text!r} did not come: {''.join(seen)}")

    def until_err(self, text: str) -> str:
        return self.read_until(self.process.stderr, text)

    def until_out(self, text: str) -> str:
        return self.read_until(self.process.stdout, text)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, code: int = 0) -> Done:
        # Not `communicate`, which does not see what reading lines has buffered. Standard error
        # first: it is the one that may be more than a pipe holds.
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        err, out = self.process.stderr.read(), self.process.stdout.read()
        assert self.process.wait(SECONDS) == code, f"{self.process.returncode}: {out}{err}"
        return Done(code, out, err)


class Mill:
    """`mill` in one folder, with one environment."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        #: what the last `mill dev` said of itself: its node, its API
        self.told: dict[str, Any] = {}
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MILL_", "PG")) and name != "DATABASE_URL"
        }
        # Any port will do for the API: many run at once.
        self.environ = {**clean, "PYTHONPATH": str(ROOT), "MILL_SERVER_PORT": "0", **environ}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "mill_actors.cli", *arguments]

    def __call__(
        self, *arguments: str, code: int = 0, stdin: str = "", environ: Mapping[str, str] | None = None
    ) -> Done:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environ, **(environ or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr or code == 1
        return Done(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[Running]:
        """Start a command; at the end it is killed if it still lives."""
        with subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield Running(process)
            finally:
                process.kill()
                if process.stdin is not None:
                    process.stdin.close()

    @contextlib.contextmanager
    def dev(self, *arguments: str) -> Iterator[Running]:
        """Run `mill dev`; yield when its node is up, and end it in order if nobody has yet."""
        with self.running("dev", "--json", "--log-level", "info", *arguments) as dev:
            self.told = json.loads(dev.until_out('"node"'))
            yield dev
            if dev.process.poll() is None:
                dev.signal(signal.SIGTERM)
                dev.end()

    def script(self, path: str, code: str, options: ScriptOptions = NO_OPTIONS) -> str:
        """Deploy a script in Python, without the command: how that works has tests of its own."""
        with Client(self.environ["DATABASE_URL"]) as client:
            client.deploy(make_script("default", path, "python3", code, options))
        return path

    def gate(self, name: str) -> Path:
        """Make a pipe at which a script waits until the test opens it."""
        path = self.folder / name
        os.mkfifo(path)
        return path


@pytest.fixture
def mill(dsn: str, tmp_path: Path) -> Mill:
    """`mill` with a migrated database of the test's own, and nobody who runs jobs."""
    return Mill(tmp_path, {"DATABASE_URL": dsn})


@pytest.fixture
def bare(tmp_path: Path) -> Mill:
    """`mill` in an empty folder without any configuration."""
    return Mill(tmp_path, {})


@pytest.fixture(scope="module")
def live(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """`mill` beside a `mill dev` that runs as long as the module's tests do."""
    with server.database(template) as dsn:
        mill = Mill(tmp_path_factory.mktemp("live"), {"DATABASE_URL": dsn})
        with mill.dev("--processes", "2"):
            yield mill


def open_gate(path: Path) -> None:
    """Let whoever waits at a gate pass."""
    path.write_text("")
