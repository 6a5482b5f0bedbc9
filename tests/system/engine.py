"""The whole engine under test: nodes in this process and in others, jobs, and what became of them.

`Engine` starts and stops; `oracle.py` judges. Everything waits for signals, or looks at what
sends none until a deadline.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg

from mill_actors.actors.life import Node
from mill_actors.config import Config, load
from mill_actors.events import Events, Moved
from mill_actors.jobs.lifecycle import Action
from mill_actors.jobs.script import Script, ScriptOptions, make_script
from mill_actors.store.client import Client
from mill_actors.store.connection import Database
from mill_actors.store.submission import Submission
from tests.system.oracle import LEDGER_PY, Oracle
from tests.system.proxy import wait_until

PROGRAM = Path(__file__).with_name("node_program.py")
ROOT = Path(__file__).parents[2]
SECONDS = 20.0

FAST: Mapping[str, object] = {
    "node.name": "test",
    "node.beat_seconds": 0.2,
    "node.lease_seconds": 0.7,
    "node.grace_seconds": 10.0,
    "worker.processes": 2,
}


def settings(work_dir: Path, given: Mapping[str, Any]) -> dict[str, object]:
    """Turn `worker__processes=3` and the like into the settings of a node that is fast."""
    return {**FAST, "node.work_dir": str(work_dir), **{k.replace("__", "."): v for k, v in given.items()}}


class Gate:
    """A door that jobs stand before until the test opens it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        self.path = str(path)
        self._open: int | None = None

    def open(self) -> None:
        """Let everybody through who waits, and who comes."""
        self._open = os.open(self.path, os.O_RDWR)

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open)
            self._open = None


