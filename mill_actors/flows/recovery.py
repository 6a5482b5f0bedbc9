"""What a body has missed: the events that bring it up to date, from what the database holds of it.

A driver that takes a flow over knows the state of each body, and its children by the rows of their
jobs. Of a step that has one child at a time, only that one is needed (`State.job`), however many came
before it; of a parallel step all of them, but not their results.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from mill_actors.flows.children import is_forgiven
from mill_actors.flows.program import Step
from mill_actors.flows.run import Run
from mill_actors.flows.state import Begin, Ended, Ending, Event, Lost, Phase, Recount, Stop


class ChildRow(Struct, frozen=True):
    """A child that has ended; `result` None: not at hand, and fetched if it is needed."""

    job: str
    step: str
    iteration: int | None
    status: Ending
    result: bytes | None = None
    stop: Stop = ""


class OpenChild(Struct, frozen=True):
    """A child that runs, or waits to: a job in the queue, or a body with a state of its own."""

    job: str
    iteration: int | None = None


def recover(
    run: Run, completed: Sequence[ChildRow], under_way: Collection[OpenChild], begin: Begin | None = None
) -> list[Event]:
    """Return what to feed to a run, given the children of its step at work.

    `completed` may hold children of other steps and tries as well; they do not count. `begin`: how
    the run begins, if it has not.
    """
    state = run.state
    if state.phase is Phase.NEW:
        return [begin or Begin()]
    if state.phase not in {Phase.STEP, Phase.FAILURE, Phase.PREPROCESSOR}:
        return []  # a timer or an answer wakes it
    for row in completed:
        if row.job == state.job and not _is_one_of_many(run, row):
            return [Ended(row.step, row.iteration, row.job, row.status, row.result, row.stop)]
    if state.phase is Phase.STEP and _step(run).is_parallel:
        return _recount(run, completed, under_way)
    return [] if any(child.job == state.job for child in under_way) else [Lost()]


def _step(run: Run) -> Step:
    return run.body.steps[run.state.at]


def _is_one_of_many(run: Run, row: ChildRow) -> bool:
    return run.state.phase is Phase.STEP and _step(run).is_parallel and row.iteration is not None


def _recount(run: Run, completed: Sequence[ChildRow], under_way: Collection[OpenChild]) -> list[Event]:
    state, step = run.state, _step(run)
    ended = {row.iteration: row.status for row in completed if row.step == step.id}
    failed = sum(
        status in {"failure", "cancelled"} and not is_forgiven(step, number)
        for number, status in ended.items()
        if number is not None
    )
    there = ended.keys() | {child.iteration for child in under_way}
    missing = tuple(number for number in range(state.started) if number not in there)
    if len(ended) == state.ended and not missing and len(ended) < state.length:
        return []
    return [Recount(len(ended), failed, missing)]
