"""A body that runs: whose it is, what it is in, and what its expressions see."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from mill_actors.flows.expressions import Missing, UnknownName
from mill_actors.flows.program import Body
from mill_actors.flows.state import (
    State,
)
from mill_actors.flows.version import FlowVersion
from mill_actors.jobs.jsons import decode, encode
from mill_actors.jobs.script import Script


class Owner(Struct, frozen=True):
    """What all jobs of a flow have from it."""

    workspace: str
    created_by: str
    priority: int
    tag: str
    root: str
    due: float

    @property
    def reader(self) -> tuple[str, str]:
        """Who reads what is shared in a workspace."""
        return self.workspace, self.created_by


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
        elif name.startswith("iter"):
            return encode(self._iter(name))
        elif name == "all_iters":
            name = f"results.{run.body.steps[run.state.at].id}"
        elif name.startswith(("variable:", "resource:")):
            holder = "/".join(run.owner.reader)
        found = self._values.get(holder, name)
        if found is None:
            raise Missing({name})
        return found

    def _iter(self, name: str) -> Any:
        """Return what a loop around this run has put into its input."""
        overlay = self._overlay()
        if isinstance(overlay, dict) and "iter" in overlay:
            if name not in overlay:
                raise UnknownName(name)
            return overlay[name]
        inputs = self.decoded("flow_input")
        if not isinstance(inputs, dict) or name not in inputs:
            raise UnknownName(name)
        return inputs[name]

    def _overlay(self) -> Any:
        if not self._run.chain or self._run.overlay == b"{}":
            return None
        if "" not in self._decoded:
            self._decoded[""] = decode(self._run.overlay)
        return self._decoded[""]

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
