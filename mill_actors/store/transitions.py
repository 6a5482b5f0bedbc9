"""Transitions of flows whose steps go through the queue, within the transaction that settles the steps.

Innermost first: the runs of one depth are locked in the order of their ids, fed what happened to them,
and what they end is an event of the depth above. What expressions name is fetched on the way. Nothing
of it is remembered outside the database but what never changes (`flow_values.Library`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from mill_actors.errors import MillError
from mill_actors.flows.effects import RunEnd
from mill_actors.flows.expressions import Evaluator
from mill_actors.flows.interpreter import Interpreter
from mill_actors.flows.program import FAILURE, PREPROCESSOR, Step
from mill_actors.flows.recovery import ChildRow, OpenChild, recover
from mill_actors.flows.run import Owner, Run
from mill_actors.flows.state import (
    RESTING,
    Begin,
    Ended,
    Ending,
    Event,
    Phase,
    Resume,
    Woken,
    decode_state,
)
from mill_actors.flows.version import FlowVersion
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import CANCELED, Outcome, error_result
from mill_actors.store.arrays import literal, numbers
from mill_actors.store.cancelled import cancelled_result
from mill_actors.store.concurrency import Key, free_and_admit
from mill_actors.store.connection import Connection
from mill_actors.store.flow_rows import Takes, Written, end_runs, put_runs, write_effects
from mill_actors.store.flow_values import Library, RoundValues
from mill_actors.store.holder import Holder
from mill_actors.store.queries import sql

#: Rounds of thousands of transitions in one settle, after which a loop is taken for endless.
MOST_ROUNDS = 100


class StepEnded(Struct, frozen=True):
    """A step's job that was settled: an event of its parent, which lies at this depth."""

    parent: str
    depth: int
    event: Ended


class FlowWorker(Struct):
    """Who makes transitions: a worker, what it remembers, and what it takes at once."""

    holder: Holder
    library: Library
    evaluator: Evaluator
    takes: Takes


def step_ended(outcome: Outcome) -> StepEnded | None:
    """Return what a settled job means to its flow; None: it is no step."""
    job = outcome.job
    if job.parent_job is None or job.depth is None or job.step is None:
        return None
    status: Ending = outcome.verdict.value
    result = CANCELED if status == "cancelled" else outcome.result
    event = Ended(job.step, job.iteration, job.id, status, result, args=job.args.encode())
    return StepEnded(job.parent_job, job.depth, event)


def advance_flows(
    connection: Connection,
    worker: FlowWorker,
    claim: str,
    ended: Iterable[StepEnded],
    begun: Sequence[ClaimedJob] = (),
) -> Written:
    """Make every transition that follows, inside the caller's transaction.

    `begun`: flows this worker has claimed, new ones and woken ones. Steps that the worker takes at once
    are inserted under `claim` and returned as `handed`: to be run once it is committed.
    """
    return _Round(connection, worker, claim).run(ended, begun)


def fail_flow(connection: Connection, worker: FlowWorker, claim: str, job: ClaimedJob, why: str) -> Written:
    """End a claimed flow that cannot go on, inside the caller's transaction; its parent hears of it."""
    return _Round(connection, worker, claim).fail(job, why)


def cancel_flow(connection: Connection, worker: FlowWorker, claim: str, job: ClaimedJob) -> Written:
    """End a claimed flow as cancelled, and all that is inside it, children of children too.

    Inside the caller's transaction. Steps that run are asked to end, and their workers settle them; who
    is told of that is in `asked`.
    """
    return _Round(connection, worker, claim).cancel(job)


def cancel_left(
    connection: Connection, flows: Sequence[str], by: str | None, reason: str | None
) -> list[str] | None:
    """Cancel steps of ended flows that were locked when these ended; None: nothing is left to ask."""
    if not flows:
        return None
    below = connection.execute(sql.open_below, {"ids": literal(flows)}).fetchall()
    left = [row[0] for row in below if not row[1] and not row[3]]
    if not left:
        return None
    with connection.transaction():
        # Nothing else is held now, so they may be waited for.
        connection.execute(sql.lock_steps, {"ids": literal(left)})
        asked, unrun = _cancel_steps(connection, left, by, reason)
        free_and_admit(connection, [], unrun.values(), unrun=list(unrun))
        return asked


def _cancel_steps(
    connection: Connection, ids: Sequence[str], by: str | None, reason: str | None
) -> tuple[list[str], dict[str, Key]]:
    """Return the steps that run and were asked to end, and those that waited, with their keys."""
    if not ids:
        return [], {}
    rows = connection.execute(
        sql.cancel_steps,
        {
            "ids": literal(ids),
            "cancelled_by": by,
            "reason": reason,
            "result": cancelled_result(by or "unknown", reason).decode(),
            "now": None,
        },
    ).fetchall()
    gone = {row[0]: (row[2], row[3]) for row in rows if not row[1] and row[3] is not None}
    return [row[0] for row in rows if row[1]], gone


