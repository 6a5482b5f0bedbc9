"""Transitions of many bodies at a time: what one ends, the one around it hears of, until all is quiet.

Nothing is written here: `Effects` is what a driver (`store.transitions`, `actors.held_flows`, `rehearsal`)
has to write, all of it in one transaction. What an expression names and nobody has at hand blocks its
body; the driver writes what is pending, fetches, and goes on.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from time import time

import msgspec
import orjson
from msgspec import Struct

from mill_actors.flows.definition import FlowStep, RawScript, ScriptStep
from mill_actors.flows.effects import Effects, Items, NewJob, NewRow, RunEnd
from mill_actors.flows.expressions import Evaluator, Missing
from mill_actors.flows.machine import advance
from mill_actors.flows.program import Step
from mill_actors.flows.run import Owner, Run, RunScope, Values
from mill_actors.flows.state import (
    AskApproval,
    Begin,
    Command,
    End,
    Ended,
    Ending,
    Event,
    Forget,
    KeepItems,
    KeepResume,
    Record,
    ReplaceInput,
    ReturnEarly,
    Sleep,
    StartBody,
    StartFlow,
    StartJob,
)
from mill_actors.flows.version import FlowVersion
from mill_actors.jobs.jsons import decode
from mill_actors.jobs.outcome import error_result
from mill_actors.jobs.script import Script

#: Bodies inside each other: a flow that is a step of its own would go on for ever.
DEEPEST = 200
#: Transitions without a commit: a long loop in which nothing runs is written in pieces.
MOST_TURNS = 10_000


class Interpreter:
    """Feeds events to runs; one for each round, or one for the life of a flow in hand."""

    def __init__(self, values: Values, new_id: Callable[[], str], evaluator: Evaluator) -> None:
        self.values = values
        self.runs: dict[str, Run] = {}
        self.effects = Effects()
        #: for runs that are not loaded here
        self.outgoing: list[tuple[str, Ended]] = []
        self.blocked: list[tuple[Run, Event, frozenset[str]]] = []
        self._new_id = new_id
        self._evaluator = evaluator
        self._queue: deque[tuple[Run, Event]] = deque()

    def feed(self, run: Run, event: Event) -> None:
        """Take an event and all that follows from it; what is blocked is in `blocked`."""
        self._tell(run, event)
        self._work()

    def unblock(self) -> None:
        """Go on with what was blocked: what it named has been fetched."""
        blocked, self.blocked = self.blocked, []
        self._queue.extend((run, event) for run, event, _ in blocked)
        self._work()

    def take_effects(self) -> Effects:
        """Return what has to be written since the last call."""
        effects, self.effects = self.effects, Effects()
        return effects

    def _tell(self, run: Run, event: Event) -> None:
        if isinstance(event, Ended):
            # Once, and not again when it was blocked: what was fetched since is to stay.
            self._learn(run, event)
        self._queue.append((run, event))

    def _work(self) -> None:
        turns = 0
        while self._queue:
            if turns == MOST_TURNS:
                # The rest waits for nothing but a commit.
                self.blocked.extend((run, event, frozenset()) for run, event in self._queue)
                self._queue.clear()
                return
            turns += 1
            run, event = self._queue.popleft()
            if run.id not in self.runs:
                continue  # it has ended
            try:
                if isinstance(event, Begin) and self._ends_cached(run, event):
                    continue
                done = advance(run.body, run.state, event, RunScope(run, self.values), self._evaluator)
                found = [self._resolve(run, command) for command in done.commands]
            except Missing as missing:
                self.blocked.append((run, event, missing.names))
                continue
            if done.state == run.state and not done.commands:
                continue  # an event that is old, or one answer of several
            run.state = done.state
            self.effects.changed[run.id] = run
            for command, runnable in zip(done.commands, found, strict=True):
                self._apply(run, command, runnable)

    def _learn(self, run: Run, event: Ended) -> None:
        """Keep the result of a step that is over; forget what the end of a child changes."""
        step = run.body.step(event.step)
        if step is None or not (step.is_parallel or event.job == run.state.job):
            return  # it no longer counts
        if event.status == "success":
            self._cache(run, step, event)
        if event.iteration is not None and step.is_many:
            self.values.drop(run.id, f"results.{event.step}")
            self.values.drop(run.id, f"child.{event.step}.{event.iteration}")
        elif event.result is None:
            self.values.drop(run.id, f"results.{event.step}")
        else:
            self.values.put(run.id, f"results.{event.step}", event.result)

    def _ends_cached(self, run: Run, begin: Begin) -> bool:
        """End a flow with the result of an earlier run, if it says that this may be.

        Not a restart, which is to run; and not one whose preprocessor is to make its input first.
        """
        ttl = run.flow.program.value.cache_ttl
        if not ttl or run.body.role != "flow" or begin.at or begin.iteration or begin.preprocess:
            return False
        key = cache_key(run.flow.hash, RunScope(run, self.values).value("flow_input"))
        found = self.values.cached(run.owner.workspace, key)
        if found is not None:
            self._end(run, End("success", found), keeps=False)
        return found is not None

    def _script(self, run: Run, leaf: Step) -> Script | None:
        match leaf.module.value:
            case RawScript():
                return run.flow.inline_script(leaf)
            case ScriptStep(path, _, digest):
                return self.values.script(run.owner.workspace, path, digest)
            case _:
                raise AssertionError

    def _resolve(self, run: Run, command: Command) -> Script | FlowVersion | Hit | None:
        """Return the version that a step's path means now, or the result that it has already."""
        if isinstance(command, StartJob):
            script = self._script(run, command.leaf)
            if script is not None and command.leaf.module.cache_ttl:
                key = cache_key(script.hash, command.args)
                found = self.values.cached(run.owner.workspace, key)
                if found is not None:
                    return Hit(found)
            return script
        if isinstance(command, End) and run.body.role == "flow" and run.flow.program.value.cache_ttl:
            # The result is kept by the input, and has to be at hand: also an array made of others.
            scope = RunScope(run, self.values)
            scope.value("flow_input")
            if command.result is None and command.status == "success":
                return Hit(scope.value(f"results.{command.of}"))
        if isinstance(command, StartFlow):
            value = command.leaf.module.value
            assert isinstance(value, FlowStep)
            return self.values.flow(run.owner.workspace, value.path)
        return None

    def _apply(self, run: Run, command: Command, found: Script | FlowVersion | Hit | None) -> None:
        effects = self.effects
        match command:
            case StartJob(step, leaf, iteration, args, delay, timeout, attempt):
                if leaf is run.body.flow.preprocessor:
                    args = _entering_at_preprocessor(args)
                job = self._new_id()
                if isinstance(found, Hit):
                    self._record(run, step, iteration, "success", args, found.result, job)
                elif isinstance(found, Script):
                    run.state.job = job
                    effects.jobs.append(
                        NewJob(job, run, step, leaf, iteration, found, args, delay, timeout, attempt)
                    )
                else:
                    self._not_found(run, step, leaf, iteration, job, args)
            case StartBody(step, iteration, address, overlay, timeout):
                self._begin(
                    Run(
                        self._new_id(),
                        run.flow,
                        run.body.flow.bodies[address],
                        _owner_of_children(run, step),
                        parent=run.id,
                        step=step.id,
                        iteration=iteration,
                        chain=(run.id, *run.chain),
                        depth=run.depth + 1,
                        overlay=overlay,
                        began=run.began,
                        deadline=_earlier(run.deadline, timeout),
                    ),
                    run,
                )
            case StartFlow(step, leaf, iteration, args, timeout):
                if not isinstance(found, FlowVersion):
                    self._not_found(run, step, leaf, iteration, self._new_id(), args)
                    return
                if run.depth >= DEEPEST:
                    result = error_result("FlowTooDeep", f"flows are nested deeper than {DEEPEST} levels")
                    self._record(run, step, iteration, "failure", args, result)
                    return
                inner = Run(
                    self._new_id(),
                    found,
                    found.program.root,
                    _owner_of_children(run, step),
                    parent=run.id,
                    step=step.id,
                    iteration=iteration,
                    depth=run.depth + 1,
                    overlay=args,
                    began=run.began,
                    deadline=_earlier(run.deadline, timeout, found.options.timeout_seconds),
                )
                self.values.put(inner.id, "flow_input", args)
                self._begin(inner, run)
            case Record(step, iteration, status, args, result):
                self._record(run, step, iteration, status, args, result)
            case KeepItems(step, items):
                effects.items.append(Items(run, step, items))
            case Forget(step, tries):
                self._set_aside(run, step, tries)
            case Sleep(seconds):
                effects.sleeps.append((run, seconds))
            case AskApproval():
                effects.approvals.append((run, command))
            case KeepResume():
                effects.resumes.append((run, command))
            case ReplaceInput(args):
                self.values.put(run.id, "flow_input", args)
                effects.inputs.append((run, args))
            case ReturnEarly(step):
                effects.early.append((run, step))
            case End():
                if isinstance(found, Hit):
                    command = End(command.status, found.result, command.of, command.stop)
                self._end(run, command)

    def _begin(self, inner: Run, run: Run) -> None:
        run.state.job = inner.id
        self.runs[inner.id] = inner
        self.effects.started.append(inner)
        self._queue.append((inner, Begin()))

    def _not_found(
        self, run: Run, step: Step, leaf: Step, iteration: int | None, job: str, args: bytes
    ) -> None:
        value = leaf.module.value
        path = getattr(value, "path", "")
        kind = "flow" if isinstance(value, FlowStep) else "script"
        result = error_result(f"{kind.capitalize()}NotFound", f"there is no {kind} {path!r}")
        self._record(run, step, iteration, "failure", args, result, job)

    def _record(
        self,
        run: Run,
        step: Step,
        iteration: int | None,
        status: Ending,
        args: bytes,
        result: bytes,
        job: str | None = None,
    ) -> None:
        """Write a child that has ended as it began, and tell its run."""
        run.state.job = job = job or self._new_id()
        self.effects.rows.append(NewRow(job, run, step, iteration, status, args, result, name=step.id))
        if step.is_many and iteration is not None:
            self.values.drop(run.id, f"results.{step.id}")
        else:
            self.values.put(run.id, f"results.{step.id}", result)
        self._tell(run, Ended(step.id, iteration, job, status, result))

    def _set_aside(self, run: Run, step: Step, tries: int) -> None:
        """Rename the children of a try: those written by `forgets`, those not yet written here."""
        effects = self.effects
        name = f"{step.id}~{tries}"
        for row in effects.rows:
            if row.run is run and row.name == step.id:
                row.name = name
        for inner in effects.started:
            if inner.parent == run.id and inner.step == step.id:
                inner.step = name
        self.values.drop(run.id, f"results.{step.id}")
        effects.forgets.append((run, step, tries))

    def _cache(self, run: Run, step: Step, event: Ended) -> None:
        """Keep the result of a script step that says so, under what it was given."""
        if event.args is None or event.result is None:
            return  # no script has run: a branch that is empty has not even a first step
        leaf = step if event.iteration is None or not step.bodies else step.inner(event.iteration).steps[0]
        ttl = leaf.module.cache_ttl
        if not ttl or not leaf.is_leaf:
            return
        try:
            script = self._script(run, leaf)
        except Missing:
            return  # which version it was is not known any more: it is not kept
        if script is not None:
            key = cache_key(script.hash, event.args)
            self.effects.cached.append((run.owner.workspace, key, event.result, ttl))

    def _end(self, run: Run, end: End, *, keeps: bool = True) -> None:
        ttl = run.flow.program.value.cache_ttl
        if keeps and ttl and run.body.role == "flow" and end.status == "success" and end.result is not None:
            inputs = self.values.get(run.id, "flow_input")
            if inputs is not None:
                key = cache_key(run.flow.hash, inputs)
                self.effects.cached.append((run.owner.workspace, key, end.result, ttl))
        del self.runs[run.id]
        self.effects.changed.pop(run.id, None)
        self.effects.ended.append(RunEnd(run, end.status, end.result, end.of, end.stop))
        if run.parent is None:
            return
        assert run.step is not None
        event = Ended(run.step, run.iteration, run.id, end.status, end.result, end.stop)
        parent = self.runs.get(run.parent)
        if parent is None:
            self.outgoing.append((run.parent, event))
        else:
            self._tell(parent, event)


