"""Rows of flows that one worker holds whole: a round of all of them in one transaction.

The steps have no row while they run; each is written when it is over, together with what its flow then
is, fenced by the flow's claim. SQL: `sql/flow.sql`.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, time

from msgspec import Struct, field

from mill_actors.errors import StoreRefused
from mill_actors.flows.effects import Effects, RunEnd
from mill_actors.flows.run import Run
from mill_actors.flows.state import Ending, State, decode_state
from mill_actors.jobs.outcome import Outcome
from mill_actors.store.arrays import JsonArray, TextArray, literal, numbers
from mill_actors.store.concurrency import Key
from mill_actors.store.connection import Connection, DatabaseError, is_outage
from mill_actors.store.flow_rows import (
    Written,
    body_path,
    early_name,
    end_runs,
    forget_results,
    forget_tries,
    is_made,
    put_cached,
    put_items,
    put_resume,
    run_columns,
    settle_places,
)
from mill_actors.store.flow_values import RoundValues
from mill_actors.store.holder import Holder
from mill_actors.store.logs import LogChunk, write_logs
from mill_actors.store.queries import sql


class HeldStep(Struct):
    """A step that is over, as it is written. Times are monotonic seconds."""

    id: str
    root: str
    run: Run
    path: str
    script: str
    tag: str
    priority: int
    status: Ending
    args: bytes
    result: bytes
    attempt: int
    name: str
    iteration: int | None
    handed_at: float
    ended_at: float
    duration_us: int = 0


class HeldRound(Struct):
    """What is written in one transaction."""

    #: (flow, claim) of all it is about
    fences: dict[str, str] = field(default_factory=dict)
    steps: list[HeldStep] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    ended: list[RunEnd] = field(default_factory=list)
    effects: list[tuple[Effects, RoundValues]] = field(default_factory=list)
    #: flows that rest in the queue until then (seconds), or until somebody answers
    parks: dict[str, float] = field(default_factory=dict)
    wakes: dict[str, float] = field(default_factory=dict)
    logs: list[LogChunk] = field(default_factory=list)
    attempts: list[Outcome] = field(default_factory=list)
    #: steps that leave their places under concurrency keys: (workspace, key) by step
    leaving: dict[str, Key] = field(default_factory=dict)

    @property
    def is_simple(self) -> bool:
        """Whether one statement writes all of it."""
        return not (
            self.ended or self.parks or self.wakes or self.logs or self.attempts or self.leaving
        ) and not any(effects.has_more for effects, _ in self.effects)


def merge(rounds: Sequence[HeldRound]) -> HeldRound:
    """Put the rounds of several flows into one transaction."""
    if len(rounds) == 1:
        return rounds[0]
    merged = HeldRound()
    for told in rounds:
        merged.fences |= told.fences
        merged.steps += told.steps
        merged.runs |= told.runs
        merged.ended += told.ended
        merged.effects += told.effects
        merged.parks |= told.parks
        merged.wakes |= told.wakes
        merged.logs += told.logs
        merged.attempts += told.attempts
        merged.leaving |= told.leaving
    return merged


def write_round(connection: Connection, told: HeldRound, holder: Holder) -> tuple[set[str], Written]:
    """Write a round; return the flows that are still ours, and what follows.

    Nothing is written of the others. One transaction. Raises `StoreRefused` if Postgres refuses a row.
    """
    try:
        return _write_round(connection, told, holder)
    except DatabaseError as error:
        if is_outage(error):
            raise
        raise StoreRefused(str(error), error.sqlstate) from error


def _write_round(connection: Connection, told: HeldRound, holder: Holder) -> tuple[set[str], Written]:
    written = Written()
    if told.is_simple:
        return _settle(connection, told, holder), written
    with connection.transaction():
        if any(effects.forgets for effects, _ in told.effects):
            fenced = _fenced(connection, told)
            for effects, _ in told.effects:
                forgets = [each for each in effects.forgets if each[0].owner.root in fenced]
                if forgets:
                    forget_tries(connection, forgets)
        ours = _settle(connection, told, holder)
        for effects, values in told.effects:
            _write_rest(connection, effects, values, ours, written)
        if told.attempts:
            _put_attempts(connection, [o for o in told.attempts if o.job.root_job in ours], holder)
        ended = [end for end in told.ended if end.run.owner.root in ours]
        for depth in sorted({end.run.depth for end in ended}, reverse=True):
            level = [end for end in ended if end.run.depth == depth]
            if depth == 0:
                end_runs(connection, level, holder, written)
            else:
                _end_bodies(connection, level, holder)
                for end in level:
                    forget_results(connection, end.run)
                written.ended += level
        wakes = {run: told.wakes[run] for run in told.wakes if _is_of(told, run, ours)}
        if wakes:
            connection.execute(
                sql.set_wakes, {"ids": literal(wakes), "seconds": numbers(wakes.values()), "now": None}
            )
        parks = {flow: seconds for flow, seconds in told.parks.items() if flow in ours}
        if parks:
            rows = connection.execute(
                sql.park_held,
                {"ids": literal(parks), "wakes_in_seconds": numbers(parks.values()), "now": None},
            ).fetchall()
            written.tags |= {row[0] for row in rows}
        if told.leaving or written.leaving:
            places = list(told.leaving)
            written.tags |= settle_places(connection, written, places, told.leaving.values())
        if told.logs:
            write_logs(connection, told.logs)
    return ours, written


def _fenced(connection: Connection, told: HeldRound) -> set[str]:
    """Return which of the flows are still ours, and keep them so until the end of the transaction."""
    rows = connection.execute(
        sql.hold_flows,
        {"ids": literal(told.fences), "claims": literal(told.fences.values()), "now": None},
    ).fetchall()
    return {row[0] for row in rows}


def _is_of(told: HeldRound, run: str, flows: set[str]) -> bool:
    found = told.runs.get(run)
    return found is None or found.owner.root in flows


def _settle(connection: Connection, told: HeldRound, holder: Holder) -> set[str]:
    now = monotonic()
    steps = told.steps
    runs = list(told.runs.values())
    rows = connection.execute(
        sql.settle_held,
        {
            "flows": literal(told.fences),
            "claims": literal(told.fences.values()),
            "ids": literal([s.id for s in steps]),
            "roots": literal([s.root for s in steps]),
            "workspaces": TextArray([s.run.owner.workspace for s in steps]),
            "paths": TextArray([s.path for s in steps]),
            "scripts": TextArray([s.script for s in steps]),
            "tags": TextArray([s.tag for s in steps]),
            "priorities": literal([str(s.priority) for s in steps]),
            "statuses": literal([s.status for s in steps]),
            "ages_us": literal([str(int((now - s.handed_at) * 1e6)) for s in steps]),
            "durations_us": literal([str(s.duration_us) for s in steps]),
            "ended_us": literal([str(int((now - s.ended_at) * 1e6)) for s in steps]),
            "args": JsonArray([s.args for s in steps]),
            "results": JsonArray([s.result for s in steps]),
            "created_by": TextArray([s.run.owner.created_by for s in steps]),
            "attempts": literal([str(s.attempt) for s in steps]),
            "parents": literal([s.run.id for s in steps]),
            "steps": TextArray([s.name for s in steps]),
            "iterations": numbers([s.iteration for s in steps]),
            "worker": holder.worker,
            "now": None,
            **run_columns(runs, "run_"),
        },
    ).fetchall()
    return {row[0] for row in rows}


def _write_rest(
    connection: Connection, effects: Effects, values: RoundValues, ours: set[str], written: Written
) -> None:
    put_cached(connection, effects)
    for items in effects.items:
        if items.run.owner.root in ours:
            put_items(connection, items, values)
    for run, args in effects.inputs:
        if run.owner.root in ours:
            connection.execute(sql.replace_input, {"id": run.id, "args": args.decode()})
    for run, told in effects.resumes:
        if run.owner.root in ours:
            put_resume(connection, run.id, told.step.id, -1, approved=True, value=told.value, approver="")
    for run, step in effects.early:
        if run.owner.root in ours:
            connection.execute(sql.set_early, {"id": run.id, "step": early_name(step)})
            rows = connection.execute(sql.early_awaited, {"ids": literal([run.id])}).fetchall()
            written.awaited += [row[0] for row in rows]


def _end_bodies(connection: Connection, ended: Sequence[RunEnd], holder: Holder) -> None:
    now = time()
    runs = [end.run for end in ended]
    connection.execute(
        sql.end_held_bodies,
        {
            "ids": literal(run.id for run in runs),
            "workspaces": [run.owner.workspace for run in runs],
            "paths": [body_path(run) for run in runs],
            "scripts": [run.flow.hash for run in runs],
            "tags": [run.owner.tag for run in runs],
            "priorities": literal(str(run.owner.priority) for run in runs),
            "statuses": literal(end.status for end in ended),
            "args": JsonArray([run.overlay for run in runs]),
            "results": JsonArray([end.result for end in ended]),
            "of": [None if end.result is not None else end.of for end in ended],
            "many": [is_made(end) for end in ended],
            "since": [run.began for run in runs],
            "began": [max(0.0, now - run.started_at) for run in runs],
            "created_by": [run.owner.created_by for run in runs],
            "parents": literal(str(run.parent) for run in runs),
            "steps": [run.step for run in runs],
            "iterations": [run.iteration for run in runs],
            "worker": holder.worker,
            "now": None,
        },
    )


def _put_attempts(connection: Connection, outcomes: Sequence[Outcome], holder: Holder) -> None:
    now = monotonic()
    connection.execute(
        sql.put_attempts,
        {
            "jobs": literal(o.job.id for o in outcomes),
            "attempts": literal(str(o.job.attempt) for o in outcomes),
            "workspaces": [o.job.workspace for o in outcomes],
            "durations_us": literal(str(o.duration_us) for o in outcomes),
            "ages_us": literal(str(int((now - o.ended_at) * 1e6)) for o in outcomes),
            "errors": JsonArray([o.result for o in outcomes]),
            "worker": holder.worker,
            "now": None,
        },
    )


class HeldRun(Struct):
    """A body of a flow that another worker held, as its row has it."""

    id: str
    flow: str
    body: str
    parent: str | None
    step: str | None
    iteration: int | None
    chain: tuple[str, ...]
    depth: int
    overlay: bytes
    state: State
    began: float
    is_due: bool
    wake_in_seconds: float | None
    deadline: float | None


def held_runs(connection: Connection, root: str) -> list[HeldRun]:
    """Return all bodies of a flow, outermost first."""
    rows = connection.execute(sql.held_runs, {"root": root, "now": None}).fetchall()
    return [
        HeldRun(
            id=row[0],
            flow=row[1],
            body=row[2],
            parent=row[3],
            step=row[4],
            iteration=row[5],
            chain=tuple(row[6]),
            depth=row[7],
            overlay=row[8].encode(),
            state=decode_state(row[9]),
            began=row[10],
            is_due=row[11],
            wake_in_seconds=row[12],
            deadline=row[13],
        )
        for row in rows
    ]
