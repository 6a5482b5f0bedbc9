"""Transitions of many bodies at a time: what one ends, the one around it hears of, until all is quiet.

Nothing is written here: `Effects` is what a driver (`store.flows`, `actors.held_flows`, `rehearsal`)
has to write, all of it in one transaction. What an expression names and nobody has at hand blocks its
body; the driver writes what is pending, fetches, and goes on.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from time import time
from typing import Any, Literal, Protocol

import orjson
from msgspec import Raw, Struct, field

from mill_actors.flows.definition import FlowStep, RawScript, ScriptStep
from mill_actors.flows.expressions import Evaluator, Missing, UnknownName
from mill_actors.flows.machine import advance
from mill_actors.flows.program import Body, Program, Step
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
    State,
    Stop,
)
from mill_actors.jobs.jsons import decode, encode
from mill_actors.jobs.outcome import error_result
from mill_actors.jobs.script import Script, ScriptOptions, make_script

#: Bodies inside each other: a flow that is a step of its own would go on for ever.
DEEPEST = 200
#: Transitions without a commit: a long loop in which nothing runs is written in pieces.
MOST_TURNS = 10_000


class FlowVersion:
    """A version of a deployed flow, ready to run."""

    def __init__(
        self, workspace: str, path: str, digest: str, program: Program, options: FlowOptions
    ) -> None:
        self.workspace = workspace
        self.path = path
        self.hash = digest
        self.program = program
        self.options = options
        self._inline: dict[str, Script] = {}

    def inline_script(self, step: Step) -> Script:
        """Return the version of a step's own code: a script below the flow's path, that no path means."""
        script = self._inline.get(step.id)
        if script is None:
            value = step.module.value
            assert isinstance(value, RawScript)
            options = ScriptOptions(
                tag=value.tag or None,
                concurrency_limit=value.concurrent_limit or None,
                concurrency_key=value.custom_concurrency_key or None,
                concurrency_window_s=value.concurrency_time_window_s,
                # Its inputs were wired by hand, for Windmill's rules.
                arguments="windmill",
            )
            script = self._inline[step.id] = make_script(
                self.workspace, f"{self.path}/{step.id}", value.language, value.content, options
            )
        return script

    def inline_scripts(self) -> list[Script]:
        """Return the code of all its steps."""
        return [self.inline_script(s) for s in self.program.steps() if isinstance(s.module.value, RawScript)]


class FlowOptions(Struct, frozen=True, omit_defaults=True):
    """What a flow says about how it runs, beside its value."""

    dedicated: bool = False
    #: "step": the next step starts once the one before is durable; "flow": all is written at the end
    durability: Literal["step", "flow"] = "step"
    priority: int = 0
    timeout_seconds: float | None = None
    concurrency_limit: int | None = None
    concurrency_key: str | None = None
    concurrency_window_s: float | None = None


class Owner(Struct, frozen=True):
    """What all jobs of a flow have from it."""

    workspace: str
    created_by: str
    priority: int
    tag: str
    root: str
    due: float


class Run:
    """One body that runs: a job, and its state. `chain`: the runs around it, nearest first, in its flow."""

    __slots__ = (
        "began", "body", "chain", "deadline", "depth", "flow", "id", "iteration", "overlay", "owner",
        "parent", "started_at", "state", "step",
    )  # fmt: skip

    def __init__(
        self,
        id: str,  # noqa: A002  its name everywhere
        flow: FlowVersion,
        body: Body,
        owner: Owner,
        *,
        state: State | None = None,
        parent: str | None = None,
        step: str | None = None,
        iteration: int | None = None,
        chain: tuple[str, ...] = (),
        depth: int = 0,
        overlay: bytes = b"{}",
        began: float = 0.0,
        deadline: float | None = None,
    ) -> None:
        self.id = id
        self.flow = flow
        self.body = body
        self.owner = owner
        self.state = state or State()
        self.parent = parent
        self.step = step
        self.iteration = iteration
        self.chain = chain
        self.depth = depth
        #: what its `flow_input` has beside the flow's
        self.overlay = overlay
        #: when the submitted flow began, Unix seconds: nothing it reads is older
        self.began = began
        #: when the time of its scripts is over; Unix seconds
        self.deadline = deadline
        #: when this one did, as far as it is known here; Unix seconds
        self.started_at = began

    def holder_of(self, step: str) -> str | None:
        """Return the run whose child a step is that may be read here."""
        level = self.body.levels_up(step)
        if level is None:
            return None
        return self.id if level == 0 else self.chain[level - 1]

    @property
    def flow_run(self) -> str:
        """The run of the whole flow, whose arguments are the `flow_input`."""
        return self.chain[-1] if self.chain else self.id


class NewJob(Struct):
    """A script to run as a step. `run.depth` tells in which order events of it are dealt with."""

    id: str
    run: Run
    step: Step
    leaf: Step
    iteration: int | None
    script: Script
    args: bytes
    delay_seconds: float
    timeout_seconds: float | None
    attempt: int


class NewRow(Struct):
    """A step that ended without a process."""

    id: str
    run: Run
    step: Step
    iteration: int | None
    status: Ending
    args: bytes
    result: bytes
    script: str = ""
    #: what is written as its step: another name once its try is set aside
    name: str = ""


class RunEnd(Struct):
    """A body that is over; `result` None: what the children of step `of` amount to."""

    run: Run
    status: Ending
    result: bytes | None
    of: str
    stop: Stop


class Items(Struct):
    """A loop's items, to be asked for one by one."""

    run: Run
    step: Step
    items: list[Raw]


