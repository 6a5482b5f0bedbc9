"""What became of a job in a worker's hands, on its way to the database."""

from __future__ import annotations

import enum

import orjson
from msgspec import Struct

from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.lifecycle import State


class Verdict(enum.StrEnum):
    """How an attempt ended."""

    SUCCESS = State.SUCCESS.value
    FAILURE = State.FAILURE.value
    CANCELLED = State.CANCELLED.value


class Outcome(Struct, gc=False):
    """One ended attempt: the fence (`job.id`, `job.claim`), the verdict, the result as JSON text.

    `ended_at` is monotonic seconds of this node: the database computes the wall-clock times.
    """

    job: ClaimedJob
    verdict: Verdict
    result: bytes
    duration_us: int
    ended_at: float


def error_result(name: str, message: str, stack: str = "") -> bytes:
    """Return the result of a job that failed, in Windmill's shape: `{"error": {…}}`."""
    error = {"name": name, "message": message, "stack": stack}
    try:
        return orjson.dumps({"error": error})
    except orjson.JSONEncodeError:
        # A lone surrogate in somebody's message: keep the text, escape what is not Unicode.
        clean = {key: text.encode("utf-8", "backslashreplace").decode() for key, text in error.items()}
        return orjson.dumps({"error": clean})


#: The result of what somebody cancelled.
CANCELED = error_result("Canceled", "Job canceled")
