"""A node in an OS process of its own, so that it shares neither GIL nor memory with who measures.

`NodeProcess` is the handle; run as a program this file is the node: what `mill worker` is, with
default settings, plus `--batch1`, which takes every batch away, `--dedicated`, which keeps a warm
process for each step of every dedicated flow, and `--processes`, for more of the other processes.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from bench.server import ROOT
from mill_actors import config
from mill_actors.actors import completer, life, window
from mill_actors.actors.tree_socket import read_trees
from mill_actors.store.connection import Database

START_SECONDS = 30.0
STOP_SECONDS = 60.0


class NodeProcess:
    """One node; started by the constructor, up when it returns."""

    def __init__(
        self,
        dsn: str,
        work_dir: Path,
        name: str = "bench",
        *,
        batch1: bool = False,
        dedicated: bool = False,
        processes: int | None = None,
    ) -> None:
        #: How many language processes it keeps beside those of dedicated steps: its default, the cores.
        self.processes = 1 if batch1 else processes or config.WorkerConfig().processes
        self.work_dir = work_dir / name
        self.work_dir.mkdir(parents=True)
        self.log = self.work_dir / "node.log"
        # Default settings: nothing of ours, and nothing of the caller's either.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MILL_")}
        environment["DATABASE_URL"] = dsn
        command = [sys.executable, "-m", "bench.node_process", str(self.work_dir), name]
        if batch1:
            command.append("--batch1")
        if dedicated:
            command.append("--dedicated")
        if processes is not None:
            command += ["--processes", str(processes)]
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.pid = self._popen.pid
        self.process = psutil.Process(self.pid)
        #: Every language process ever seen: after a kill -9 nobody else knows them.
        self._languages: dict[int, psutil.Process] = {}
        try:
            self.id: str = self._await()["node"]
        except BaseException:
            self.kill()
            raise

    def tree(self) -> dict[str, Any] | None:
        """Return the live tree with its counters, or None where nobody answers."""
        for told in read_trees(str(self.work_dir)):
            if told["pid"] == self.pid:
                return told
        return None

    def languages(self) -> list[psutil.Process]:
        """Return the node's language processes."""
        try:
            found = self.process.children(recursive=True)
        except psutil.NoSuchProcess:
            found = []
        self._languages.update({process.pid: process for process in found})
        return found

    def known_languages(self) -> list[psutil.Process]:
        """Return every language process seen so far, dead or alive."""
        return list(self._languages.values())

    def suspend(self) -> None:
        """SIGSTOP: the node, and not its language processes."""
        self.process.suspend()
        deadline = time.monotonic() + 5.0
        while self.process.status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline, "the node does not stop at SIGSTOP"
            time.sleep(0.001)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.resume()

    def kill_alone(self) -> None:
        """Kill -9 the node and nothing else; what its language processes do then is theirs."""
        self.languages()
        self._popen.kill()
        self._popen.wait()

    def stop(self) -> None:
        """SIGTERM, an ordered stop; raises if it was not one."""
        self.languages()
        self._popen.send_signal(signal.SIGTERM)
        code = self._popen.wait(STOP_SECONDS)
        assert code == 0, f"the node ended with {code}:\n{self.log_tail()}"

    def kill(self) -> None:
        """Leave nothing: the node, and every process that it had."""
        self.languages()
        self._popen.kill()
        self._popen.wait()
        for process in self._languages.values():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def check(self) -> None:
        """Raise if the node has ended."""
        if self._popen.poll() is not None:
            message = f"the node ended with {self._popen.returncode}:\n{self.log_tail()}"
            raise AssertionError(message)

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _await(self) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.check()
            told = self.tree()
            if told is not None:
                return told
            assert time.monotonic() < deadline, f"the node does not come up:\n{self.log_tail()}"
            time.sleep(0.02)


def main() -> int:
    """Be the node."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("name")
    parser.add_argument("--batch1", action="store_true")
    parser.add_argument("--dedicated", action="store_true")
    parser.add_argument("--processes", type=int)
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    flags: dict[str, object] = {"node.work_dir": str(told.work_dir), "node.name": told.name}
    if told.batch1:
        # One job in hand, one a claim, one a commit: what batching is worth.
        flags["worker.processes"] = "1"
        window.WIDEST = 1
        completer.MAX_BATCH = 1
    if told.dedicated:
        flags["worker.dedicated"] = ["*"]
    if told.processes is not None:
        flags["worker.processes"] = str(told.processes)
    loaded = config.load(flags, os.environ, told.work_dir)
    assert loaded.database_url is not None
    return life.run_node(loaded, Database(loaded.database_url))


if __name__ == "__main__":
    sys.exit(main())
