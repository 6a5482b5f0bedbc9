"""Real nodes in processes of their own, jobs that wait at a gate, and the count at the end.

`Fleet` is one database, its nodes and every id that was acknowledged. Run as a program this file is
a node: what `mill worker` is, which says on stdout whenever it is up.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from mill_actors import config
from mill_actors.actors.life import Node, run_node
from mill_actors.jobs.script import NO_OPTIONS, ScriptOptions, make_script
from mill_actors.store.client import Client
from mill_actors.store.connection import Database
from mill_actors.store.jobs import JobResult
from mill_actors.store.submission import Submission

ROOT = Path(__file__).parents[2]
BEAT = 0.2
LEASE = 0.7
FAST: dict[str, object] = {
    "node.beat_seconds": BEAT,
    "node.lease_seconds": LEASE,
    "node.grace_seconds": 20,
    "worker.poll_seconds": 1,
    "worker.processes": 1,
}
#: For what should take moments, on a machine that others use too.
PATIENCE = 30.0

#: A job writes its start, waits at its gate (a lock that the test holds), and writes its end.
WORK = """\
import fcntl
import os


def write(ledger, event):
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(file, f"{os.environ['WM_JOB_ID']} {os.getpid()} {event}\\n".encode())
    os.close(file)


def main(number, ledger, gate=None):
    write(ledger, "start")
    if gate is not None:
        file = os.open(gate, os.O_RDONLY)
        fcntl.flock(file, fcntl.LOCK_SH)
        os.close(file)
    write(ledger, "end")
    return {"number": number}
