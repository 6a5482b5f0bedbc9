"""The oracle: what must be true of every job, whatever was done to the engine meanwhile.

Jobs of the ledger script append a line when they start and one when they finish, with O_APPEND,
so that no line is ever torn. The rest is in the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

LEDGER_PY = """\
import os, time

def note(ledger, kind):
    line = f"{kind} {os.environ['WM_JOB_ID']} {os.getpid()} {time.monotonic_ns()}\\n"
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND)
    os.write(file, line.encode())
    os.close(file)

def main(ledger, n=0, gate=None, body=None):
    note(ledger, "start")
    if gate:
        open(gate).close()
    if body:
        exec(body, {"n": n})
    note(ledger, "finish")
    return n
"""

LEDGER_TS = """\
import { appendFileSync, openSync, closeSync } from "node:fs";

const note = (ledger: string, kind: string) =>
  appendFileSync(ledger, `${kind} ${process.env.WM_JOB_ID} ${process.pid} ${process.hrtime.bigint()}\\n`);

export function main(ledger: string, n = 0, gate?: string) {
  note(ledger, "start");
  if (gate) closeSync(openSync(gate, "r"));
  note(ledger, "finish");
  return n;
}
"""


class Line(NamedTuple):
    """A line of the ledger; `at` is the machine's monotonic clock."""

    kind: str
    job: str
    pid: int
    at: int


class Oracle:
    """Reads the ledger and the database; says what is wrong."""

    def __init__(self, look: psycopg.Connection[Any], ledger: Path) -> None:
        self._look = look
        self._ledger = ledger

    def lines(self, kind: str | None = None) -> list[Line]:
        lines = []
        # A line may be half there: it is being written.
        whole, _, _ = self._ledger.read_text().rpartition("\n")
        for text in whole.splitlines():
            what, job, pid, at = text.split()
            if kind in (None, what):
                lines.append(Line(what, job, int(pid), int(at)))
        return lines

    def starts(self) -> Counter[str]:
        return Counter(line.job for line in self.lines("start"))

    def statuses(self, jobs: Iterable[str]) -> dict[str, str]:
        """Id → final status; fails if a job is over twice."""
        rows = self._look.execute(
            "select id::text, status from mill.completed_job where id = any (%s::uuid[])", [list(jobs)]
        ).fetchall()
        twice = [job for job, count in Counter(row[0] for row in rows).items() if count > 1]
        assert not twice, f"over twice: {twice}"
        return dict(rows)

    def check(
        self,
        jobs: Sequence[str],
        *,
        statuses: Iterable[str] = ("success",),
        started_once: bool = False,
        has_ledger: bool = True,
    ) -> dict[str, str]:
        """Every job is over, once, as it should be; nothing of it is left behind."""
        found = self.statuses(jobs)
        missing = set(jobs) - set(found)
        assert not missing, f"{len(missing)} of {len(jobs)} jobs are lost or open: {self.where(missing)}"
        wrong = {job: status for job, status in found.items() if status not in set(statuses)}
        assert not wrong, f"{len(wrong)} ended otherwise: {list(wrong.items())[:5]}: {self.results(wrong)}"
        self._check_rows(jobs)
        if has_ledger:
            starts = self.starts()
            finishes = Counter(line.job for line in self.lines("finish"))
            for job, status in found.items():
                if status == "success":
                    assert finishes[job] >= 1, f"{job} succeeded and has never finished"
                if started_once:
                    assert starts[job] == 1, f"{job} started {starts[job]} times"
        return found

    def _check_rows(self, jobs: Sequence[str]) -> None:
        left = self._look.execute(
            "select count(*) from mill.queue where id = any (%s::uuid[])", [list(jobs)]
        ).fetchone()
        assert left == (0,), "a job is open and over at the same time"
        slots = self._look.execute(
            "select count(*) from mill.concurrency_slot where job = any (%s::uuid[])", [list(jobs)]
        ).fetchone()
        assert slots == (0,), "a job that is over holds a place under its concurrency key"
        attempts = self._look.execute(
            "select c.id::text, c.attempt, count(a.job) from mill.completed_job c "
            "left join mill.job_attempt a on a.job = c.id where c.id = any (%s::uuid[]) "
            "group by c.id, c.attempt having count(a.job) <> c.attempt - 1",
            [list(jobs)],
        ).fetchall()
        assert not attempts, f"attempts that were not kept, or kept twice: {attempts[:5]}"

    def where(self, jobs: Iterable[str]) -> list[Any]:
        return self._look.execute(
            "select id::text, running, node::text, worker, attempt, rescues, tag, admitted, scheduled_for "
            "from mill.queue where id = any (%s::uuid[]) limit 5",
            [list(jobs)],
        ).fetchall()

    def results(self, jobs: Iterable[str]) -> list[Any]:
        return self._look.execute(
            "select result::text from mill.completed_job where id = any (%s::uuid[]) limit 3", [list(jobs)]
        ).fetchall()

    def most_at_once(self) -> int:
        """How many jobs were between start and finish at the same moment."""
        open_now: set[tuple[str, int]] = set()
        most = 0
        for line in sorted(self.lines(), key=lambda line: line.at):
            if line.kind == "start":
                open_now.add((line.job, line.pid))
            else:
                open_now.discard((line.job, line.pid))
            most = max(most, len(open_now))
        return most
