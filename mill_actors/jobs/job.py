"""A job as its worker sees it: the row of its claim."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ClaimedJob(Struct, gc=False):
    """A claim, and one row that it holds, in the order of `claim_jobs`' columns.

    `args` stays the JSON text that was submitted: the engine never parses it.
    """

    claim: str
    id: str
    workspace: str
    path: str
    script: str
    tag: str
    args: str
    args_bytes: int
    created_by: str
    priority: int
    attempt: int
    rescues: int
    timeout_seconds: float | None
    retry: Any
    concurrency_key: str | None
    due: float
    is_flow: bool = False
    #: of a step: the flow (or loop, or branch) it is a step of, and the flow that was submitted
    parent_job: str | None = None
    root_job: str | None = None
    step: str | None = None
    iteration: int | None = None
    #: of a flow how deep it lies in others; of a step how deep its parent does
    depth: int | None = None
    #: of a step: its flow's
    flow_path: str | None = None
    #: of a flow: how it starts, whether it is under way, whether it is to be cancelled, when it was claimed
    #: (Unix seconds of the database)
    flow: tuple[Any, bool, bool, float] | None = None
    #: the folder that all steps of a flow see as `./shared`
    shared: str | None = None
    #: the arguments with what `$var:` and `$res:` in them mean; None: as they are
    filled: str | None = None