class Hit(Struct, frozen=True):
    """A result that is there already."""

    result: bytes


def cache_key(digest: str, args: bytes) -> str:
    """Return the name of a result: the version that made it, and what it was given, whatever the order."""
    told = orjson.dumps(decode(args), option=orjson.OPT_SORT_KEYS) if _is_plain(args) else args
    return hashlib.sha256(digest.encode() + told).hexdigest()


def _owner_of_children(run: Run, step: Step) -> Owner:
    """Return what the jobs inside a step have from their flow: with the step's own priority."""
    if step.module.priority is None:
        return run.owner
    return msgspec.structs.replace(run.owner, priority=step.module.priority)


def _earlier(deadline: float | None, *seconds: float | None) -> float | None:
    """Return when the time of a body is over: that of what it is in, or its own."""
    ends = [time() + each for each in seconds if each is not None]
    return min([*ends, *([] if deadline is None else [deadline])], default=None)


def _entering_at_preprocessor(args: bytes) -> bytes:
    """Windmill's way to say that it is not `main` that runs."""
    entry = b'"_ENTRYPOINT_OVERRIDE":"preprocessor"}'
    inner = args.strip()[:-1]
    return inner + (b"," if inner[1:].strip() else b"") + entry


def _is_plain(args: bytes) -> bool:
    try:
        orjson.dumps(decode(args))
    except (TypeError, ValueError):
        return False
    return True
