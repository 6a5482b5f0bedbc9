"""A flow run in memory: no database, no clock, no processes; who drives it runs the scripts.

What a database would hold is in a `Stored`, written as a driver writes it: in commits, each with all
that one round of transitions wants. A rehearsal can be dropped after any of them and resumed from it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count

from msgspec import Struct

from mill_actors.flows.effects import Effects, NewJob
from mill_actors.flows.expressions import Evaluator, UnknownName
from mill_actors.flows.interpreter import Interpreter
from mill_actors.flows.recovery import ChildRow, OpenChild, recover
from mill_actors.flows.run import Owner, Run
from mill_actors.flows.state import (
    Begin,
    Ended,
    Ending,
    Event,
    Phase,
    Resume,
    Stop,
    Woken,
    decode_state,
    encode_state,
)
from mill_actors.flows.stored import Row, Stored, StoredRun
from mill_actors.flows.version import FlowVersion
from mill_actors.jobs.jsons import decode, encode
from mill_actors.jobs.script import Script

ROOT = "root"
_JOB = "job"
_OWNER = Owner("rehearsal", "", 0, "", ROOT, 0.0)


class World(Struct, frozen=True):
    """What a flow can reach beyond itself."""

    #: by path and, where the step names one, hash
    script: Callable[[str, str | None], Script | None] = lambda _path, _digest: None
    flow: Callable[[str], FlowVersion | None] = lambda _path: None
    variables: Mapping[str, str] = {}
    #: as JSON texts
    resources: Mapping[str, bytes] = {}


class Rehearsal:
    """One flow, run in memory.

    `fetches`: nothing is at hand before it was asked for, as with a database far away. `on_commit` is
    called after each commit.
    """

    def __init__(
        self,
        flow: FlowVersion,
        args: bytes = b"{}",
        world: World | None = None,
        *,
        evaluator: Evaluator | None = None,
        begin: Begin | None = None,
        fetches: bool = False,
        on_commit: Callable[[Rehearsal], None] | None = None,
        stored: Stored | None = None,
    ) -> None:
        self.world = world or World()
        self.stored = stored or Stored()
        self._flow = flow
        self._begin = begin or Begin()
        self._on_commit = on_commit
        self._numbers = count(1 + max(map(_number, self.stored.rows), default=0))
        self._memory = _Memory(self, fetches=fetches)
        self._evaluator = evaluator or Evaluator()
        self._interpreter = Interpreter(self._memory, lambda: f"{_JOB}{next(self._numbers)}", self._evaluator)
        if stored is None:
            root = Run(ROOT, flow, flow.program.root, _OWNER)
            self.stored.inputs[ROOT] = args
            self._interpreter.runs[ROOT] = root
            self._write_run(root)
            self._feed(root, self._begin)

    # -- what it waits for, and how it ended ---------------------------------------

    @property
    def ready(self) -> list[NewJob]:
        """The jobs that may run now, in the order they were started."""
        return list(self.stored.jobs.values())

    @property
    def sleeping(self) -> list[tuple[Run, float]]:
        """The bodies that wait for a time, and how many seconds."""
        return [(self._interpreter.runs[run], seconds) for run, seconds in self.stored.sleeping.items()]

    @property
    def suspended(self) -> list[Run]:
        """The bodies that wait for approvals."""
        return [self._interpreter.runs[run] for run in self.stored.suspended]

    @property
    def rows(self) -> list[Row]:
        """Every child so far, in the order they were started."""
        # One commit writes bodies, then what ran nothing, then jobs; ids tell the order they came in.
        return sorted(self.stored.rows.values(), key=lambda row: _number(row.id))

    @property
    def status(self) -> Ending | None:
        """How the flow ended; None: it has not."""
        return self.stored.status

    @property
    def result(self) -> bytes | None:
        """What the flow returned, as JSON text."""
        return self.stored.result

    # -- what happens --------------------------------------------------------------

    def finish(self, job: str, status: Ending, result: bytes) -> None:
        """A job has ended."""
        done = self.stored.jobs.pop(job)
        row = self.stored.rows[job]
        row.status, row.result = status, result
        self._feed(done.run, Ended(row.step, row.iteration, job, status, result))

    def wake(self, run: str) -> None:
        """A sleep is over."""
        self._feed(self._interpreter.runs[run], Woken(due=True))

    def answer(self, run: str, resume: Resume) -> None:
        """Somebody approves or refuses."""
        answers = self.stored.answers.setdefault((run, self.stored.suspended[run]), [])
        answers.append(resume)
        self._feed(self._interpreter.runs[run], Woken(due=False, resumes=tuple(answers)))

    def time_out(self, run: str) -> None:
        """Nobody has answered in time."""
        answers = self.stored.answers.get((run, self.stored.suspended[run]), [])
        self._feed(self._interpreter.runs[run], Woken(due=True, resumes=tuple(answers)))

    # -- dropped and resumed -------------------------------------------------------

    def snapshot(self) -> Stored:
        """Return what was last committed; it does not change any more."""
        memo: dict[int, object] = {}
        for run in self.stored.runs.values():
            memo[id(run.flow)] = run.flow
        for job in self.stored.jobs.values():
            for shared in (job.run, job.step, job.leaf, job.script):
                memo[id(shared)] = shared
        return copy.deepcopy(self.stored, memo)

    @classmethod
    def resume(
        cls,
        flow: FlowVersion,
        stored: Stored,
        world: World | None = None,
        *,
        lost: Collection[str] = (),
        evaluator: Evaluator | None = None,
        begin: Begin | None = None,
        fetches: bool = False,
    ) -> Rehearsal:
        """Go on from what was committed; of the children `lost` nothing had been."""
        for job in lost:
            if job in stored.rows:
                stored.remove(job)
        found = cls(flow, b"", world, evaluator=evaluator, begin=begin, fetches=fetches, stored=stored)
        found._recover()
        return found

    def _recover(self) -> None:
        runs = self._interpreter.runs
        for run_id, kept in self.stored.runs.items():
            runs[run_id] = Run(
                run_id,
                kept.flow,
                kept.flow.program.bodies[kept.address],
                _OWNER,
                state=decode_state(kept.state),
                parent=kept.parent,
                step=kept.step,
                iteration=kept.iteration,
                chain=kept.chain,
                depth=kept.depth,
                overlay=kept.overlay,
            )
        for job in self.stored.jobs.values():
            job.run = runs[job.run.id]
        for run in list(runs.values()):
            completed, under_way = self._children(run)
            for event in recover(run, completed, under_way, self._begin if run.id == ROOT else None):
                self._feed(run, event)

    def _children(self, run: Run) -> tuple[list[ChildRow], list[OpenChild]]:
        steps = [run.body.steps[run.state.at].id] if run.state.at >= 0 and run.body.steps else []
        rows = [
            self.stored.rows[child]
            for step in (*steps, "failure", "preprocessor")
            for child in self.stored.children.get((run.id, step), ())
        ]
        completed = [
            ChildRow(row.id, row.step, row.iteration, row.status, None, row.stop)
            for row in rows
            if row.status is not None
        ]
        return completed, [OpenChild(row.id, row.iteration) for row in rows if row.status is None]

    # -- writing -------------------------------------------------------------------

    def _feed(self, run: Run, event: Event) -> None:
        self._interpreter.feed(run, event)
        while self._interpreter.blocked:
            self._memory.fetch((run.id, names) for run, _, names in self._interpreter.blocked)
            self._commit()
            self._interpreter.unblock()
        self._memory.asked.clear()
        self._commit()

    def _commit(self) -> None:
        self.write()
        if self._on_commit is not None:
            self._on_commit(self)

    def write(self) -> None:
        """Write what is pending, in an order in which nothing refers to what is not there yet."""
        effects, stored = self._interpreter.take_effects(), self.stored
        for run, step, tries in effects.forgets:
            stored.set_aside(run.id, step.id, tries)
        for run in effects.started:
            assert run.parent is not None
            assert run.step is not None
            if not run.chain:
                stored.inputs[run.id] = run.overlay
            stored.put(Row(run.id, run.parent, run.step, run.iteration, None, run.overlay))
        for row in effects.rows:
            stored.put(Row(row.id, row.run.id, row.name, row.iteration, row.status, row.args, row.result))
        for job in effects.jobs:
            stored.put(Row(job.id, job.run.id, job.step.id, job.iteration, None, job.args))
            stored.jobs[job.id] = job
        for run, args in effects.inputs:
            stored.inputs[run.id] = args
        for kept in effects.items:
            stored.items[kept.run.id, kept.step.id] = kept.items
        for run, answer in effects.resumes:
            stored.answers.setdefault((run.id, answer.step.id), []).append(Resume(True, answer.value, ""))
        self._write_runs(effects)

    def _write_runs(self, effects: Effects) -> None:
        stored = self.stored
        for run in (*effects.started, *effects.changed.values()):
            if run.id in self._interpreter.runs:
                self._write_run(run)
        # What a body waits for goes with the transition that has heard of it, and not before.
        for run_id, run in effects.changed.items():
            stored.sleeping.pop(run_id, None)
            if run.state.phase is not Phase.SUSPENDED:
                stored.suspended.pop(run_id, None)
        for run, seconds in effects.sleeps:
            stored.sleeping[run.id] = seconds
        for run, asked in effects.approvals:
            stored.suspended[run.id] = asked.step.id
        for run, step in effects.early:
            if run.id == ROOT and stored.early is None:
                stored.early = stored.result_of(run.id, step.id, is_many=step.is_many)
        for end in effects.ended:
            result = end.result
            if result is None:
                of = end.run.body.step(end.of)
                assert of is not None
                result = stored.result_of(end.run.id, of.id, is_many=of.is_many)
            self._end(end.run.id, end.status, result, end.stop)

    def _write_run(self, run: Run) -> None:
        self.stored.runs[run.id] = StoredRun(
            run.flow,
            run.body.address,
            run.parent,
            run.step,
            run.iteration,
            run.chain,
            run.depth,
            run.overlay,
            encode_state(run.state),
        )

    def _end(self, run: str, status: Ending, result: bytes | None, stop: Stop) -> None:
        stored = self.stored
        stored.runs.pop(run, None)
        stored.sleeping.pop(run, None)
        stored.suspended.pop(run, None)
        if run == ROOT:
            stored.status, stored.result = status, result
        else:
            row = stored.rows[run]
            row.status, row.result, row.stop = status, result, stop


def _number(job: str) -> int:
    return int(job.removeprefix(_JOB))


class _Memory:
    """The values of a rehearsal: always from what is written, so that nothing is ever out of date."""

    def __init__(self, rehearsal: Rehearsal, *, fetches: bool) -> None:
        self._rehearsal = rehearsal
        self._fetches = fetches
        self.asked: set[tuple[str, str]] = set()

    def fetch(self, blocked: Iterable[tuple[str, Collection[str]]]) -> None:
        self.asked |= {(run, name) for run, names in blocked for name in names}

    def get(self, run: str, name: str) -> bytes | None:
        if self._fetches and not any(asked == name for _, asked in self.asked):
            return None
        self._rehearsal.write()
        found = self._find(run, name)
        if found is None:
            raise UnknownName(name)
        return found

    def put(self, run: str, name: str, text: bytes) -> None:
        pass

    def drop(self, run: str, name: str) -> None:
        pass

    def cached(self, workspace: str, key: str) -> bytes | None:
        """Return nothing: each rehearsal runs everything."""
        return None

    def script(self, workspace: str, path: str, digest: str | None) -> Script | None:
        return self._rehearsal.world.script(path, digest)

    def flow(self, workspace: str, path: str) -> FlowVersion | None:
        return self._rehearsal.world.flow(path)

    def _find(self, run: str, name: str) -> bytes | None:
        stored, world = self._rehearsal.stored, self._rehearsal.world
        kind, _, rest = name.partition(":" if name.startswith(("variable:", "resource:")) else ".")
        match kind:
            case "flow_input":
                return stored.inputs.get(run)
            case "results":
                kept = stored.runs[run]
                step = kept.flow.program.bodies[kept.address].step(rest)
                return stored.result_of(run, rest, is_many=step is not None and step.is_many)
            case "child":
                step_id, _, number = rest.rpartition(".")
                return stored.child(run, step_id, int(number))
            case "item":
                step_id, _, number = rest.rpartition(".")
                return bytes(stored.items[run, step_id][int(number)])
            case "resume" | "resumes" | "approvers":
                return self._answers(run, kind)
            case "variable":
                return encode(world.variables[rest]) if rest in world.variables else None
            case "resource":
                return world.resources.get(rest)
            case _:
                return None

    def _answers(self, run: str, kind: str) -> bytes | None:
        kept = self._rehearsal.stored.runs[run]
        at = decode_state(kept.state).at
        if at <= 0:
            return None
        before = kept.flow.program.bodies[kept.address].steps[at - 1].id
        answers = self._rehearsal.stored.answers.get((run, before))
        if answers is None:
            return None
        if kind == "approvers":
            return encode([answer.approver or "anonymous" for answer in answers])
        values = [decode(bytes(answer.value)) for answer in answers]
        return encode(values if kind == "resumes" else values[-1])