class RunEndOf(Struct, frozen=True):
    """How a flow ends that is ended from outside."""

    status: Ending
    result: bytes


class _Round:
    def __init__(self, connection: Connection, worker: FlowWorker, claim: str) -> None:
        self._connection = connection
        self._worker = worker
        self._claim = claim
        self._values = RoundValues(worker.library)
        self._flows = Interpreter(self._values, new_id, worker.evaluator)
        self._written = Written()
        self._pending: dict[int, dict[str, list[Event]]] = {}
        self._begun: dict[int, list[ClaimedJob]] = {}
        #: runs whose state has no row yet
        self._new: set[str] = set()
        #: (run, seconds until it is to be looked at) of what rests at the end
        self._parks: dict[str, float | None] = {}

    def run(self, ended: Iterable[StepEnded], begun: Sequence[ClaimedJob]) -> Written:
        for each in ended:
            self._pending.setdefault(each.depth, {}).setdefault(each.parent, []).append(each.event)
        for job in begun:
            self._begun.setdefault(job.depth or 0, []).append(job)
        while self._pending or self._begun:
            depth = max([*self._pending, *self._begun])
            self._at_depth(self._pending.pop(depth, {}), self._begun.pop(depth, []))
            self._settle_blocked()
            for parent, event in self._flows.outgoing:
                self._pending.setdefault(depth - 1, {}).setdefault(parent, []).append(event)
            self._flows.outgoing.clear()
        self._write()
        self._park()
        return self._written

    def fail(self, job: ClaimedJob, why: str) -> Written:
        return self._end_whole(job, RunEndOf("failure", error_result("InternalError", why)))

    def cancel(self, job: ClaimedJob) -> Written:
        return self._end_whole(job, None)

    def _end_whole(self, job: ClaimedJob, failed: RunEndOf | None) -> Written:
        found = self._connection.execute(sql.open_below, {"ids": [job.id]}).fetchall()
        runs: dict[str, Run] = {}
        # Innermost first, as everybody; bodies that begin meanwhile are found by the second look.
        for _ in range(2):
            depths = sorted({row[2] for row in found if row[1] and row[0] not in runs}, reverse=True)
            for depth in depths:
                ids = sorted(row[0] for row in found if row[1] and row[2] == depth and row[0] not in runs)
                for row in self._connection.execute(sql.lock_runs, {"ids": ids, "now": None}).fetchall():
                    runs[row[0]] = self._load(row)[0]
            if job.id not in runs:
                for row in self._connection.execute(sql.lock_runs, {"ids": [job.id], "now": None}).fetchall():
                    runs[job.id] = self._load(row)[0]
            found = self._connection.execute(sql.open_below, {"ids": [job.id]}).fetchall()
        held = self._hold({job.id: job})
        if job.id not in held:
            return self._written
        if job.id not in runs:
            flow = self._version(job.workspace, job.script)
            began = held[job.id][3]
            root = flow.program.root
            runs[job.id] = Run(job.id, flow, root, owner_of(job), depth=job.depth or 0, began=began)
        words = self._connection.execute(sql.cancel_words, {"id": job.id}).fetchone()
        by, reason = words or (None, None)
        asked, unrun = _cancel_steps(self._connection, [row[0] for row in found if not row[1]], by, reason)
        self._written.asked += asked
        self._written.unrun |= unrun
        cancelled = RunEndOf("cancelled", cancelled_result(by or "unknown", reason))
        ends = []
        for run in runs.values():
            end = failed if failed is not None and run.id == job.id else cancelled
            ends.append(RunEnd(run, end.status, end.result, "", ""))
        end_runs(self._connection, ends, self._worker.holder, self._written)
        # Bodies of a flow that somebody held whole have no row of their own in queue.
        self._connection.execute(sql.end_bodies_of, {"root": job.id, "whole": True})
        self._flows.runs.clear()
        run = runs[job.id]
        if run.parent is None or run.step is None:
            return self._written
        end = failed or cancelled
        event = Ended(run.step, run.iteration, run.id, end.status, end.result)
        return self.run([StepEnded(run.parent, run.depth - 1, event)], ())

    # -- one depth -----------------------------------------------------------------

    def _at_depth(self, events: dict[str, list[Event]], begun: Sequence[ClaimedJob]) -> None:
        claimed = {job.id: job for job in begun}
        rows = self._connection.execute(
            sql.lock_runs, {"ids": sorted({*events, *claimed}), "now": None}
        ).fetchall()
        ours = self._hold(claimed) if claimed else {}
        locked = set()
        for row in rows:
            run, is_cancelled, is_due = self._load(row)
            locked.add(run.id)
            # One that we have claimed may be somebody else's by now: he waits for what we tell it.
            is_ours = run.id in ours
            if is_cancelled:
                # Whoever has claimed it ends it.
                if is_ours:
                    self._written.cancelled.append(claimed[run.id])
                continue
            heard = events.get(run.id, ())
            for event in heard:
                self._flows.feed(run, event)
            if is_ours:
                self._parks[run.id] = None
                if heard:
                    # What it was just told is in the rows too, and must not count twice.
                    self._settle_blocked()
                    self._write()
                if run.id in self._flows.runs and not (heard and run.state.phase in RESTING):
                    self._recover(run, is_due=is_due)
        for job_id, (args, start, is_cancelled, now, _) in ours.items():
            if job_id in locked:
                continue
            if is_cancelled:
                self._written.cancelled.append(claimed[job_id])
            else:
                self._begin(claimed[job_id], args, start, now)

    def _hold(self, claimed: dict[str, ClaimedJob]) -> dict[str, tuple[str, Any, bool, float, bool]]:
        ordered = sorted(claimed)
        rows = self._connection.execute(
            sql.hold_flows,
            {
                "ids": literal(ordered),
                "claims": literal(claimed[job].claim for job in ordered),
                "now": None,
            },
        ).fetchall()
        return {row[0]: row[1:] for row in rows}

    def _load(self, row: Sequence[Any]) -> tuple[Run, bool, bool]:
        (
            run_id, workspace, digest, body, root, chain, depth, overlay, state, parent, step, iteration,
            created_by, priority, tag, due, _, is_cancelled, is_due, began, deadline,
        ) = row  # fmt: skip
        flow = self._version(workspace, digest)
        run = Run(
            run_id,
            flow,
            flow.program.bodies[body],
            Owner(workspace, created_by, priority, tag, root, due),
            state=decode_state(state),
            # A job that merely started a flow is told nothing of its end: only a step is a part.
            parent=None if step is None else parent,
            step=step,
            iteration=iteration,
            chain=tuple(chain),
            depth=depth,
            overlay=overlay.encode(),
            began=began,
            deadline=deadline,
        )
        self._flows.runs[run_id] = run
        return run, is_cancelled, bool(is_due)

    def _version(self, workspace: str, digest: str) -> FlowVersion:
        flow = self._worker.library.flow(self._connection, workspace, digest)
        assert flow is not None, f"flow {digest} of a job is not there"
        return flow

    def _begin(self, job: ClaimedJob, args: str, start: Any, now: float) -> None:
        flow = self._version(job.workspace, job.script)
        deadline = deadline_of(flow, now)
        run = Run(
            job.id, flow, flow.program.root, owner_of(job), depth=job.depth or 0, began=now, deadline=deadline
        )
        self._flows.runs[job.id] = run
        # Its job is there: only its state is new.
        self._flows.effects.changed[job.id] = run
        self._values.put(job.id, "flow_input", args.encode())
        self._parks[job.id] = None
        self._new.add(job.id)
        self._flows.feed(run, first_event(self._connection, run, job.claim, start))

    # -- what was lost, or came from outside ---------------------------------------

    def _recover(self, run: Run, *, is_due: bool) -> None:
        """Feed a run that was woken, or whose worker died, what its rows say."""
        state = run.state
        self._connection.execute(sql.notice_runs, {"ids": [run.id]})
        if state.phase in RESTING:
            self._flows.feed(run, Woken(is_due, answers(self._connection, run)))
            self._settle_blocked()
            if run.id in self._flows.runs and run.state.phase in RESTING:
                row = self._connection.execute(sql.wake_left, {"ids": [run.id], "now": None}).fetchone()
                if row is not None:
                    self._parks.setdefault(run.id, None)
                    self._parks[run.id] = row[1] if self._parks[run.id] is None else self._parks[run.id]
            return
        for event in recovered(self._connection, run, open_children(self._connection, run)):
            self._flows.feed(run, event)

    # -- writing -------------------------------------------------------------------

    def _settle_blocked(self) -> None:
        rounds = 0
        while self._flows.blocked:
            # Blocked without a name: nothing but transitions, thousands of them.
            rounds += not any(names for _, _, names in self._flows.blocked)
            if rounds > MOST_ROUNDS:
                raise MillError("A flow goes on and on without running a script.")
            # What is fetched may be what has just been written.
            self._write()
            self._values.fetch(self._connection, self._flows.blocked)
            self._flows.unblock()

    def _write(self) -> None:
        effects = self._flows.take_effects()
        for run, seconds in effects.sleeps:
            self._parks[run.id] = seconds
        for run, asked in effects.approvals:
            self._parks[run.id] = asked.timeout_seconds
        new = [run for run in effects.changed.values() if run.id in self._new]
        ended_new = [end.run for end in effects.ended if end.run.id in self._new]
        if new or ended_new:
            put_runs(self._connection, [*new, *ended_new])
            self._new.difference_update(run.id for run in new)
        write_effects(
            self._connection,
            effects,
            self._values,
            self._worker.holder,
            self._claim,
            self._worker.takes,
            self._written,
        )
        for end in effects.ended:
            self._parks.pop(end.run.id, None)

    def _park(self) -> None:
        """What does not run under a claim of ours rests, until a step ends or its time comes."""
        if not self._parks:
            return
        wakes = {run: seconds for run, seconds in self._parks.items() if seconds is not None}
        if wakes:
            self._connection.execute(
                sql.set_wakes, {"ids": literal(wakes), "seconds": numbers(wakes.values()), "now": None}
            )
        rows = self._connection.execute(
            sql.park_flows,
            {
                "ids": literal(self._parks),
                "wakes_in_seconds": numbers(self._parks.values()),
                "now": None,
            },
        ).fetchall()
        # For those that sleep, so that somebody knows when they are due.
        self._written.tags |= {row[0] for row in rows if row[1]}


