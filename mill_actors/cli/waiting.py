"""Why a job waits, in words. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from mill_actors.cli.output import duration, moment

if TYPE_CHECKING:
    from mill_actors.store.jobs import Job


def why_it_waits(job: Job, served: Collection[str], now: datetime) -> str | None:
    """Return why a job is not running; None if it runs or is over.

    `served` are the tags that living nodes serve.
    """
    if job.status != "queued":
        return "its cancel was requested" if job.cancel_requested_at and not job.is_final else None
    if job.scheduled_for > now:
        left = duration((job.scheduled_for - now).total_seconds() * 1e6)
        what = f"attempt {job.attempt} is" if job.attempt > 1 else "it is"
        return f"{what} not due before {moment(job.scheduled_for)} (in {left})"
    if not job.admitted:
        return f"it waits for a slot of its concurrency key {job.concurrency_key!r}"
    if job.tag not in served:
        return unserved(job.tag)
    return f"the processes of those who serve its tag {job.tag!r} are busy with other jobs"


def unserved(tag: str) -> str:
    """Say that no living node serves a tag, and what would."""
    workspace, colon, path = tag.partition(":")
    flag = (
        f"--dedicated {path}"
        if colon and workspace and path.removeprefix("flow/").startswith(("f/", "u/"))
        else f"--tags {tag}"
    )
    return f"nobody serves its tag {tag!r}: start `mill dev`, or `mill worker {flag}`"
