"""A job as its worker sees it: the row of its claim."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ClaimedJob(Struct, gc=False):
    """One claimed row of the queue, in the order of `claim_jobs`' columns, and its claim.

    `args` stays the JSON text that was submitted: the engine never parses it.
    """

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
    claim: str
