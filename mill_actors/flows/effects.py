"""What a round of transitions wants written, and what is to be started once it is."""

from __future__ import annotations

from msgspec import Raw, Struct, field

from mill_actors.flows.program import Step
from mill_actors.flows.run import Run
from mill_actors.flows.state import (
    AskApproval,
    Ending,
    KeepResume,
    Stop,
)
from mill_actors.jobs.script import Script


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
