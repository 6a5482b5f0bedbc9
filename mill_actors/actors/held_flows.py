"""Flows that a worker holds whole: dedicated ones, and those whose steps share a folder.

Their steps go from here to a Runner and back without passing through the queue; each is written as a job
of its own when it is over, in one commit a round over all flows in hand. What is not yet written when
the worker dies is done again by whoever takes the flow over: it begins at the step that was not durable.

Not an actor: the Completer's, used in its thread. A flow of `durability: flow` is written at its end.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, time

from msgspec import Struct, structs

from mill_actors.errors import StoreRefused
from mill_actors.flows.definition import FlowStep
from mill_actors.flows.effects import Effects, NewJob, RunEnd
from mill_actors.flows.expressions import Evaluator
from mill_actors.flows.interpreter import Interpreter
from mill_actors.flows.recovery import OpenChild
from mill_actors.flows.run import Run
from mill_actors.flows.state import RESTING, Ended, Ending, Event, Phase, Woken
from mill_actors.flows.version import FlowVersion
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import CANCELED, Outcome
from mill_actors.jobs.script import Script
from mill_actors.runtimes.shared import SharedFolders
from mill_actors.store.concurrency import Key, concurrency_key, leave_places, take_place
from mill_actors.store.connection import Connection, DatabaseError, is_outage
from mill_actors.store.flow_rows import Written, claimed_step, step_path, step_tag
from mill_actors.store.flow_values import Library, RoundValues
from mill_actors.store.flow_versions import FLOW_TAG
from mill_actors.store.held_rows import HeldRound, HeldRun, HeldStep, held_runs, merge, write_round
from mill_actors.store.holder import Holder
from mill_actors.store.jobs import job_attempts
from mill_actors.store.logs import LogChunk
from mill_actors.store.queries import sql
from mill_actors.store.settlement import Retrial, landed
from mill_actors.store.transitions import MOST_ROUNDS, answers, deadline_of, first_event, owner_of, recovered

logger = logging.getLogger(__name__)

#: What a flow that is written at its end may have unwritten: more is written before.
MAX_UNWRITTEN_BYTES = 16 * 1024 * 1024
#: Results that stay although no expression names them.
LAST_KEPT = 2
#: A step that found no place under its concurrency key tries again after this.
PLACE_SECONDS = 0.2
#: … and this is what its timer is called.
PLACES = "places"
#: What a step costs in memory until it is written, beside its texts.
STEP_BYTES = 1000


class Flying(Struct):
    """A step between us and its outcome."""

    flow: Held
    job: NewJob
    claimed: ClaimedJob
    handed_at: float
    #: for its time: nobody else has it meanwhile
    waits: bool = False


class Held:
    """One flow in hand."""

    def __init__(
        self, job: ClaimedJob, version: FlowVersion, values: HeldValues, evaluator: Evaluator
    ) -> None:
        self.job = job
        self.version = version
        self.values = values
        self.flows = Interpreter(values, new_id, evaluator)
        self.is_streaming = version.options.durability == "flow"
        self.told = HeldRound({job.id: job.claim})
        self.starting: list[NewJob] = []
        #: steps that wait for a place under their concurrency key
        self.queued: dict[str, NewJob] = {}
        #: the places that its steps have under such keys
        self.places: dict[str, Key] = {}
        self.flying: dict[str, Flying] = {}
        #: bodies that sleep or wait for an answer, and until when (monotonic seconds)
        self.resting: dict[str, float] = {}
        self.shared: str | None = None
        #: of a flow that was taken over, what its bodies are still to hear, outermost first
        self.missed: deque[tuple[Run, Event]] = deque()
        self.is_cancelled = False
        self.is_over = False
        self.unwritten_bytes = 0
        #: nothing of it is written yet
        self.is_new = True
        #: rounds since a step of its ended
        self.rounds = 0

    @property
    def has_work(self) -> bool:
        """Whether something of it has to be written."""
        told = self.told
        return bool(told.steps or told.runs or told.ended or told.parks or told.wakes or told.attempts)

    @property
    def reads_history(self) -> bool:
        """Whether it waits for something that is in the database, or will be."""
        return any(
            not name.startswith(("script:", "flow:", "variable:", "resource:"))
            for _, _, names in self.flows.blocked
            for name in names
        )

    @property
    def only_asks(self) -> bool:
        """Whether it waits for what paths mean, and for nothing else: that is answered within the round."""
        blocked = self.flows.blocked
        return bool(blocked) and all(names for _, _, names in blocked) and not self.reads_history

    @property
    def is_stopping(self) -> bool:
        """Whether an early stop is on its way outwards: no row tells of it, it is written with the rest."""
        return any(isinstance(event, Ended) and event.stop for _, event, _ in self.flows.blocked)


class HeldValues(RoundValues):
    """The values of one flow in hand. Of its results those stay that some expression names, and the last."""

    def __init__(
        self,
        library: Library,
        version: FlowVersion,
        scripts: dict[tuple[str, str], Script | None],
        versions: dict[tuple[str, str], FlowVersion | None],
    ) -> None:
        super().__init__(library, keeps_all=True)
        # What paths mean is asked once a round, for all flows in hand.
        self._scripts = scripts
        self._flows = versions
        # The steps of a flow within the flow have names of their own.
        has_flows = any(isinstance(step.module.value, FlowStep) for step in version.program.steps())
        self._named = None if has_flows else version.program.read_anywhere
        self._last: dict[str, deque[str]] = {}
        self._names: dict[str, set[str]] = {}

    def put(self, run: str, name: str, text: bytes) -> None:
        """Keep what was just learnt, and let go of what nobody names."""
        if name.startswith("results.") and self._named is not None:
            # The one before the last too: a failure module that is tried again is told what failed.
            last = self._last.setdefault(run, deque())
            last.append(name)
            if len(last) > LAST_KEPT:
                old = last.popleft()
                if old.removeprefix("results.") not in self._named and old not in last:
                    self.drop(run, old)
        super().put(run, name, text)
        self._names.setdefault(run, set()).add(name)

    def forget_run(self, run: str) -> None:
        """Let go of all that a body knew: it has ended."""
        self._last.pop(run, None)
        for name in self._names.pop(run, ()):
            self.drop(run, name)


class HeldFlows:
    """All flows in hand of one worker.

    Steps to be run wait in `to_hand`; `later` sends the Completer a message after seconds, `cancel`
    asks for steps to be cancelled.
    """

    def __init__(
        self,
        holder: Holder,
        library: Library,
        evaluator: Evaluator,
        folders: SharedFolders,
        cancel: Callable[[Iterable[str]], None],
        later: Callable[[float, str, str], None],
    ) -> None:
        self._holder = holder
        self._library = library
        self._evaluator = evaluator
        self._folders = folders
        self._cancel_steps = cancel
        self._later = later
        self.flows: dict[str, Held] = {}
        self._steps: dict[str, Flying] = {}
        self._scripts: dict[tuple[str, str], Script | None] = {}
        self._versions: dict[tuple[str, str], FlowVersion | None] = {}
        self._touched: dict[str, Held] = {}
        #: whether the last write may have landed although its reply was lost
        self._unsure = False
        #: keys that had no place in this round
        self._full: set[Key] = set()
        self._places_later = False
        #: that of the round under way
        self._connection: Connection | None = None
        self._writing: HeldRound | None = None
        self._writing_flows: list[Held] = []
        #: what was done since it was last asked for
        self.to_hand: list[ClaimedJob] = []
        self.ended: list[tuple[str, str]] = []
        self.awaited: list[str] = []
        self.tags: set[str] = set()
        self.stale: list[str] = []
        self.broken: list[tuple[ClaimedJob, str]] = []
        #: how many dedicated flows are out of hand
        self.out = 0

    # -- what is ours --------------------------------------------------------------

    def owns(self, job: str) -> bool:
        """Whether a step is one of a flow in hand."""
        return job in self._steps

    @property
    def has_work(self) -> bool:
        """Whether a round is to be made."""
        return bool(self._touched)

    def fences(self) -> list[tuple[str, str]]:
        """Return (flow, claim) of all that is held."""
        return [(held.job.id, held.job.claim) for held in self.flows.values()]

    def holding(self) -> frozenset[str]:
        """Return the ids of all flows that are held."""
        return frozenset(self.flows)

    # -- what happens --------------------------------------------------------------

    def begin(self, connection: Connection, jobs: Sequence[ClaimedJob]) -> list[ClaimedJob]:
        """Take those flows that are to be held whole; return the others."""
        others: list[ClaimedJob] = []
        mine: dict[str, tuple[ClaimedJob, FlowVersion]] = {}
        for job in jobs:
            version = self._library.flow(connection, job.workspace, job.script)
            # The parts of a flow that goes through the queue go through it too.
            is_part = job.root_job is not None
            if (
                is_part
                or version is None
                or not (version.options.dedicated or version.program.value.same_worker)
            ):
                others.append(job)
            else:
                mine[job.id] = (job, version)
        if not mine:
            return others
        for job_id, (job, version) in mine.items():
            start, is_old, is_cancelled, now = job.flow or (None, False, False, 0.0)
            self._drop(job_id)
            held = Held(
                job,
                version,
                HeldValues(self._library, version, self._scripts, self._versions),
                self._evaluator,
            )
            self.flows[job_id] = held
            self._touched[job_id] = held
            try:
                if version.program.value.same_worker:
                    is_lost = is_old and not self._folders.exists(job_id)
                    held.shared = str(self._folders.make(job_id))
                    if is_lost:
                        self._break(held, "the folder that its steps share was lost with its worker")
                        continue
                held.values.put(job_id, "flow_input", job.args.encode())
                held.is_new = not is_old
                if is_old:
                    self._take_over(connection, held)
                else:
                    deadline = deadline_of(version, now)
                    root = version.program.root
                    run = Run(job_id, version, root, owner_of(job), began=now, deadline=deadline)
                    held.flows.runs[job_id] = run
                    held.flows.feed(run, first_event(connection, run, job.claim, start))
                if is_cancelled:
                    self.cancel([job_id])
            except DatabaseError:
                self._drop(job_id)
                raise
            except Exception as error:
                logger.exception("flow %s cannot begin", job.path)
                self._break(held, f"the flow cannot begin: {error!r}")
        return others

    def _take_over(self, connection: Connection, held: Held) -> None:
        """Load all bodies of a flow that somebody else held, and tell each what it has missed."""
        rows = held_runs(connection, held.job.id)
        connection.execute(sql.notice_runs, {"ids": [row.id for row in rows]})
        self.tags |= leave_places(connection, held.job.id)
        owner = owner_of(held.job)
        for row in rows:
            held.flows.runs[row.id] = run = self._run(connection, held, row)
            run.owner = owner
        by_parent: dict[str, list[OpenChild]] = {}
        for row in rows:
            if row.parent is not None:
                by_parent.setdefault(row.parent, []).append(OpenChild(row.id, row.iteration))
        # What the rows say is asked before anything moves, and told from outside in: a count of children
        # that have ended is right only until the next one does.
        for row in rows:
            run = held.flows.runs[row.id]
            events: Sequence[Event]
            if run.state.phase in RESTING:
                held.resting[run.id] = monotonic() + (row.wake_in_seconds or 0.0)
                if run.state.phase is Phase.SLEEPING and not row.is_due:
                    self._wake_later(held, run)
                events = [Woken(row.is_due, answers(connection, run))]
            else:
                events = recovered(connection, run, by_parent.get(run.id, []))
            held.missed.extend((run, event) for event in events)
        self._tell_missed(held)

    @staticmethod
    def _tell_missed(held: Held) -> None:
        """Tell the bodies of a flow that was taken over what they have missed, until one needs a value."""
        while held.missed and not held.flows.blocked:
            run, event = held.missed.popleft()
            if run.id not in held.flows.runs:
                continue  # what is inside it has ended it
            held.flows.feed(run, event)
            if run.id not in held.flows.runs or run.state.phase not in RESTING:
                held.resting.pop(run.id, None)

    def _run(self, connection: Connection, held: Held, row: HeldRun) -> Run:
        version: FlowVersion | None = held.version
        if row.flow != held.version.hash:
            version = self._library.flow(connection, held.job.workspace, row.flow)
        assert version is not None
        if not row.chain and row.parent is not None:
            held.values.put(row.id, "flow_input", row.overlay)
        return Run(
            row.id,
            version,
            version.program.bodies[row.body],
            owner_of(held.job),
            state=row.state,
            parent=row.parent,
            step=row.step,
            iteration=row.iteration,
            chain=row.chain,
            depth=row.depth,
            overlay=row.overlay,
            began=row.began,
            deadline=row.deadline,
        )

    def hear(self, outcome: Outcome) -> None:
        """Take the outcome of a step of ours."""
        flying = self._steps[outcome.job.id]
        held, job = flying.flow, flying.job
        held.rounds = 0
        status: Ending = outcome.verdict.value
        result = CANCELED if status == "cancelled" else outcome.result
        self._is_over(flying, status, result, outcome.ended_at, outcome.duration_us)
        if not held.is_cancelled:
            event = Ended(job.step.id, job.iteration, job.id, status, result, args=job.args)
            self._feed(held, job.run, event)

    def _is_over(
        self, flying: Flying, status: Ending, result: bytes, ended_at: float, duration_us: int
    ) -> None:
        """Let go of a step, and write it with the next round."""
        held, job, claimed = flying.flow, flying.job, flying.claimed
        del self._steps[job.id]
        del held.flying[job.id]
        place = held.places.pop(job.id, None)
        if place is not None:
            held.told.leaving[job.id] = place
        self._touched[held.job.id] = held
        held.told.steps.append(
            HeldStep(
                id=job.id,
                root=held.job.id,
                run=job.run,
                path=claimed.path,
                script=claimed.script,
                tag=claimed.tag,
                priority=claimed.priority,
                status=status,
                args=job.args,
                result=result,
                attempt=claimed.attempt,
                name=job.step.id,
                iteration=job.iteration,
                handed_at=flying.handed_at,
                ended_at=ended_at,
                duration_us=duration_us,
            )
        )
        held.unwritten_bytes += len(result) + len(job.args) + STEP_BYTES

    def _cancel_waiting(self, flying: Flying) -> None:
        """End a step of a cancelled flow that nobody runs."""
        self._is_over(flying, "cancelled", CANCELED, monotonic(), 0)

    def hear_retrial(self, retrial: Retrial) -> None:
        """Take a failed attempt of a step that its script's own policy tries again."""
        outcome = retrial.outcome
        flying = self._steps[outcome.job.id]
        flying.flow.told.attempts.append(outcome)
        self._touched[flying.flow.job.id] = flying.flow
        # The outcome keeps the job of its attempt.
        flying.claimed = structs.replace(flying.claimed, attempt=outcome.job.attempt + 1)
        self._wait(flying, retrial.delay_seconds)

    def _wait(self, flying: Flying, seconds: float) -> None:
        if flying.flow.is_cancelled:
            self._cancel_waiting(flying)
            return
        flying.waits = True
        self._later(seconds, flying.flow.job.id, flying.job.id)

    def hear_logs(self, chunks: Iterable[LogChunk]) -> None:
        """Take the last of what steps of ours printed; before their outcomes."""
        for chunk in chunks:
            self._steps[chunk.job].flow.told.logs.append(chunk)

    def wake(self, flow: str, what: str) -> None:
        """A pause is over: a body's, or that of a step before its next attempt."""
        if flow == PLACES:
            self._places_later = False
            self._try_places()
            return
        held = self.flows.get(flow)
        if held is None:
            return
        self._touched[flow] = held
        flying = held.flying.get(what)
        if flying is not None:
            if flying.waits:
                flying.waits = False
                self.to_hand.append(flying.claimed)
        elif what in held.flows.runs and what in held.resting:
            if held.resting[what] > monotonic():
                # An earlier pause's timer.
                self._wake_later(held, held.flows.runs[what])
                return
            del held.resting[what]
            self._feed(held, held.flows.runs[what], Woken(due=True))

    def _wake_later(self, held: Held, run: Run) -> None:
        seconds = max(0.0, held.resting[run.id] - monotonic())
        if seconds < 3600:
            self._later(seconds, held.job.id, run.id)

    def cancel(self, flows: Iterable[str]) -> None:
        """End these flows: what runs in them is cancelled, and then they are."""
        for flow in flows:
            held = self.flows.get(flow)
            if held is not None and not held.is_over:
                held.is_cancelled = True
                self._touched[flow] = held
                held.starting.clear()
                held.queued.clear()
                held.missed.clear()
                here = {job.id for job in self.to_hand}
                self.to_hand = [job for job in self.to_hand if job.id not in held.flying]
                for job, flying in list(held.flying.items()):
                    if flying.waits or job in here:
                        self._cancel_waiting(flying)
                self._cancel_steps(list(held.flying))

    def lost(self, here: frozenset[str]) -> None:
        """Start steps again that are in nobody's hands: their Runner ended with them in its inbox."""
        ours = {job.id for job in self.to_hand}
        for job, flying in list(self._steps.items()):
            if job in here or job in ours or flying.waits:
                continue
            if flying.flow.is_cancelled:
                self._cancel_waiting(flying)
            else:
                self.to_hand.append(flying.claimed)

    def give_back(self, job: ClaimedJob) -> None:
        """A step came back without having been started."""
        flying = self._steps.get(job.id)
        if flying is not None:
            self._wait(flying, 0.1)

    def _feed(self, held: Held, run: Run, event: Ended | Woken) -> None:
        held.values.forget_absent()
        try:
            held.flows.feed(run, event)
        except Exception as error:
            logger.exception("flow %s cannot go on", held.job.path)
            self._break(held, f"the flow cannot go on: {error!r}")

    def _break(self, held: Held, why: str) -> None:
        self._drop(held.job.id)
        self.broken.append((held.job, why))

    def _drop(self, flow: str) -> None:
        held = self.flows.pop(flow, None)
        self._touched.pop(flow, None)
        if held is None:
            return
        self.out += held.job.tag != FLOW_TAG
        for job in held.flying:
            self._steps.pop(job, None)
        if held.flying:
            self._cancel_steps(list(held.flying))
        held.flying.clear()

    # -- a round -------------------------------------------------------------------

    def round(self, connection: Connection, failed: int) -> None:
        """Write what has come together, and go on until nothing is left to do without an outcome.

        May be called again after an outage: what was not written is written then, and once.
        """
        self._connection = connection
        self._full.clear()
        if self._writing is not None:
            self._write(connection, failed)
        self._scripts.clear()
        self._versions.clear()
        while self._touched:
            batch = list(self._touched.values())
            for held in batch:
                self._collect(held)
            ready = [held for held in batch if held.has_work and self._is_to_write(held)]
            if ready:
                self._writing = merge([held.told for held in ready])
                self._writing_flows = ready
                self._write(connection, 0)
            for held in batch:
                if held.job.id not in self._touched:
                    continue
                if held.flows.blocked or held.missed:
                    self._fetch(connection, held)
                else:
                    del self._touched[held.job.id]
                    self._launch(held)
        # What paths mean is asked anew: the next outcome may come tomorrow.
        self._scripts.clear()
        self._versions.clear()

    def _is_to_write(self, held: Held) -> bool:
        told = held.told
        if held.is_stopping or held.only_asks:
            return False  # what follows is written with it
        if held.is_new and held.starting and not (told.steps or told.wakes or told.effects or told.attempts):
            # Nothing has happened that would be lost: who takes the flow over begins it.
            return False
        if not held.is_streaming:
            return True
        return (
            held.is_over
            or bool(told.parks)
            or held.reads_history
            or held.unwritten_bytes > MAX_UNWRITTEN_BYTES
        )

    def _fetch(self, connection: Connection, held: Held) -> None:
        # Blocked without a name: nothing but transitions, thousands of them.
        held.rounds += not any(names for _, _, names in held.flows.blocked)
        if held.rounds > MOST_ROUNDS:
            self._break(held, "the flow goes on and on without running a script")
            return
        if not self._has_versions(held):
            try:
                self._read(connection, held)
            except (StoreRefused, DatabaseError) as error:
                if not isinstance(error, StoreRefused) and is_outage(error):
                    raise
                # A name that no database can hold, for one.
                self._break(held, f"the database refused what the flow came to: {error}".strip())
                return
        try:
            held.flows.unblock()
            self._tell_missed(held)
        except Exception as error:
            logger.exception("flow %s cannot go on", held.job.path)
            self._break(held, f"the flow cannot go on: {error!r}")

    def _read(self, connection: Connection, held: Held) -> None:
        if not (held.is_stopping and held.has_work and held.reads_history):
            held.values.fetch(connection, held.flows.blocked)
            return
        # What it reads has to be there, and must not be there without what follows from it.
        with connection.transaction(force_rollback=True):
            write_round(connection, held.told, self._holder)
            held.values.fetch(connection, held.flows.blocked)

    def _has_versions(self, held: Held) -> bool:
        """Whether another flow has asked in this round for all that this one waits for."""
        for run, _, names in held.flows.blocked:
            for name in names:
                kind, _, path = name.partition(":")
                place = (run.owner.workspace, path)
                if not (
                    (kind == "script" and place in self._scripts)
                    or (kind == "flow" and place in self._versions)
                ):
                    return False
        return True

    def _collect(self, held: Held) -> None:
        """Turn what the flow wants into what is to be written and started."""
        effects = held.flows.take_effects()
        told = held.told
        if effects.forgets:
            self._set_aside(told, effects)
        for row in effects.rows:
            now = monotonic()
            told.steps.append(
                HeldStep(
                    id=row.id,
                    root=held.job.id,
                    run=row.run,
                    path=step_path(row),
                    script=row.run.flow.hash,
                    tag=row.run.owner.tag,
                    priority=row.run.owner.priority,
                    status=row.status,
                    args=row.args,
                    result=row.result,
                    attempt=1,
                    name=row.name or row.step.id,
                    iteration=row.iteration,
                    handed_at=now,
                    ended_at=now,
                )
            )
            held.unwritten_bytes += len(row.result) + STEP_BYTES
        for run in effects.started:
            run.started_at = time()
        told.runs |= effects.changed
        told.runs |= {run.id: run for run in effects.started}
        for end in effects.ended:
            told.runs.pop(end.run.id, None)
            held.resting.pop(end.run.id, None)
            held.values.forget_run(end.run.id)
            told.ended.append(end)
            held.is_over |= end.run.id == held.job.id
        if not held.is_cancelled:
            held.starting += effects.jobs
        if effects.has_more:
            told.effects.append((effects, held.values))
            if held.is_streaming and effects.items:
                # To be read from the database, they have to be there.
                held.unwritten_bytes = MAX_UNWRITTEN_BYTES + 1
        for run, seconds in effects.sleeps:
            self._rest(held, run, seconds)
            self._wake_later(held, run)
        for run, asked in effects.approvals:
            self._rest(held, run, asked.timeout_seconds)
        if held.is_cancelled and not held.flying and not held.is_over:
            self._end_cancelled(held)
        is_idle = not (held.flying or held.starting or held.queued or held.flows.blocked or held.missed)
        is_resting = held.resting and is_idle
        if is_resting and not held.is_over:
            told.parks[held.job.id] = max(0.0, min(held.resting.values()) - monotonic())

    @staticmethod
    def _rest(held: Held, run: Run, seconds: float) -> None:
        held.resting[run.id] = monotonic() + seconds
        held.told.wakes[run.id] = seconds

    @staticmethod
    def _set_aside(told: HeldRound, effects: Effects) -> None:
        begun = {run.id for run in effects.started}
        for run, step, tries in effects.forgets:
            for each in told.steps:
                if each.run is run and each.name == step.id:
                    each.name = f"{step.id}~{tries}"
            for end in (*told.ended, *effects.ended):
                # What began with these effects has its name from them.
                is_old = end.run.id not in begun
                if is_old and end.run.parent == run.id and end.run.step == step.id:
                    end.run.step = f"{step.id}~{tries}"

    @staticmethod
    def _end_cancelled(held: Held) -> None:
        held.is_over = True
        told = held.told
        for run in held.flows.runs.values():
            told.runs.pop(run.id, None)
            told.ended.append(RunEnd(run, "cancelled", CANCELED, "", ""))
        held.flows.runs.clear()
        held.flows.blocked.clear()
        told.parks.clear()

    def _write(self, connection: Connection, failed: int) -> None:
        told, flows = self._writing, self._writing_flows
        assert told is not None
        ours: set[str]
        written = Written()
        if (failed or self._unsure) and self._has_landed(connection, told):
            ours = set(told.fences)
            written.awaited = [end.run.id for end in told.ended if end.run.depth == 0]
        else:
            self._unsure = True
            try:
                ours, written = write_round(connection, told, self._holder)
            except StoreRefused as error:
                self._unsure = False
                self._writing = None
                self._isolate(connection, flows, error)
                return
        self._unsure = False
        self._writing = None
        self.awaited += written.awaited
        self.tags |= written.tags
        for held in flows:
            self._after_write(held, is_ours=held.job.id in ours)
        if told.leaving:
            self._full.clear()
            self._try_places()

    def _has_landed(self, connection: Connection, told: HeldRound) -> bool:
        """After a lost reply: a round is written whole or not at all, so one row of it tells."""
        # Of all flows: of one that is not ours any more nothing was written.
        ids = [step.id for step in told.steps] + [end.run.id for end in told.ended]
        if ids:
            return bool(landed(connection, self._holder.worker, ids))
        return any(
            attempt.attempt == outcome.job.attempt
            for outcome in told.attempts
            for attempt in job_attempts(connection, outcome.job.workspace, outcome.job.id)
        )

    def _isolate(self, connection: Connection, flows: Sequence[Held], error: StoreRefused) -> None:
        """Write each flow alone; one that Postgres refuses fails alone."""
        if len(flows) == 1:
            held = flows[0]
            logger.warning("flow %s: the database refused what it came to: %s", held.job.id, error)
            self._break(held, f"the database refused what the flow came to: {error}".strip())
            return
        for held in flows:
            self._writing, self._writing_flows = held.told, [held]
            self._write(connection, 0)

    def _after_write(self, held: Held, *, is_ours: bool) -> None:
        flow = held.job.id
        ended = held.told.ended
        is_parked = flow in held.told.parks
        held.told = HeldRound({flow: held.job.claim})
        held.unwritten_bytes = 0
        held.is_new = False
        if not is_ours:
            self.stale.append(flow)
            self._drop(flow)
            return
        self.ended += [(end.run.id, end.status) for end in ended]
        if held.is_over or is_parked:
            held.flying.clear()
            self.flows.pop(flow, None)
            self._touched.pop(flow, None)
            self.out += held.job.tag != FLOW_TAG
            if held.is_over and held.shared is not None:
                self._folders.remove(flow)
            return
        self._launch(held)

    def _launch(self, held: Held) -> None:
        """Hand over the steps that may start now: what they build on is written."""
        if not held.starting or (held.told.steps and not held.is_streaming):
            return
        now = monotonic()
        starting, held.starting = held.starting, []
        for job in starting:
            if not self._has_place(held, job):
                held.queued[job.id] = job
                if not self._places_later:
                    self._places_later = True
                    self._later(PLACE_SECONDS, PLACES, "")
                continue
            claimed = claimed_step(job, held.job.claim, step_tag(job))
            claimed.shared = held.shared
            flying = Flying(held, job, claimed, now)
            held.flying[job.id] = self._steps[job.id] = flying
            if job.delay_seconds > 0:
                self._wait(flying, job.delay_seconds)
            else:
                self.to_hand.append(claimed)

    def _try_places(self) -> None:
        """Places were left: those that wait for one need not wait for their timers."""
        for held in self.flows.values():
            if held.queued:
                held.starting += held.queued.values()
                held.queued.clear()
                self._touched[held.job.id] = held

    def _has_place(self, held: Held, job: NewJob) -> bool:
        """Whether a step may start now: it has a place under its script's concurrency key, or needs none."""
        workspace = job.run.owner.workspace
        key = concurrency_key(job.script, workspace, step_path(job), job.args)
        if key is None:
            return True
        if (workspace, key) in self._full:
            return False
        assert self._connection is not None
        if not take_place(self._connection, job.script, (workspace, key), job.id, held.job.id):
            self._full.add((workspace, key))
            return False
        held.places[job.id] = (workspace, key)
        return True
