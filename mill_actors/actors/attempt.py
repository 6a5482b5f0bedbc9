"""Judging an attempt: whether it takes too long or too much, and whether it is tried again.

No I/O but reading a process's memory.
"""

from __future__ import annotations

import logging
import random
from time import monotonic

import msgspec
from msgspec import Struct

from mill_actors.config import WorkerConfig
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome, Verdict, error_result
from mill_actors.jobs.retry import NO_RETRY, RetryPolicy
from mill_actors.jobs.script import Script
from mill_actors.runtimes.warm import WarmProcess
from mill_actors.store.settlement import Retrial

logger = logging.getLogger(__name__)

#: Reading a process tree's memory costs about 1 ms.
MEMORY_SECONDS = 0.5


class Sentence(Struct, frozen=True):
    """Why a process is killed, or what its death means for the job that ran in it."""

    name: str
    message: str
    is_cancel: bool = False

    def error(self) -> bytes:
        """Return it as a failed job's result."""
        return error_result(self.name, self.message)


class Judge:
    """One Runner's; knows its script's rules and the worker's limits."""

    def __init__(self, script: Script, limits: WorkerConfig) -> None:
        self._script = script
        self._limits = limits
        self._looked_at = 0.0
        #: Set when the process is killed: it explains the death.
        self.sentence: Sentence | None = None

    def look(self, job: ClaimedJob, elapsed: float, process: WarmProcess) -> Sentence | None:
        """Return why the job that runs must be stopped; None while it may go on."""
        limit = self.timeout_seconds(job)
        if limit is not None and elapsed > limit:
            return Sentence("Timeout", f"the job did not end within {limit:g} s")
        now = monotonic()
        if now - self._looked_at > MEMORY_SECONDS:
            self._looked_at = now
            used = process.memory_bytes() // 2**20
            if used > self._limits.memory_mb:
                return Sentence(
                    "MemoryLimit", f"the process used {used} MB, the limit is {self._limits.memory_mb} MB"
                )
        return None

    def timeout_seconds(self, job: ClaimedJob) -> float | None:
        """Return how long a job may run: its own word, its script's, the worker's."""
        if job.timeout_seconds is not None:
            return job.timeout_seconds
        return self._script.options.timeout_seconds or self._limits.default_timeout_seconds

    def fail(
        self,
        job: ClaimedJob,
        error: bytes,
        duration_us: int,
        now: float,
        finished: list[Outcome],
        retried: list[Retrial],
    ) -> None:
        """Put a failed attempt where it belongs: it is over, or it is tried again."""
        outcome = Outcome(job, Verdict.FAILURE, error, duration_us, now)
        policy = self._script.options.retry if job.retry is None else _policy(job)
        delay = policy.delay_seconds(job.attempt, random.uniform(-1, 1))  # noqa: S311  jitter
        if delay is None:
            finished.append(outcome)
        else:
            retried.append(Retrial(outcome, delay))

    @staticmethod
    def cancelled(job: ClaimedJob, duration_us: int, now: float) -> Outcome:
        """Return the outcome of a job that somebody cancelled; the row knows who and why."""
        return Outcome(job, Verdict.CANCELLED, b"null", duration_us, now)


def _policy(job: ClaimedJob) -> RetryPolicy:
    try:
        return msgspec.convert(job.retry, RetryPolicy)
    except msgspec.ValidationError as error:
        # It was not checked when it was submitted; a crash would only run the job again and again.
        logger.warning("job %s is not tried again, its retry policy is none: %s", job.id, error)
        return NO_RETRY