class Effects(Struct):
    """What has to be written, and what has to be started once it is."""

    jobs: list[NewJob] = field(default_factory=list)
    rows: list[NewRow] = field(default_factory=list)
    started: list[Run] = field(default_factory=list)
    changed: dict[str, Run] = field(default_factory=dict)
    ended: list[RunEnd] = field(default_factory=list)
    items: list[Items] = field(default_factory=list)
    #: to be applied before anything else is written: what is written here has its name already
    forgets: list[tuple[Run, Step, int]] = field(default_factory=list)
    sleeps: list[tuple[Run, float]] = field(default_factory=list)
    approvals: list[tuple[Run, AskApproval]] = field(default_factory=list)
    resumes: list[tuple[Run, KeepResume]] = field(default_factory=list)
    inputs: list[tuple[Run, bytes]] = field(default_factory=list)
    early: list[tuple[Run, Step]] = field(default_factory=list)
    #: results to be used again: workspace, key, text, for how many seconds
    cached: list[tuple[str, str, bytes, float]] = field(default_factory=list)

    @property
    def has_more(self) -> bool:
        """Whether there is more to write than rows and states."""
        return bool(self.forgets or self.items or self.resumes or self.inputs or self.early or self.cached)


class Values(Protocol):
    """What is at hand. Names are those of `expressions.Scope`, and `script:…`, `flow:…`."""

    def get(self, run: str, name: str) -> bytes | None:
        """Return a text; None: not at hand. Raise `UnknownName`: there is none."""
        ...

    def put(self, run: str, name: str, text: bytes) -> None:
        """Keep what was just learnt."""
        ...

    def drop(self, run: str, name: str) -> None:
        """Forget what has changed: the results of a loop that goes on."""
        ...

    def cached(self, workspace: str, key: str) -> bytes | None:
        """Return a result that may be used again. Raise `Missing`; None: there is none."""
        ...

    def script(self, workspace: str, path: str, digest: str | None) -> Script | None:
        """Return what a path means now. Raise `Missing`; None: there is no such script."""
        ...

    def flow(self, workspace: str, path: str) -> FlowVersion | None:
        """Return what a path means now. Raise `Missing`; None: there is no such flow."""
        ...


class RunScope:
    """What the expressions of one run see."""

    def __init__(self, run: Run, values: Values) -> None:
        self._run = run
        self._values = values
        self._decoded: dict[str, Any] = {}

    def value(self, name: str) -> bytes:
        """Return a JSON text; `Missing` and `UnknownName` as in `expressions.Scope`."""
        run = self._run
        holder = run.id
        if name.startswith("results."):
            found_in = run.holder_of(name.removeprefix("results."))
            if found_in is None:
                raise UnknownName(name)
            holder = found_in
        elif name == "flow_input":
            if run.chain and run.overlay != b"{}":
                return encode(self.decoded(name))
            holder = run.flow_run
        elif name == "flow_env":
            return encode({name: decode(bytes(raw)) for name, raw in run.flow.program.value.flow_env.items()})
        elif name == "all_iters":
            name = f"results.{run.body.steps[run.state.at].id}"
        elif name.startswith(("variable:", "resource:")):
            holder = run.owner.workspace
        found = self._values.get(holder, name)
        if found is None:
            raise Missing({name})
        return found

    def decoded(self, name: str) -> Any:
        """Return what `value(name)` means, decoded once."""
        if name not in self._decoded:
            if name == "flow_input" and self._run.chain and self._run.overlay != b"{}":
                found = self._values.get(self._run.flow_run, name)
                if found is None:
                    raise Missing({name})
                inputs = decode(found)
                overlay = decode(self._run.overlay)
                self._decoded[name] = {**inputs, **overlay} if isinstance(inputs, dict) else overlay
            else:
                self._decoded[name] = decode(self.value(name))
        return self._decoded[name]


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
                if isinstance(event, Begin) and self._ends_cached(run):
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

    def _ends_cached(self, run: Run) -> bool:
        """End a flow with the result of an earlier run, if it says that this may be."""
        ttl = run.flow.program.value.cache_ttl
        if not ttl or run.body.role != "flow":
            return False
        key = cache_key(run.flow.hash, RunScope(run, self.values).value("flow_input"))
        found = self.values.cached(run.owner.workspace, key)
        if found is not None:
            self._end(run, End("success", found))
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
            RunScope(run, self.values).value("flow_input")  # the result is kept by it
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
                        run.owner,
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
                    run.owner,
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

    def _end(self, run: Run, end: End) -> None:
        ttl = run.flow.program.value.cache_ttl
        if ttl and run.body.role == "flow" and end.status == "success" and end.result is not None:
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


def names_of(blocked: Iterable[tuple[Run, Event, frozenset[str]]]) -> set[tuple[str, str]]:
    """Return (run, name) of all that has to be fetched."""
    return {(run.id, name) for run, _, names in blocked for name in names}