def open_children(connection: Connection, run: Run) -> list[OpenChild]:
    """Return the children of the step a run is at that are in the queue."""
    rows = connection.execute(sql.open_children, {"run": run.id, "step": _at(run)[0]}).fetchall()
    return [OpenChild(job, iteration) for job, iteration in rows]


def recovered(connection: Connection, run: Run, under_way: Sequence[OpenChild]) -> list[Event]:
    """Return what a run has missed, as the rows of its children tell."""
    state = run.state
    name, at = _at(run)
    place = {"run": run.id, "step": name, "since": run.began}
    completed: list[ChildRow] = []
    if at is not None and at.is_parallel:
        rows = connection.execute(sql.run_children_status, place).fetchall()
        completed = [ChildRow(job, name, number, status) for job, number, status in rows]
    elif state.job is not None and not any(child.job == state.job for child in under_way):
        # Of a loop the one iteration that counts, however many came before it.
        rows = connection.execute(
            sql.run_child, {"job": state.job, "run": run.id, "since": run.began}
        ).fetchall()
        completed = [
            ChildRow(job, step, number, status, None if text is None else text.encode())
            for job, step, number, status, text in rows
        ]
    return recover(run, completed, under_way)


def _at(run: Run) -> tuple[str, Step | None]:
    name = {Phase.FAILURE: FAILURE, Phase.PREPROCESSOR: PREPROCESSOR}.get(run.state.phase)
    if name is not None:
        return name, None
    if not run.body.steps:
        return "", None
    step = run.body.steps[min(run.state.at, len(run.body.steps) - 1)]
    return step.id, step