"""
PATH = "f/system/work"


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again, for what sends no signal."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    job: str
    pid: int
    event: str


class Gate:
    """Shut until it is opened, once and for all who wait at it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        path.chmod(0o666)
        self._file: int | None = os.open(path, os.O_RDONLY)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class NodeProcess:
    """One node; up when the constructor returns."""

    def __init__(self, dsn: str, work_dir: Path, name: str, settings: dict[str, object]) -> None:
        self.name = name
        self.work_dir = work_dir
        self.log = work_dir.parent / f"{name}.log"
        self._heard = b""
        environ = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MILL_", "PG")) and key != "DATABASE_URL"
        }
        environ |= {"DATABASE_URL": dsn, "PYTHONPATH": str(ROOT)}
        flags = {**FAST, **settings, "node.name": name, "node.work_dir": str(work_dir)}
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "tests.system.nodes", json.dumps(flags)],
                cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.pid = self.popen.pid
        try:
            self.id = self.await_life()
        except BaseException:
            self.kill()
            raise

    def await_life(self) -> str:
        """Wait until the node is up, or up again under a new id; return the id."""
        assert self.popen.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self.popen.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self.popen.stdout.fileno(), 4096) if ready else b""
            assert data, f"{self.name} does not come up:\n{self.log_tail()}"
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def suspend(self) -> None:
        """SIGSTOP the node, and not its language processes."""
        self.signal(signal.SIGSTOP)
        process = psutil.Process(self.pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "the node stops at SIGSTOP")

    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        return self.popen.wait(PATIENCE)

    def stop(self) -> None:
        """Stop in order, which must work."""
        self.signal(signal.SIGTERM)
        code = self.end()
        assert code == 0, f"{self.name} ended with {code}:\n{self.log_tail()}"

    def kill(self) -> None:
        """Kill -9, and reap."""
        self.popen.kill()
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Fleet:
    """A database, the nodes that work on it, and what was submitted."""

    def __init__(self, dsn: str, folder: Path) -> None:
        folder.chmod(0o755)
        self.dsn = dsn
        self.folder = folder
        self.client = Client(dsn)
        self.nodes: list[NodeProcess] = []
        self.submitted: list[str] = []
        self._ledger = folder / "ledger"
        self._ledger.touch()
        self._ledger.chmod(0o666)
        self._gates: list[Gate] = []
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    # -- nodes ---------------------------------------------------------------------

    def start(self, name: str, **settings: object) -> NodeProcess:
        """Start a node; a setting's first `_` stands for its dot: `node_grace_seconds`."""
        told = {key.replace("_", ".", 1): value for key, value in settings.items()}
        node = NodeProcess(self.dsn, self.folder / name, name, told)
        self.nodes.append(node)
        return node

    def processes(self) -> list[psutil.Process]:
        """Return every living language process, and what it has left, of any node of ours."""
        mine = tuple(f"{node.work_dir}/".encode() for node in self.nodes)
        found = []
        nodes = {node.pid for node in self.nodes}
        for process in psutil.process_iter():
            if process.pid in nodes or process.pid == os.getpid():
                continue
            with suppress(OSError, psutil.Error):
                said = Path(f"/proc/{process.pid}/cmdline").read_bytes()
                place = os.fsencode(Path(f"/proc/{process.pid}/cwd").readlink())
                # An embedded server may lie in a work folder too.
                is_ours = any(folder in said for folder in mine) and b"/postgres/" not in said
                is_there = place.startswith(mine) and b"/postgres/" not in place
                if (is_ours or is_there) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self) -> None:
        self.open_gates()
        for node in self.nodes:
            node.kill()
        if self._connection is not None:
            self._connection.close()
        self.client.close()

    # -- jobs ----------------------------------------------------------------------

    def deploy(
        self, code: str, path: str = PATH, options: ScriptOptions = NO_OPTIONS, language: str = "python3"
    ) -> str:
        """Deploy a script; return the hash of the version."""
        script = make_script("default", path, language, code, options)
        self.client.deploy(script)
        return script.hash

    def gate(self, name: str = "gate") -> Gate:
        gate = Gate(self.folder / name)
        self._gates.append(gate)
        return gate

    def open_gates(self) -> None:
        for gate in self._gates:
            gate.open()

    def submit(self, count: int = 1, gate: Gate | None = None, **options: Any) -> list[str]:
        """Submit jobs of the script WORK."""
        more = {} if gate is None else {"gate": str(gate.path)}
        return self.submit_all(
            Submission(
                path=PATH,
                args={"number": len(self.submitted) + place, "ledger": str(self._ledger), **more},
                **options,
            )
            for place in range(count)
        )

    def submit_all(self, told: Iterable[Submission]) -> list[str]:
        ids = [receipt.id for receipt in self.client.submit_many(list(told))]
        self.submitted += ids
        return ids

    def run(self, path: str, args: dict[str, object] | None = None, **options: Any) -> JobResult:
        """Run one job to its end."""
        job, future = self.client.start(path, args, **options)
        self.submitted.append(job)
        return future.result(PATIENCE)

    def ledger(self, event: str | None = None) -> list[Entry]:
        entries = []
        for line in self._ledger.read_text().splitlines():
            job, pid, told = line.split()
            if event in {None, told}:
                entries.append(Entry(job, int(pid), told))
        return entries

    def await_starts(self, count: int) -> list[Entry]:
        """Wait until the ledger has that many starts; return them."""
        wait_until(lambda: len(self.ledger("start")) >= count, f"{count} jobs have started")
        return self.ledger("start")

    # -- the database --------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.dsn, autocommit=True, application_name="test")
        return self._connection.execute(query, values).fetchall()

    def value(self, query: str, *values: object) -> Any:
        return self.rows(query, *values)[0][0]

    def held_by(self, node: str) -> list[str]:
        """Return the jobs in a node's hands, by what the database says."""
        return [row[0] for row in self.rows("select id::text from mill.queue where node = %s", node)]

    def await_end(self, seconds: float = PATIENCE) -> None:
        """Wait until the queue is empty."""
        wait_until(
            lambda: self.value("select count(*) from mill.queue") == 0, "the queue gets empty", seconds
        )

    def check(self, *, statuses: Sequence[str] = ("success",), most_attempts: int = 1) -> None:
        """End the nodes, and count: every acknowledged job is in history once and nowhere else."""
        self.await_end()
        for node in self.nodes:
            if node.is_alive():
                node.stop()
        rows = self.rows("select id::text, status, attempt, result::text from mill.completed_job")
        assert sorted(row[0] for row in rows) == sorted(self.submitted)
        assert {row[1] for row in rows} <= set(statuses), Counter(row[1] for row in rows)
        assert max(row[2] for row in rows) <= most_attempts
        assert self.value("select count(*) from mill.queue") == 0
        assert self.value("select count(*) from mill.concurrency_slot") == 0
        wait_until(lambda: not self.processes(), f"no process is left of {self.processes()}", 5.0)


@contextmanager
def fleet_of(dsn: str, folder: Path) -> Iterator[Fleet]:
    """Lend a fleet that has the script WORK; nothing of it stays."""
    fleet = Fleet(dsn, folder)
    try:
        fleet.deploy(WORK)
        yield fleet
    finally:
        fleet.close()
        for process in fleet.processes():
            with suppress(psutil.Error):
                process.kill()


def main() -> int:
    """Be a node."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    loaded = config.load(json.loads(sys.argv[1]), os.environ, Path.cwd())
    assert loaded.database_url is not None

    def started(node: Node) -> None:
        print(node.id, flush=True)  # noqa: T201  the signal that tests wait for

    return run_node(loaded, Database(loaded.database_url), started=started)


if __name__ == "__main__":
    sys.exit(main())