class Moves:
    """The events of a node, waited for by job and action."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._moves: list[Moved] = []

    def __call__(self, move: Moved) -> None:
        with self._changed:
            self._moves.append(move)
            self._changed.notify_all()

    def of(self, action: Action) -> list[str]:
        with self._changed:
            return [job for move in self._moves if move.action is action for job in move.jobs]

    def actions(self, job: str) -> list[Action]:
        with self._changed:
            return [move.action for move in self._moves if job in move.jobs]

    def wait(self, action: Action, jobs: Iterable[str], seconds: float = SECONDS) -> None:
        """Wait until all of these have made that move."""
        wanted = set(jobs)
        with self._changed:
            found = self._changed.wait_for(
                lambda: wanted <= {job for move in self._moves if move.action is action for job in move.jobs},
                seconds,
            )
        assert found, f"not within {seconds:g} s: {action.value} of {len(wanted)} jobs"


class NodeProcess:
    """A node in a process of its own."""

    def __init__(self, flags: Mapping[str, object], folder: Path, environment: Mapping[str, str]) -> None:
        self._lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(flags)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        )
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._read, name="node process", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    # -- waiting -------------------------------------------------------------------

    def wait(
        self, kind: str, test: Callable[[dict[str, Any]], object] = lambda _: True, seconds: float = SECONDS,
        *, count: int = 1,
    ) -> dict[str, Any]:  # fmt: skip
        """Wait for the n-th thing of a kind that it says."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self._lines if line["kind"] == kind and test(line)]

        with self._changed:
            done = self._changed.wait_for(lambda: len(found()) >= count, seconds)
            assert done, f"not within {seconds:g} s: {kind} of {self.pid}:\n{self.log()}"
            return found()[count - 1]

    def up(self, life: int = 1, seconds: float = SECONDS) -> str:
        """Wait until it is up, and return its node's id."""
        return str(self.wait("up", count=life, seconds=seconds)["node"])

    def moved(self, action: Action) -> list[str]:
        with self._changed:
            return [
                job
                for line in self._lines
                if line["kind"] == "moved" and line["action"] == action.value
                for job in line["jobs"]
            ]

    def log(self) -> str:
        return "\n".join(f"{ln['level']} {ln['text']}" for ln in self._lines if ln["kind"] == "log")

    # -- ending --------------------------------------------------------------------

    def language_processes(self) -> list[psutil.Process]:
        """Everything below it but the reaper."""
        children = psutil.Process(self.pid).children(recursive=True)
        return [child for child in children if "supervisors-reaper" not in " ".join(child.cmdline())]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self, seconds: float = SECONDS) -> int:
        """Wait for its end; if it does not come, say where every thread is."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGUSR1)
            with suppress(AssertionError):
                self.wait("log", lambda line: "mill-tree-socket" in line["text"], 5.0)
            message = f"node {self.pid} does not end:\n{self.log()}"
            raise AssertionError(message) from None
        self._reader.join(5.0)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kill(self) -> list[psutil.Process]:
        """kill -9, and return the language processes it had."""
        orphans = self.language_processes()
        self.process.kill()
        self.exit_code()
        return orphans

    def close(self) -> None:
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        if not self.process.stdout or not self.process.stdout.closed:
            self.exit_code()


class Engine:
    """A database, a client, nodes; all of it gone at the end of a `with`."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn = dsn
        self.folder = folder
        self.client = Client(dsn)
        self.look = psycopg.connect(dsn, autocommit=True)
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.ledger.chmod(0o666)
        self.oracle = Oracle(self.look, self.ledger)
        self._nodes: list[Node] = []
        self._processes: list[NodeProcess] = []
        self._gates: list[Gate] = []
        self._counter = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self._gates:
            gate.close()
        for node in reversed(self._nodes):
            node.hurry()
            node.stop()
        for process in self._processes:
            process.close()
        self.client.close()
        self.look.close()

    # -- nodes ---------------------------------------------------------------------

    def config(self, **given: Any) -> Config:
        return load(settings(self.folder / "work", given), {}, self.folder)

    def node(self, dsn: str | None = None, **given: Any) -> tuple[Node, Moves]:
        """Start a node in this process."""
        moves, events = Moves(), Events()
        events.subscribe(moves)
        node = Node(self.config(**given), Database(dsn or self.dsn), events)
        node.start()
        self._nodes.append(node)
        return node, moves

    def node_process(
        self, *, wait: bool = True, environment: Mapping[str, str] | None = None, **given: Any
    ) -> NodeProcess:
        """Start a node in a process of its own."""
        self._counter += 1
        flags = settings(self.folder / "work", {"node__name": f"node-{self._counter}", **given})
        process = NodeProcess(flags, self.folder, environment or {"DATABASE_URL": self.dsn})
        self._processes.append(process)
        if wait:
            process.up()
        return process

    # -- jobs ----------------------------------------------------------------------

    def deploy(self, name: str, content: str, language: str = "python3", **options: Any) -> Script:
        script = make_script("default", f"f/test/{name}", language, content, ScriptOptions(**options))
        self.client.deploy(script)
        return script

    def run(self, name: str, /, timeout: float = SECONDS, **args: Any) -> Any:
        """Run one job and return its result."""
        return self.client.run(f"f/test/{name}", args, timeout=timeout)

    def deploy_ledger(self, name: str = "ledger", **options: Any) -> Script:
        """The script whose jobs write down when they start and finish."""
        return self.deploy(name, LEDGER_PY, **options)

    def submit(
        self,
        count: int,
        name: str = "ledger",
        args: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Submit jobs of the ledger script; each returns its number."""
        told = {"ledger": str(self.ledger), **(args or {})}
        given = [
            Submission(path=f"f/test/{name}", args={**told, "n": n}, **(options or {})) for n in range(count)
        ]
        return [receipt.id for receipt in self.client.submit_many(given)]

    def gate(self) -> Gate:
        gate = Gate(self.folder / f"gate-{len(self._gates)}")
        self._gates.append(gate)
        return gate

    def reconnect(self) -> None:
        """Connect anew, after the test has stopped the server."""
        self.look.close()
        self.client.close()
        self.client = Client(self.dsn)
        self.look = psycopg.connect(self.dsn, autocommit=True)
        self.oracle = Oracle(self.look, self.ledger)

    # -- waiting -------------------------------------------------------------------

    def all_done(self, jobs: Sequence[str], seconds: float = 30.0) -> None:
        """Wait until none of these is open."""
        wait_until(lambda: self.open(jobs) == 0, f"{len(jobs)} jobs are done", seconds)

    def open(self, jobs: Sequence[str]) -> int:
        row = self.look.execute(
            "select count(*) from mill.queue where id = any (%s::uuid[])", [list(jobs)]
        ).fetchone()
        assert row is not None
        return int(row[0])

    def running(self, node: str | None = None) -> set[str]:
        """What the database says is in hand."""
        rows = self.look.execute(
            "select id::text from mill.queue where running and (%s::uuid is null or node = %s)", [node, node]
        )
        return {row[0] for row in rows.fetchall()}

    def started(self, count: int, seconds: float = SECONDS) -> None:
        """Wait until so many jobs have written that they start."""
        wait_until(lambda: len(self.oracle.lines("start")) >= count, f"{count} jobs have started", seconds)

    def nodes_alive(self) -> set[str]:
        return {row[0] for row in self.look.execute("select id::text from mill.node").fetchall()}

    @staticmethod
    def all_gone(processes: Sequence[psutil.Process], seconds: float = 5.0) -> None:
        """Wait until none of these processes lives."""
        _, alive = psutil.wait_procs(processes, timeout=seconds)
        alive = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        assert not alive, f"still there: {alive}"
