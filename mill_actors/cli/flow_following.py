"""A flow that runs, as somebody sees it who waits for it: a line a step, what steps print, who is asked."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct, field

from mill_actors.cli.flow_words import approval_of, approvals, place_of
from mill_actors.cli.output import duration, say
from mill_actors.cli.waiting import why_it_waits
from mill_actors.errors import MillError, StoreUnavailable

if TYPE_CHECKING:
    from mill_actors.store.client import Client
    from mill_actors.store.flow_status import FlowStepRow
    from mill_actors.store.jobs import JobResult

#: The first look; what has ended by then is told together.
QUICK_SECONDS = 0.1
LOOK_SECONDS = 0.25
#: How often it is asked what the flow waits for.
STATE_SECONDS = 1.0
#: Rows of one look.
MOST_ROWS = 2000
#: Jobs of one step that are told one by one.
MOST_TOLD = 200
#: Jobs under way whose logs are read at one look.
MOST_READ = 10
#: A row may be seen later than rows with a later time: as long as a transaction takes.
SLACK = timedelta(seconds=5)


class _Log(Struct):
    """What a job has printed so far, up to the last whole line."""

    seen: tuple[int, int] = (0, -1)
    rest: str = ""


class _Told(Struct):
    """What was said of the jobs below a flow."""

    ids: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    quiet: set[str] = field(default_factory=set)
    asked: set[tuple[str, str]] = field(default_factory=set)


class FlowFollowing:
    """One flow from now until its end, told on standard error."""

    def __init__(self, client: Client, job: str, future: Future[JobResult]) -> None:
        self._client = client
        self._job = job
        self._future = future
        self._began = client.job(job).submitted_at
        self._since = self._began - SLACK
        #: what is said at the end of a look: when it happened, how deep, the lines
        self._lines: list[tuple[datetime, int, list[str]]] = []
        #: what the steps of each body are called after; bodies that are over are read once more
        self._bodies = {job: ""}
        self._logs: dict[str, _Log] = {}
        self._told = _Told()
        self._state: str | None = None
        self._asked = 0.0
        self._is_away = False

    def wait(self) -> JobResult:
        """Return the result; what happens is told on the way."""
        pause = QUICK_SECONDS
        while True:
            try:
                result = self._future.result(pause)
            except NotYet:
                pause = LOOK_SECONDS
                self._look()
            else:
                self._look()
                return result

    def _look(self) -> None:
        try:
            while self._read():
                pass
            self._flush()
            self._tell_state()
        except StoreUnavailable:
            if not self._is_away:
                say(f"mill: the database is away; job {self._job} is waited for")
            self._is_away = True
        else:
            self._is_away = False

    # -- steps ---------------------------------------------------------------------

    def _read(self) -> bool:
        """Tell what is new; True if there may be more: a body was found, or all rows were new."""
        rows = self._client.flow_steps(list(self._bodies), self._since, list(self._told.quiet), MOST_ROWS)
        ended = [row for row in rows if row.completed_at is not None]
        asked = set(self._bodies)
        here = {row.id for row in rows if row.is_flow and row.completed_at is None}
        found = False
        running = news = 0
        for row in rows:
            label = self._bodies[row.parent] + place_of(row.step, row.iteration)
            if row.is_flow and row.id not in self._bodies and row.id not in self._told.ids:
                self._bodies[row.id] = f"{label}."
                found |= row.step not in self._told.quiet
            if row.completed_at is None:
                if not row.is_flow and row.status == "running" and running < MOST_READ:
                    running += 1
                    for line in self._log_lines(row.id, label, is_over=False):
                        say(line)
            elif row.id not in self._told.ids:
                news += 1
                self._end(row, label)
        latest = max((row.completed_at for row in ended if row.completed_at is not None), default=None)
        if latest is not None:
            self._since = max(self._since, latest if len(ended) == MOST_ROWS else latest - SLACK)
        for body in asked - here - {self._job}:
            # It is over, and what is inside a body is written before that: all of it was in these rows.
            del self._bodies[body]
        return found or (len(ended) == MOST_ROWS and news > 0)

    def _end(self, row: FlowStepRow, label: str) -> None:
        told = self._told
        told.ids.add(row.id)
        step = row.step.partition("~")[0]
        told.counts[step] = told.counts.get(step, 0) + 1
        if told.counts[step] > MOST_TOLD:
            if row.step not in told.quiet:
                told.quiet.add(row.step)
                say(f"mill: {step}: further jobs of it are not told one by one")
            return
        lines = [] if row.is_flow else self._log_lines(row.id, label, is_over=True)
        took = "" if row.duration_us is None else f" in {duration(row.duration_us)}"
        told_as = f"{row.status}{took}{self._why(row)}"
        lines.append(f"mill: {label} {'as before' if row.submitted_at < self._began else told_as}")
        assert row.completed_at is not None
        self._lines.append((row.completed_at, -label.count("."), lines))

    def _flush(self) -> None:
        """Say what has ended, in that order, and what is inside before what is around it."""
        ended, self._lines = sorted(self._lines, key=lambda each: each[:2]), []
        for _, _, lines in ended:
            for line in lines:
                say(line)

    def _why(self, row: FlowStepRow) -> str:
        if row.status != "failure" or row.is_flow:
            return ""
        from mill_actors.jobs.jsons import decode

        raw = self._client.job(row.id).result
        value = None if raw is None else decode(raw)
        error = value.get("error") if isinstance(value, dict) else None
        if not isinstance(error, dict):
            return ""
        return f": {error.get('name', 'Error')}: {str(error.get('message', '')).strip()}"

    def _log_lines(self, job: str, label: str, *, is_over: bool) -> list[str]:
        """Return what a job has printed since the last time, in whole lines."""
        log = self._logs.setdefault(job, _Log())
        for chunk in self._client.logs(job, log.seen):
            log.seen = (chunk.attempt, chunk.position)
            log.rest += chunk.text
        *lines, log.rest = log.rest.split("\n")
        if is_over:
            lines += [log.rest] if log.rest else []
            del self._logs[job]
        return [f"{label} | {line}" for line in lines]

    # -- waiting -------------------------------------------------------------------

    def _tell_state(self) -> None:
        if self._future.done() or monotonic() - self._asked < STATE_SECONDS:
            return
        self._asked = monotonic()
        job = self._client.job(self._job)
        if job.status == "queued":
            told = why_it_waits(job, self._client.tags_served(), datetime.now(UTC)) or ""
            kind = told.partition(" (in ")[0]
            if told and kind != self._state:
                say(f"mill: job {self._job} waits: {told}")
            self._state = kind
            return
        for body in list(self._bodies):
            self._tell_approval(body)

    def _tell_approval(self, body: str) -> None:
        try:
            waits = approval_of(self._client.flow_status(body))
        except StoreUnavailable:
            raise
        except MillError:
            return  # it has just gone
        if waits is not None and (body, waits[0]) not in self._told.asked:
            self._told.asked.add((body, waits[0]))
            step, count = waits
            name = f"{self._bodies[body]}{step}"
            say(f"mill: {name} waits for {approvals(count)}: `mill flow resume {body}`")
