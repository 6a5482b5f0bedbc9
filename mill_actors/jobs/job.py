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
