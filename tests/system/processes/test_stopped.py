"""SIGTERM, SIGINT and a second one: what runs gets its grace, what waits goes back at once."""

from __future__ import annotations

import signal
import time

import pytest

from tests.system.nodes import Fleet, NodeProcess, wait_until

pytestmark = pytest.mark.slow


def busy(fleet: Fleet, **settings: object) -> tuple[NodeProcess, str, list[str]]:
    """Start a node of one process; return it, the job that runs, and the others it holds."""
    node = fleet.start("stopped", **settings)
    fleet.submit(2000)
    fleet.await_end()
    fleet.submit(50, fleet.gate())
    running = fleet.await_starts(2001)[-1].job
    return node, running, [job for job in fleet.held_by(node.id) if job != running]


def assert_untouched(fleet: Fleet) -> None:
    """Nothing that went back has lost an attempt, or counts as rescued."""
    rows = fleet.rows("select attempt, rescues from mill.completed_job union all "
                      "select attempt, rescues from mill.queue")  # fmt: skip
    assert set(rows) == {(1, 0)}
    assert fleet.value("select count(*) from mill.job_attempt") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_is_finished_and_what_waits_goes_back(fleet: Fleet, number: signal.Signals) -> None:
    node, running, _ = busy(fleet)
    node.signal(number)
    wait_until(lambda: fleet.held_by(node.id) == [running], "what waits goes back", 5.0)
    assert node.is_alive()
    assert fleet.value("select stopping from mill.node where id = %s", node.id) is True
    fleet.open_gates()
    assert node.end() == 0
    assert fleet.client.job(running).status == "success"
    assert fleet.rows("select id from mill.node") == []
    assert fleet.client.counts()["waiting"] == 49
    assert_untouched(fleet)

    fleet.start("next")
    fleet.await_end()
    assert_untouched(fleet)
    starts = [entry.job for entry in fleet.ledger("start")]
    assert sorted(starts) == sorted(fleet.submitted)
    fleet.check()


def test_what_still_runs_at_the_end_of_the_grace_goes_back(fleet: Fleet) -> None:
    node, running, _ = busy(fleet, node_grace_seconds=0.5)
    began = time.monotonic()
    node.signal(signal.SIGTERM)
    assert node.end() == 0
    assert 0.4 < time.monotonic() - began < 8.0
    assert fleet.client.job(running).status == "queued"
    assert fleet.client.counts()["waiting"] == 50
    wait_until(lambda: not fleet.processes(), "its language process is gone", 5.0)
    assert_untouched(fleet)
    fleet.open_gates()
    fleet.start("next")
    fleet.await_end()
    assert [entry.job for entry in fleet.ledger("start")].count(running) == 2
    assert [entry.job for entry in fleet.ledger("end")].count(running) == 1
    fleet.check()


def test_a_second_signal_gives_back_at_once(fleet: Fleet) -> None:
    node, running, _ = busy(fleet, node_grace_seconds=600)
    node.signal(signal.SIGINT)
    wait_until(lambda: fleet.held_by(node.id) == [running], "what waits goes back", 5.0)
    began = time.monotonic()
    node.signal(signal.SIGINT)
    assert node.end() == 0
    assert time.monotonic() - began < 8.0
    assert fleet.client.job(running).status == "queued"
    assert_untouched(fleet)
    fleet.open_gates()
    fleet.start("next")
    fleet.check()


def test_an_idle_node_stops_soon(fleet: Fleet) -> None:
    node = fleet.start("idle")
    fleet.submit(5)
    fleet.await_end()
    began = time.monotonic()
    node.stop()
    assert time.monotonic() - began < 5.0
    fleet.check()


def test_two_nodes_hand_over_under_load(fleet: Fleet) -> None:
    """A rolling restart: the queue is never empty, and no job is lost or counted twice."""
    node = fleet.start("number-0")
    for number in range(1, 4):
        fleet.submit(1500)
        following = fleet.start(f"number-{number}")
        node.stop()
        node = following
    fleet.await_end()
    assert_untouched(fleet)
    starts = [entry.job for entry in fleet.ledger("start")]
    assert sorted(starts) == sorted(fleet.submitted)
    fleet.check()
