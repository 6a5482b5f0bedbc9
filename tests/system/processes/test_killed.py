"""A node dies of kill -9, or sleeps past its lease: nothing is lost, and nothing ends twice."""

from __future__ import annotations

import signal
import time
from concurrent.futures import Future
from functools import partial

import psutil
import pytest

from mill_actors.store.jobs import JobResult
from tests.system.nodes import LEASE, Fleet, NodeProcess, wait_until

pytestmark = pytest.mark.slow


def test_what_a_killed_node_held_is_done_by_another(fleet: Fleet) -> None:
    gate = fleet.gate()
    nodes = [fleet.start("first"), fleet.start("second")]
    # So that they know how short jobs are, and take many at once.
    fleet.submit(2000)
    fleet.await_end()
    jobs = fleet.submit(300, gate)
    # One runs at the gate, and others wait behind it: only for a moment, then they go elsewhere.
    wait_until(lambda: any(len(fleet.held_by(node.id)) > 10 for node in nodes), "a node has its hands full")
    victim, survivor = sorted(nodes, key=lambda node: -len(fleet.held_by(node.id)))
    languages = psutil.Process(victim.pid).children(recursive=True)
    assert languages
    fleet.await_starts(2001)

    began = time.monotonic()
    victim.kill()
    held = fleet.held_by(victim.id)
    assert len(held) > 1
    wait_until(lambda: not fleet.held_by(victim.id), "its jobs are back")
    assert time.monotonic() - began < LEASE + 3.0
    psutil.wait_procs(languages, timeout=5.0)
    assert not [process for process in languages if process.is_running()]

    gate.open()
    fleet.await_end()
    rescued = fleet.rows("select id::text, rescues from mill.completed_job where rescues > 0")
    assert dict(rescued) == dict.fromkeys(held, 1)
    ends = [entry.job for entry in fleet.ledger("end")]
    assert sorted(ends) == sorted(fleet.submitted)  # not one of them got past the gate twice
    assert fleet.value("select count(*) from mill.node where id = %s", victim.id) == 0
    assert survivor.is_alive()
    assert set(held) <= set(jobs)
    fleet.check()


def test_the_last_node_is_killed_and_a_new_one_takes_over(fleet: Fleet) -> None:
    gate = fleet.gate()
    fleet.submit(50, gate)
    for number in range(3):
        node = fleet.start(f"number-{number}")
        fleet.await_starts(number + 1)
        node.kill()
        wait_until(lambda: not fleet.processes(), "its language process is gone", 5.0)
    gate.open()
    fleet.start("last")
    fleet.await_end()
    assert fleet.value("select sum(rescues) from mill.completed_job") >= 3
    fleet.check()


def test_a_job_that_kills_its_node_again_and_again_is_a_lost_worker(fleet: Fleet) -> None:
    fleet.deploy(
        "import os, signal, time\n"
        "def main():\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    time.sleep(60)\n",
        "f/system/killer",
    )
    # Alone and with others waiting, which it must not take along.
    innocent = fleet.submit(20)
    job, future = fleet.client.start("f/system/killer", priority=100)
    fleet.submitted.append(job)
    killed = 0
    for number in range(6):
        node = fleet.start(f"number-{number}")
        wait_until(partial(_is_over, future, node), "the job ends or its node")
        if future.done():
            break
        killed += 1
        node.kill()
    result = future.result(0)
    assert killed == 4
    assert (result.status, result.value["error"]["name"]) == ("failure", "WorkerLost")
    fleet.await_end()
    for one in innocent:
        assert fleet.client.job(one).status == "success"
    fleet.check(statuses=("success", "failure"))


def _is_over(future: Future[JobResult], node: NodeProcess) -> bool:
    return future.done() or not node.is_alive()


def test_a_paused_node_is_replaced_and_its_late_answers_are_worth_nothing(fleet: Fleet) -> None:
    gate = fleet.gate()
    paused = fleet.start("paused")
    fleet.submit(2000)
    fleet.await_end()
    jobs = fleet.submit(100, gate)
    fleet.await_starts(2001)
    held = fleet.held_by(paused.id)
    assert held
    paused.suspend()
    other = fleet.start("other")
    wait_until(lambda: not fleet.held_by(paused.id), "its jobs are taken from it")
    gate.open()
    fleet.await_end()
    before = fleet.rows("select id::text, completed_at, result::text from mill.completed_job order by id")
    # The paused node's process has run at least the one that stood at the gate.
    wait_until(
        lambda: len(fleet.ledger("end")) > len(fleet.submitted), "the paused node's process has answered"
    )

    paused.signal(signal.SIGCONT)
    reborn = paused.await_life()
    assert reborn != paused.id
    assert "finishes were stale" in paused.log.read_text()
    after = fleet.rows("select id::text, completed_at, result::text from mill.completed_job order by id")
    assert after == before
    assert {row[0] for row in after} >= set(jobs)

    # It works again, and alone.
    other.stop()
    fleet.submit(100)
    fleet.await_end()
    assert fleet.value("select count(distinct worker) from mill.completed_job") >= 2
    fleet.check()
