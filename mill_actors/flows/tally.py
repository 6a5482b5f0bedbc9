"""What became of the steps inside loops and branches, told in counts. Pure.

The rows come counted (`store/flow_tallies.py`): there are as many as there are steps, and not as many
as iterations. A failed try is not counted, and a nested flow is one step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from mill_actors.flows.definition import BranchAll, BranchOne
from mill_actors.flows.program import FAILURE, Body, Step
from mill_actors.flows.state import Phase


class RowCount(Struct, frozen=True):
    """Rows of jobs that are alike. `is_own`: no iterations or branches of the step, but the step itself."""

    step: str
    branch: int | None
    is_own: bool
    status: str
    count: int


class RunCount(Struct, frozen=True):
    """Open bodies that are at the same."""

    body: str
    phase: int
    at: int
    #: the branch that is under way, if there is one at a time
    branch: int | None
    count: int
    #: children: how many have started and not ended, how many are still to start
    under_way: int
    to_come: int


class Tally(Struct, frozen=True):
    """How many of a step's or a body's runs are where; `of`: how many there are to be, as far as is known."""

    of: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    running: int = 0
    queued: int = 0
    asking: int = 0
    sleeping: int = 0


class Tallies(Struct, frozen=True):
    """By the ids of steps, and by the addresses of bodies.

    A loop's iterations and a `branchall`'s branches are told with their bodies; with the step itself only
    runs of it that had none.
    """

    steps: dict[str, Tally]
    bodies: dict[str, Tally]


def tally_inside(body: Body, rows: Iterable[RowCount], runs: Iterable[RunCount]) -> Tallies:
    """Return the counts of all that is inside the loops and branches of a body."""
    return _Counting(rows, runs).whole(body)


def choices(body: Body) -> list[str]:
    """Return the steps inside at which a state's counter names a branch: BODY:AT."""
    return [
        f"{each.address}:{step.index}"
        for each in within(body)
        for step in each.steps
        if step.bodies and not step.is_loop and not step.is_parallel
    ]


def within(body: Body) -> list[Body]:
    """Return a body and all inside it, outer ones first."""
    found = [body]
    for each in found:
        found += [inner for step in each.steps for inner in step.bodies]
    return found


class _Counting:
    def __init__(self, rows: Iterable[RowCount], runs: Iterable[RunCount]) -> None:
        self._rows: dict[tuple[str, int | None, bool], Counter[str]] = {}
        for row in rows:
            self._rows.setdefault((row.step, row.branch, row.is_own), Counter())[row.status] += row.count
        self._runs = list(runs)
        self._told = Tallies({}, {})

    def whole(self, body: Body) -> Tallies:
        for step in body.steps:
            self._inner(step, of=1)
        # It has one place in the flow, and runs wherever something fails.
        failed = self._rows_of(FAILURE, None, is_own=True)
        self._told.steps[FAILURE] = _tally(failed, failed.total())
        return self._told

    def _body(self, body: Body, of: int) -> None:
        for step in body.steps:
            counts = self._rows_of(step.id, None, is_own=True)
            at = self._at(step)
            for phase, name in ((Phase.SUSPENDED, "asking"), (Phase.SLEEPING, "sleeping")):
                counts[name] += sum(run.count for run in at if run.phase == phase)
            if not step.bodies:
                # A step in the hands of a worker that holds the flow whole has no row until it is over.
                counts["running"] = max(counts["running"], _working(at) - counts["queued"])
            chosen = self._inner(step, of)
            self._told.steps[step.id] = _tally(counts + chosen, of)

    def _inner(self, step: Step, of: int) -> Counter[str]:
        """Count what is inside a step; return what its runs amount to, if that is one branch each."""
        chosen: Counter[str] = Counter()
        for number, inner in enumerate(step.bodies):
            branch = None if step.is_loop else number
            counts = self._rows_of(step.id, branch, is_own=False)
            for run in self._runs:
                if run.body == inner.address:
                    counts["queued" if run.phase == Phase.NEW else "running"] += run.count
            at = self._at(step)
            if inner.is_direct:
                counts["running"] = max(counts["running"], _direct(step, branch, at) - counts["queued"])
            begun = counts.total()
            if step.is_loop:
                expected = begun + sum(run.to_come for run in at if run.phase == Phase.STEP)
            else:
                expected = max(of, begun) if isinstance(step.module.value, BranchAll) else begun
            self._told.bodies[inner.address] = _tally(counts, expected)
            if inner.is_direct:
                self._told.steps[inner.steps[0].id] = _tally(counts, expected)
            else:
                self._body(inner, expected)
            chosen += counts
        return chosen if isinstance(step.module.value, BranchOne) else Counter()

    def _rows_of(self, step: str, branch: int | None, *, is_own: bool) -> Counter[str]:
        return Counter(self._rows.get((step, branch, is_own)))

    def _at(self, step: Step) -> list[RunCount]:
        return [run for run in self._runs if (run.body, run.at) == (step.body.address, step.index)]


def _working(runs: Sequence[RunCount]) -> int:
    return sum(run.count for run in runs if run.phase == Phase.STEP)


def _direct(step: Step, branch: int | None, at: Sequence[RunCount]) -> int:
    """Return how many scripts that are all of an iteration or a branch are under way, as the states have it.

    Of branches side by side no state says which they are.
    """
    if step.is_parallel:
        return sum(run.under_way for run in at if run.phase == Phase.STEP) if step.is_loop else 0
    return _working([run for run in at if run.branch == branch])


def _tally(counts: Counter[str], of: int) -> Tally:
    return Tally(
        of,
        counts["success"],
        counts["failure"],
        counts["skipped"],
        counts["cancelled"],
        counts["running"],
        counts["queued"],
        counts["asking"],
        counts["sleeping"],
    )
