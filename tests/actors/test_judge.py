"""Timeouts, memory, retries: what becomes of an attempt."""

from __future__ import annotations

import json

import pytest

from mill_actors.actors import attempt
from mill_actors.actors.attempt import Judge, Sentence
from mill_actors.config import WorkerConfig
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome, Verdict
from mill_actors.jobs.retry import ConstantRetry, ExponentialRetry, RetryPolicy
from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.settlement import Retrial
from tests.actors.stage import a_script, make_job


class Memory:
    """A process of which only the memory matters."""

    def __init__(self, used_mb: int = 0) -> None:
        self.used_mb = used_mb
        self.looks = 0

    def memory_bytes(self) -> int:
        self.looks += 1
        return self.used_mb * 2**20


def judge(options: ScriptOptions = ScriptOptions(), **limits: float) -> Judge:
    return Judge(a_script(options), WorkerConfig(**limits))  # type: ignore[arg-type]  # by name


def look(judging: Judge, job: ClaimedJob, elapsed: float, process: Memory | None = None) -> Sentence | None:
    return judging.look(job, elapsed, process or Memory())  # type: ignore[arg-type]  # enough of a process


@pytest.mark.parametrize(
    ("job", "script", "worker", "limit"),
    [
        (None, None, None, None),
        (None, None, 30.0, 30.0),
        (None, 20.0, 30.0, 20.0),
        (10.0, 20.0, 30.0, 10.0),
        (40.0, 20.0, 30.0, 40.0),
        (10.0, None, None, 10.0),
    ],
)
def test_the_nearest_word_about_time_counts(
    job: float | None, script: float | None, worker: float | None, limit: float | None
) -> None:
    judging = judge(ScriptOptions(timeout_seconds=script), default_timeout_seconds=worker)  # type: ignore[arg-type]
    assert judging.timeout_seconds(make_job(timeout_seconds=job)) == limit


def test_a_job_may_go_on_up_to_its_limit() -> None:
    job = make_job(timeout_seconds=5.0)
    assert look(judge(), job, 4.9) is None
    sentence = look(judge(), job, 5.1)
    assert sentence is not None
    assert json.loads(sentence.error())["error"] == {
        "name": "Timeout", "message": "the job did not end within 5 s", "stack": "",
    }  # fmt: skip


def test_without_a_limit_it_goes_on_for_ever() -> None:
    assert look(judge(), make_job(), 1e9) is None


def test_memory_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(attempt, "monotonic", lambda: now[0])
    judging, process = judge(memory_mb=100), Memory(101)
    sentence = look(judging, make_job(), 1.0, process)
    assert sentence is not None
    assert sentence.name == "MemoryLimit"
    assert look(judging, make_job(), 1.0, process) is None
    now[0] += attempt.MEMORY_SECONDS + 0.01
    assert look(judging, make_job(), 1.0, process) is not None
    assert process.looks == 2


def fail(judging: Judge, job: ClaimedJob) -> tuple[list[Outcome], list[Retrial]]:
    finished: list[Outcome] = []
    retried: list[Retrial] = []
    judging.fail(job, b'{"error":{}}', 5, 1.0, finished, retried)
    assert len(finished) + len(retried) == 1
    return finished, retried


def test_without_a_policy_a_failure_is_final() -> None:
    finished, _ = fail(judge(), make_job())
    assert finished[0].verdict is Verdict.FAILURE
    assert finished[0].duration_us == 5


def test_attempts_are_counted_and_their_delays_are_the_policys() -> None:
    policy = RetryPolicy(ConstantRetry(1, 5.0), ExponentialRetry(1, 1.0, 3.0))
    judging = judge(ScriptOptions(retry=policy))
    delays = []
    for number in (1, 2, 3):
        _, retried = fail(judging, make_job(attempt=number))
        delays.append(retried[0].delay_seconds if retried else None)
    assert delays == [5.0, 9.0, None]


def test_the_jobs_own_policy_counts_more_than_the_scripts() -> None:
    judging = judge(ScriptOptions(retry=RetryPolicy(ConstantRetry(5, 1.0))))
    _, retried = fail(judging, make_job(retry={"constant": {"attempts": 1, "seconds": 9}}))
    assert retried[0].delay_seconds == 9
    finished, _ = fail(judging, make_job(retry={"constant": {"attempts": 1}}, attempt=2))
    assert finished


@pytest.mark.parametrize("retry", [{"constant": {"attempts": -1}}, {"nonsense": 1}, [], "x"])
def test_a_policy_that_is_none_is_no_reason_to_crash(retry: object) -> None:
    finished, _ = fail(judge(), make_job(retry=retry))
    assert finished[0].verdict is Verdict.FAILURE


def test_a_cancelled_job_is_cancelled() -> None:
    outcome = Judge.cancelled(make_job(), 7, 1.0)
    assert (outcome.verdict, outcome.duration_us) == (Verdict.CANCELLED, 7)
