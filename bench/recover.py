"""recover: a node dies in the middle of its work, and another one comes back from the dead.

Two nodes run no-ops until both want hundreds of jobs in hand; then jobs arrive that block at a gate
(a file). Nothing can end now, so what a node holds, it holds. The moment one of them holds 500 and one
of its processes is at the gate, it is killed with kill -9; its language processes go with it or not, as
the engine has it (`orphaned_processes` are those that still run when the jobs are rescued).
`jobs_in_hand` is what the database says it held after its death, `seconds_to_requeue` the time from the
kill until no row names it as its holder. The gate opens, the survivor does the rest, and history is
compared with what was submitted: `lost` and `done_twice`.

The moment matters: jobs that wait behind one that blocks are taken back after 0.1 s and, where no
other process can take them, given back to the queue after 0.5 s.

Second part, at a gate of its own: a node is paused with SIGSTOP, its lease runs out, its jobs go to
the other; the gate opens, and what its processes then answer waits in the pipe. When all is done it
is woken with SIGCONT: each of its finishes must be rejected (`stale_rejected`, counted by its own
Completer), and it must start over as a new node.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from bench.load import POLL_SECONDS, until_empty
from bench.node_process import NodeProcess
from bench.report import Run, console
from bench.scripts import gated
from bench.server import Link, Server, work_folder
from mill_actors.store.client import Client
from mill_actors.store.submission import Submission

JOBS = 6_000
QUICK_JOBS = 4_000
LEAST_IN_HAND = 500
#: No-ops before the gate, so that the nodes know how short their jobs are.
FAST_JOBS = 20_000
#: A node that will hold hundreds of jobs does so at once.
GRIP_SECONDS = 3.0
TRIES = 5
#: Rescue after a lease, and then some.
PATIENCE_SECONDS = 60.0

_STALE = re.compile(r"(\d+) finishes were stale")


def run(server: Server, jobs: int) -> Run:
    """Measure once."""
    with work_folder("node") as folder, server.database() as dsn:
        bench = _Recovery(dsn, folder)
        try:
            bench.begin()
            in_hand, seconds, orphans = bench.kill_one(jobs)
            stale = bench.pause_one(jobs)
            lost, twice = bench.count()
        finally:
            bench.end()
    assert lost == 0, f"{lost} acknowledged jobs are neither in the queue nor in history"
    assert twice == 0, f"{twice} jobs are in history more than once"
    return {
        "jobs_in_hand": (in_hand, "jobs"),
        "seconds_to_requeue": (seconds, "s"),
        "lost": (lost, "jobs"),
        "stale_rejected": (stale, "finishes"),
        "done_twice": (twice, "jobs"),
        "orphaned_processes": (orphans, "processes"),
        "jobs": (len(bench.submitted), "jobs"),
    }


class _Recovery:
    """One database, its nodes, and every id that was acknowledged."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._folder = folder
        self._gates = folder / "gates"
        self._gates.mkdir()
        self._gates.chmod(0o777)
        self._client = Client(dsn)
        self._link = Link(dsn)
        self._script = gated()
        self._nodes: dict[str, NodeProcess] = {}
        self.submitted: list[str] = []

    def begin(self) -> None:
        """Deploy, and start the first two nodes."""
        self._client.deploy(self._script)
        self._start("first")
        self._start("second")

    def end(self) -> None:
        """Leave nothing behind."""
        for node in self._nodes.values():
            node.kill()
        self._client.close()
        self._link.close()

    def kill_one(self, jobs: int) -> tuple[int, float, int]:
        """Kill a node with hundreds of jobs in hand.

        Return how many, the seconds to their rescue, and how many of its processes lived on till then.
        """
        victim, gate, last = self._catch_one(jobs)
        node = self._nodes.pop(victim)
        began = time.monotonic()
        node.kill_alone()
        console.print(f"[dim]killed the {victim} node[/]", highlight=False)
        try:
            in_hand = self._held_by(node)
            assert in_hand >= LEAST_IN_HAND, f"only {in_hand} jobs were in the dead node's hands"
            self._wait(lambda: self._held_by(node) == 0, "the dead node's jobs are not taken back")
            seconds = time.monotonic() - began
            orphans = sum(process.is_running() for process in node.known_languages())
            gate.touch()
            done = until_empty(self._link, last, jobs * 10) - began - seconds
            console.print(f"[dim]back after {seconds:.1f} s, all done {done:.1f} s later[/]", highlight=False)
            rescued = self._link.scalar("select count(*) from mill.completed_job where rescues > 0")
            assert rescued == in_hand, f"{in_hand} jobs were in hand, and {rescued} were rescued"
        finally:
            node.kill()
        return in_hand, seconds, orphans

    def _catch_one(self, jobs: int) -> tuple[str, Path, str]:
        """Return who holds hundreds of jobs at which gate, and the last job before it.

        How many a node wants in hand follows from how long its jobs took, which on a busy machine
        may be long.
        """
        for number in range(TRIES):
            gate = self._gates / f"kill-{number}"
            self._run_fast()
            last = self._submit(jobs, gate)
            victim = self._await_grip(self._nodes, gate, LEAST_IN_HAND)
            if victim is not None:
                return victim, gate, last
            gate.touch()
            until_empty(self._link, last, jobs)
        message = f"in {TRIES} tries no node held {LEAST_IN_HAND} jobs at a gate"
        raise AssertionError(message)

    def pause_one(self, jobs: int) -> int:
        """Pause a node past its lease, wake it, and return how many of its finishes were rejected."""
        gate = self._gates / "pause"
        paused = self._start("third")
        self._run_fast()
        last = self._submit(jobs, gate)
        found = self._await_grip({"third": paused}, gate, 1)
        assert found == "third", f"the third node takes no jobs:\n{paused.log_tail()}"
        paused.suspend()
        held = self._held_by(paused)
        self._wait(lambda: self._held_by(paused) == 0, "the paused node's jobs are not taken back")
        gate.touch()
        self._wait(lambda: self._answered(paused, gate) > 0, "the paused node's processes answer nothing")
        until_empty(self._link, last, jobs * 10)
        answered = self._answered(paused, gate)
        paused.resume()
        self._wait(lambda: self._is_reborn(paused), "the node that was declared dead does not start over")
        stale = sum(int(found) for found in _STALE.findall(paused.log.read_text(errors="replace")))
        assert stale >= 1, (
            f"{held} jobs were taken from the paused node, its processes answered {answered} of them, "
            f"and not one finish was rejected as stale:\n{paused.log_tail()}"
        )
        # Both are living nodes now: they must be able to work, and to stop in order.
        self._run_fast()
        for node in self._nodes.values():
            node.stop()
        return stale

    def count(self) -> tuple[int, int]:
        """Return how many acknowledged jobs are missing in history, and how many are there twice."""
        row = self._link.execute(
            """
            select count(*), count(distinct id), count(*) filter (
              where status = 'success' and result->>'number' = args->>'number')
            from mill.completed_job where id = any (%s::uuid[])
            """,
            [self.submitted],
        ).fetchone()
        assert row is not None
        rows, ids, right = row
        if right != rows:
            wrong = self._link.execute(
                """
                select status, left(result::text, 200), count(*) from mill.completed_job
                where status <> 'success' or result->>'number' is distinct from args->>'number'
                group by 1, 2 order by 3 desc limit 5
                """
            ).fetchall()
            message = f"{rows - right} of {rows} jobs did not end with their own result: {wrong}"
            raise AssertionError(message)
        return len(self.submitted) - ids, rows - ids

    # -- steps ---------------------------------------------------------------------

    def _start(self, name: str) -> NodeProcess:
        node = self._nodes[name] = NodeProcess(self._dsn, self._folder, name)
        return node

    def _submit(self, jobs: int, gate: Path | None = None) -> str:
        first = len(self.submitted)
        more: dict[str, object] = {} if gate is None else {"gate": str(gate)}
        told = [
            Submission(path=self._script.path, args={"number": first + place, **more})
            for place in range(jobs)
        ]
        self.submitted += [receipt.id for receipt in self._client.submit_many(told)]
        return self.submitted[-1]

    def _run_fast(self) -> None:
        """Run no-ops until every node has every process it may have."""
        for _ in range(20):
            until_empty(self._link, self._submit(FAST_JOBS), FAST_JOBS)
            if all(len(node.languages()) >= node.processes for node in self._nodes.values()):
                return
        message = "a node has too few processes: " + ", ".join(
            f"{name} {len(node.languages())}" for name, node in self._nodes.items()
        )
        raise AssertionError(message)

    def _await_grip(self, nodes: dict[str, NodeProcess], gate: Path, least: int) -> str | None:
        """Return the first node that holds `least` jobs and runs one at the gate; None if none does."""
        names = {node.id: name for name, node in nodes.items()}
        deadline = time.monotonic() + GRIP_SECONDS
        while time.monotonic() < deadline:
            rows = self._link.execute(
                "select node::text, count(*) from mill.queue where running group by node"
            ).fetchall()
            for node, held in rows:
                name = names.get(node)
                if name is not None and held >= least and self._ledgers(nodes[name], gate):
                    return name
            time.sleep(0.002)
        return None

    def _held_by(self, node: NodeProcess) -> int:
        return int(
            self._link.scalar("select count(*) from mill.queue where running and node = %s", [node.id])
        )

    def _ledgers(self, node: NodeProcess, gate: Path) -> list[Path]:
        """Return the files that a node's processes have left at a gate."""
        node.languages()
        files = [Path(f"{gate}.{process.pid}") for process in node.known_languages()]
        return [file for file in files if file.exists()]

    def _answered(self, node: NodeProcess, gate: Path) -> int:
        """Return how many jobs a node's processes have ended, by their own account."""
        return sum(len(file.read_text().splitlines()) for file in self._ledgers(node, gate))

    def _is_reborn(self, node: NodeProcess) -> bool:
        node.check()
        told = node.tree()
        return told is not None and told["node"] != node.id

    def _wait(self, is_so: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            for node in self._nodes.values():
                node.check()
            assert time.monotonic() < deadline, complaint
            time.sleep(POLL_SECONDS)
