"""Does what a rehearsal of a flow waits for, and tells what happens."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from mill_actors.cli.flow_words import place_of
from mill_actors.cli.flow_world import fill_references
from mill_actors.cli.output import duration, say
from mill_actors.errors import InvalidArgs

if TYPE_CHECKING:
    from mill_actors.actors.rehearsal_runner import Played, Troupe
    from mill_actors.flows.effects import NewJob
    from mill_actors.flows.rehearsal import Rehearsal, World
    from mill_actors.flows.run import Run
    from mill_actors.flows.state import Resume


class Direction:
    """Does what a rehearsal waits for, until it is over, and tells each step that ends."""

    def __init__(
        self, rehearsal: Rehearsal, troupe: Troupe, world: World, answer: Callable[[Run, int], Resume]
    ) -> None:
        self._rehearsal = rehearsal
        self._troupe = troupe
        self._world = world
        self._answer = answer
        self._playing: dict[str, NewJob] = {}
        self._open: set[str] = set()
        self._seen = 0
        self._took: dict[str, int] = {}

    def run(self) -> None:
        """Go on until the flow has ended."""
        rehearsal = self._rehearsal
        self._tell()
        while rehearsal.status is None:
            if self._start():
                pass
            elif self._playing:
                self._finish(self._troupe.next_end())
            elif rehearsal.sleeping:
                run, seconds = rehearsal.sleeping[0]
                say(f"mill: {self._label(run.id)}sleeps {seconds:g} s, which are not waited for")
                rehearsal.wake(run.id)
            elif rehearsal.suspended:
                run = rehearsal.suspended[0]
                suspend = run.body.steps[run.state.at - 1].module.suspend
                rehearsal.answer(run.id, self._answer(run, suspend.required_events if suspend else 1))
            else:
                raise AssertionError("the flow waits for nothing")
            self._tell()

    def _start(self) -> bool:
        """Start what may run; True if that has ended a job already."""
        for job in self._rehearsal.ready:
            if job.id in self._playing:
                continue
            if not self._troupe.has_room:
                return False
            try:
                args = fill_references(job.args, self._world)
            except InvalidArgs as error:
                from mill_actors.jobs.outcome import error_result

                self._rehearsal.finish(job.id, "failure", error_result("ExecutionErr", str(error)))
                return True
            self._playing[job.id] = job
            if job.delay_seconds > 0:
                label = self._label(job.id)
                say(f"mill: {label}waits {job.delay_seconds:g} s before this try, which are not waited for")
            self._troupe.play(
                job.id,
                job.script,
                args,
                timeout_seconds=job.timeout_seconds,
                flow=job.run.id,
                step=job.step.id,
            )
        return False

    def _finish(self, played: Played) -> None:
        del self._playing[played.job]
        self._took[played.job] = played.duration_us
        label = self._label(played.job, is_body=False)
        for line in played.log.splitlines():
            say(f"{label} | {line}")
        self._rehearsal.finish(played.job, played.status, played.result)

    def _tell(self) -> None:
        """Tell every child that has ended since the last time, in the order they were started."""
        rows = self._rehearsal.stored.rows
        ids = [*self._open, *islice(rows, self._seen, None)]
        self._seen = len(rows)
        self._open = {job for job in ids if job in rows and rows[job].status is None}
        ended = [(self._label(job, is_body=False), job) for job in ids if job not in self._open]
        # What is inside ends before what is around it.
        for label, job in sorted(ended, key=lambda each: (-each[0].count("."), _number(each[1]))):
            row = rows[job]
            took = f" in {duration(self._took.pop(job))}" if job in self._took else ""
            why = ""
            if row.status == "failure" and row.result is not None:
                why = f": {_first_line(row.result)}"
            say(f"mill: {label} {row.status}{took}{why}")

    def _label(self, job: str, *, is_body: bool = True) -> str:
        """Return what a child is called: `b[2].c`."""
        rows = self._rehearsal.stored.rows
        names: list[str] = []
        while job in rows:
            row = rows[job]
            names.append(place_of(row.step, row.iteration))
            job = row.parent
        label = ".".join(reversed(names))
        return f"{label} " if is_body and label else label


def _first_line(result: bytes) -> str:
    from mill_actors.jobs.jsons import decode

    value = decode(result)
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return "its result is the list of what it has run" if isinstance(value, list) else ""
    return f"{error.get('name', 'Error')}: {str(error.get('message', '')).strip()}"


def _number(job: str) -> int:
    return int(job.removeprefix("job"))
