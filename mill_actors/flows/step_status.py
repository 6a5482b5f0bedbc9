"""One step's part of a FlowStatus, from its children. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from mill_actors.flows.children import is_forgiven
from mill_actors.flows.definition import BranchAll, BranchOne, ForLoop, WhileLoop
from mill_actors.flows.program import Step

#: The job of a step that ran nothing: a loop without items, a branch without steps.
NOBODY = "00000000-0000-0000-0000-000000000000"
#: Children of one step that are listed; of more, `flow_jobs_count` says how many there are.
MOST_LISTED = 10_000

Json = dict[str, Any]


class Child(Struct, frozen=True):
    """A job below a body. `status` is a job's: queued, running, success, failure, cancelled, skipped."""

    id: str
    iteration: int | None
    status: str
    is_flow: bool = False
    started_at: datetime | None = None
    duration_us: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self.status in {"queued", "running"}

    @property
    def is_bad(self) -> bool:
        """Whether it ended badly."""
        return self.status in {"failure", "cancelled"}


class Children(Struct, frozen=True):
    """The children of one step: the first of them in their order, and how many there are in all."""

    #: its own: a script's job, a nested flow's, or a record that nothing ran
    own: Child | None = None
    #: iterations and branches
    many: Sequence[Child] = ()
    #: the one of them with the highest number
    last: Child | None = None
    count: int = 0
    bad: int = 0
    #: jobs of tries that failed, one a try
    failed_tries: Sequence[str] = ()

    def __bool__(self) -> bool:
        return self.own is not None or self.last is not None


NOTHING = Children()


def waiting(step: Step, children: Children) -> Json:
    """Return a step that has not begun."""
    told: Json = {"type": "WaitingForPriorSteps", "id": step.id}
    if children.failed_tries:
        told["failed_retries"] = list(children.failed_tries)
    return told


def under_way(step: Step, child: Child) -> Json:
    """Return a step that is one job, which is not over."""
    kind = "InProgress" if child.status == "running" else "WaitingForExecutor"
    return {"type": kind, "id": step.id, "job": child.id}


def job_of(step: Step, children: Children) -> str:
    """Return the job a finished step is known by: its own, its last child's, or nobody's."""
    own = children.own
    module = step.module
    if own is not None:
        is_mock = module.mock is not None and module.mock.enabled
        return NOBODY if step.is_many and own.status == "success" and not is_mock else own.id
    child = children.last
    if child is None:
        return NOBODY
    if isinstance(module.value, BranchOne) and not step.inner(child.iteration or 0).steps:
        return NOBODY
    return child.id


def fails(step: Step, children: Children) -> bool:
    """Whether a step that is over ended badly."""
    if children.own is not None:
        return children.own.is_bad
    if isinstance(step.module.value, ForLoop | WhileLoop):
        return children.bad > 0 and not step.module.value.skip_failures
    if isinstance(step.module.value, BranchAll):
        return any(child.is_bad and not is_forgiven(step, child.iteration or 0) for child in children.many)
    return children.bad > 0


def chosen(number: int) -> Json:
    """Return which branch it was."""
    return {"type": "default"} if number == 0 else {"type": "branch", "branch": number - 1}


def flow_jobs(children: Children) -> Json:
    """Return what a step tells of its iterations or branches."""
    listed = children.many
    told: Json = {
        "flow_jobs": [child.id for child in listed],
        "flow_jobs_success": [None if child.is_open else not child.is_bad for child in listed],
        "flow_jobs_duration": {
            "started_at": [None if c.started_at is None else c.started_at.isoformat() for c in listed],
            "duration_ms": [None if c.duration_us is None else c.duration_us // 1000 for c in listed],
        },
    }
    if children.count > len(listed):
        told["flow_jobs_count"] = children.count
    return told
