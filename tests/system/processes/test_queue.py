"""What users ask of the queue, kept by real nodes: versions, limits, retries, cancels, times, order."""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest

from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.submission import Submission
from tests.system.nodes import PATH, WORK, Fleet, wait_until

pytestmark = pytest.mark.slow


def test_a_job_runs_the_version_its_row_names(fleet: Fleet) -> None:
    path = "f/system/versioned"
    versions: dict[str, int] = {}
    fleet.start("first")
    fleet.start("second")
    for version in range(8):
        code = f"def main(number):\n    return {{'version': {version}, 'number': number}}\n"
        versions[fleet.deploy(code, path)] = version
        fleet.submit_all(Submission(path=path, args={"number": number}) for number in range(300))
    fleet.await_end()
    rows = fleet.rows("select script, (result->>'version')::int, path from mill.completed_job")
    assert {row[2] for row in rows} == {path}
    assert {(row[0], row[1]) for row in rows} == set(versions.items())
    # And each path meant its version when it was submitted.
    assert [versions[fleet.client.job(job).script] for job in fleet.submitted[::300]] == list(range(8))
    fleet.check()


def test_a_limit_of_one_holds_over_two_nodes(fleet: Fleet) -> None:
    fleet.deploy(WORK, PATH, ScriptOptions(concurrency_limit=1))
    fleet.start("first")
    fleet.start("second")
    fleet.submit(60)
    fleet.await_end()
    running = ""
    for entry in fleet.ledger():
        if entry.event == "start":
            assert not running, f"{entry.job} starts while {running} runs"
            running = entry.job
        else:
            assert entry.job == running
            running = ""
    fleet.check()


def test_a_limit_of_one_survives_the_death_of_its_holder(fleet: Fleet) -> None:
    fleet.deploy(WORK, PATH, ScriptOptions(concurrency_limit=1))
    gate = fleet.gate()
    victim = fleet.start("victim")
    fleet.submit(20, gate)
    fleet.await_starts(1)
    victim.kill()
    wait_until(lambda: not fleet.processes(), "its language process is gone", 5.0)
    fleet.start("survivor")
    gate.open()
    fleet.await_end()
    fleet.check()


def test_a_failed_attempt_is_tried_again_and_kept(fleet: Fleet) -> None:
    fleet.deploy(
        "import os\n"
        "def main(place, good):\n"
        "    with open(place, 'a') as file: file.write('x')\n"
        "    tries = os.path.getsize(place)\n"
        "    if tries < good: raise ValueError(f'try {tries}')\n"
        "    return tries\n",
        "f/system/flaky",
        ScriptOptions(retry=RetryPolicy(ConstantRetry(attempts=2, seconds=0.1))),
    )
    fleet.start("one")
    good = fleet.run("f/system/flaky", {"place": str(fleet.folder / "good"), "good": 3})
    bad = fleet.run("f/system/flaky", {"place": str(fleet.folder / "bad"), "good": 4})
    assert (good.status, good.value) == ("success", 3)
    assert (bad.status, bad.value["error"]["message"]) == ("failure", "try 3")
    for result in (good, bad):
        attempts = fleet.client.attempts(result.id)
        assert [attempt.attempt for attempt in attempts] == [1, 2]
        assert [attempt.error["error"]["message"] for attempt in attempts] == ["try 1", "try 2"]
        assert all(attempt.worker and attempt.started_at <= attempt.ended_at for attempt in attempts)
    fleet.check(statuses=("success", "failure"), most_attempts=3)


def test_cancels_of_waiting_running_and_forced_jobs(fleet: Fleet) -> None:
    node = fleet.start("one")
    gate = fleet.gate()
    running, forced, waiting = (fleet.submit(1, gate)[0] for _ in range(3))
    fleet.await_starts(1)
    assert fleet.client.cancel(waiting, "no need") == "cancelled"
    assert fleet.client.cancel(running, "too slow") == "requested"
    assert fleet.client.wait(running, 20).value["error"]["name"] == "Canceled"
    wait_until(lambda: fleet.ledger("start")[-1].job == forced, "the next one runs")
    node.suspend()  # nobody is there to settle it
    assert fleet.client.cancel(forced, "now", force=True) == "cancelled"
    assert fleet.client.job(forced).status == "cancelled"
    node.signal(signal.SIGCONT)
    gate.open()
    fleet.submit(1)
    fleet.await_end()
    for job, reason in ((waiting, "no need"), (running, "too slow"), (forced, "now")):
        told = fleet.client.job(job)
        assert (told.status, told.cancel_reason) == ("cancelled", reason)
    assert waiting not in {entry.job for entry in fleet.ledger()}
    if not node.is_alive():
        pytest.fail(node.log_tail())
    fleet.check(statuses=("success", "cancelled"))


def test_what_is_not_started_in_time_is_cancelled(fleet: Fleet) -> None:
    fleet.start("one")
    gate = fleet.gate()
    fleet.submit(1, gate)
    fleet.await_starts(1)
    late = fleet.submit(1, expires_in_seconds=0.3)[0]
    wait_until(lambda: fleet.client.job(late).status == "cancelled", "it expires")
    gate.open()
    fleet.await_end()
    assert late not in {entry.job for entry in fleet.ledger()}
    fleet.check(statuses=("success", "cancelled"))


def test_a_scheduled_job_runs_at_its_time(fleet: Fleet) -> None:
    fleet.start("one")
    fleet.submit(1)
    fleet.await_end()
    job = fleet.submit(1, scheduled_in_seconds=1.2)[0]
    began = time.monotonic()
    fleet.client.wait(job, 20)
    assert 1.0 < time.monotonic() - began < 6.0
    told = fleet.client.job(job)
    assert told.started_at is not None
    # Its process's clock counts the duration: a millisecond of theirs is not too early.
    assert told.started_at > told.scheduled_for - timedelta(milliseconds=20)
    fleet.check()


def test_higher_priority_starts_first(fleet: Fleet) -> None:
    urgency = [0, 50, 10, 100, 10, 0]
    jobs = [fleet.submit(1, priority=priority)[0] for priority in urgency]
    fleet.start("one")
    fleet.await_end()
    order = [jobs.index(entry.job) for entry in fleet.ledger("start")]
    assert order == [3, 1, 2, 4, 0, 5]
    fleet.check()