def answers(connection: Connection, run: Run) -> tuple[Resume, ...]:
    """Return the answers to the approval a run waits for, in the order they came."""
    step = run.body.steps[run.state.at - 1].id if run.state.at else ""
    connection.execute(sql.name_resumes, {"run": run.id, "step": step})
    rows = connection.execute(sql.resumes, {"ids": [run.id]}).fetchall()
    return tuple(
        Resume(approved, value.encode(), approver)
        for _, asked, approved, value, approver in rows
        if asked == step
    )


def first_event(connection: Connection, run: Run, claim: str, start: dict[str, Any] | None) -> Begin:
    """Return how a flow begins; `start` is what its submission said about that."""
    if start is None:
        return Begin()
    if start.get("restart") is not None:
        return restart_at(connection, run, claim, start["restart"])
    return Begin(preprocess=bool(start.get("preprocess")))


def restart_at(connection: Connection, run: Run, claim: str, restart: dict[str, Any]) -> Begin:
    """Make the results before a restart a run's own; return where it begins."""
    body = run.body
    step = body.step(restart["step"])
    assert step is not None, "a restart is checked when it is submitted"
    connection.execute(
        sql.restart_children,
        {
            "run": run.id,
            "from": restart["job"],
            "steps": [before.id for before in body.steps[: step.index]],
            "at": step.id,
            "iteration": restart["iteration"],
            "claim": claim,
            "now": None,
        },
    )
    return Begin(at=step.index, iteration=restart["iteration"])


def deadline_of(flow: FlowVersion, now: float) -> float | None:
    """Return when a whole flow's time is over, if it has said how long it may take."""
    seconds = flow.options.timeout_seconds
    return None if seconds is None else now + seconds


def owner_of(job: ClaimedJob) -> Owner:
    """Return what a claimed flow's jobs have from it."""
    root = job.root_job or job.id
    return Owner(job.workspace, job.created_by, job.priority, job.tag, root, job.due)
