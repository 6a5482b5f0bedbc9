"""Each actor of the tree crashes while jobs flow: nothing is lost, nobody fails for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from pykka import ActorRef

from mill_actors.actors.life import Node
from mill_actors.actors.messages import Cancel
from mill_actors.jobs.lifecycle import Action
from supervisors import ChildInfo, Crashed, which_children
from supervisors.ref import process_ref
from supervisors.testing import reaper_pid
from tests.system.engine import Engine
from tests.system.proxy import wait_until

SUPERVISORS = {"runners", "worker", "maintenance"}


def children(supervisor: ActorRef[Any]) -> Iterator[ChildInfo]:
    """Everybody below a supervisor."""
    for child in which_children(supervisor):
        yield child
        if child.ref is not None and child.kind.name == "SUPERVISOR":
            yield from children(child.ref)


def find(node: Node, name: str) -> ActorRef[Any] | None:
    """An actor by its child id; `runner` is any Runner."""
    for child in children(node.tree):
        if child.id == name or (name == "runner" and child.id.startswith("runner ")):
            return child.ref
    return None


def crash(node: Node, name: str) -> ActorRef[Any]:
    """Make an actor crash; return once it is dead."""
    wait_until(lambda: find(node, name) is not None, f"there is a {name}")
    ref = find(node, name)
    assert ref is not None
    if name in SUPERVISORS:  # they ignore what they do not know
        process = process_ref(ref)
        process.life.leaving = Crashed(RuntimeError("told to crash"))
        process.actor_inbox.wake()
    else:
        ref.tell(object())
    wait_until(lambda: not ref.is_alive(), f"the {name} is dead")
    return ref


def language_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.pid != reaper_pid()]


ACTORS = [
    "listener", "heartbeat", "log writer", "rescuer", "pruner", "maintenance", "worker", "completer",
    "runners", "runner", "puller",
]  # fmt: skip


@pytest.mark.parametrize("actor", ACTORS)
def test_a_crash_loses_nothing(engine: Engine, actor: str) -> None:
    node, moves = engine.node()
    engine.deploy_ledger()
    jobs = engine.submit(1500)
    engine.started(200)
    died = crash(node, actor)
    engine.all_done(jobs)
    engine.oracle.check(jobs)
    assert moves.of(Action.FAIL) == []
    wait_until(lambda: find(node, actor) not in {None, died}, "somebody has taken its place")
    more = engine.submit(20)
    engine.all_done(more)
    engine.oracle.check(more)


@pytest.mark.parametrize("actor", ["completer", "runners", "runner", "puller"])
def test_a_crash_while_a_long_job_runs_keeps_nobody_waiting(engine: Engine, actor: str) -> None:
    """The long job may have to run again; whoever waits does not wait for it."""
    node, moves = engine.node(worker__processes=2, node__grace_seconds=1000)
    engine.deploy_ledger()
    gate = engine.gate()
    long = engine.submit(1, args={"gate": gate.path})
    engine.started(1)
    crash(node, actor)
    short = engine.submit(100)
    engine.all_done(short)
    assert engine.open(long) == 1
    gate.open()
    engine.all_done(long)
    engine.oracle.check([*long, *short])
    assert moves.of(Action.FAIL) == []
    assert {engine.client.job(job).attempt for job in long} == {1}


def test_a_puller_that_crashes_leaves_running_jobs_alone(engine: Engine) -> None:
    node, _ = engine.node()
    engine.deploy_ledger()
    gate = engine.gate()
    (job,) = engine.submit(1, args={"gate": gate.path})
    engine.started(1)
    before = {process.pid for process in language_processes()}
    crash(node, "puller")
    gate.open()
    engine.all_done([job])
    engine.oracle.check([job], started_once=True)
    assert {process.pid for process in language_processes()} == before


def test_the_same_actor_crashes_again_and_again(engine: Engine) -> None:
    node, moves = engine.node()
    engine.deploy_ledger()
    jobs = engine.submit(3000)
    for round_ in range(1, 5):
        engine.started(round_ * 200)
        crash(node, "puller" if round_ % 2 else "completer")
    engine.all_done(jobs)
    engine.oracle.check(jobs)
    assert moves.of(Action.FAIL) == []


def test_a_worker_that_gives_up_is_started_again(engine: Engine) -> None:
    """Six crashes in a row are too many for the worker's supervisor, and not for the node's."""
    node, _ = engine.node()
    engine.deploy_ledger()
    jobs = engine.submit(500)
    engine.started(10)
    worker = find(node, "worker")
    for _ in range(6):
        crash(node, "puller")
    wait_until(lambda: find(node, "worker") not in {None, worker}, "a new worker")
    engine.all_done(jobs)
    engine.oracle.check(jobs)


def test_a_tree_that_gives_up_says_so(engine: Engine) -> None:
    node, _ = engine.node()
    engine.deploy_ledger()
    engine.all_done(engine.submit(10))
    processes = language_processes()
    assert processes
    for _ in range(4):
        crash(node, "log writer")
    assert node.ends.get(timeout=20) == "gave up"
    engine.all_gone(processes)


def test_a_node_that_has_no_row_any_more_is_told_once(engine: Engine) -> None:
    node, _ = engine.node()
    engine.deploy_ledger()
    gate = engine.gate()
    jobs = engine.submit(4, args={"gate": gate.path})
    engine.started(2)
    processes = language_processes()
    engine.look.execute("delete from mill.node")
    assert node.ends.get(timeout=20) == "fenced"
    assert node.tree.is_alive()
    node.stop()
    assert node.ends.empty()
    engine.all_gone(processes)
    assert engine.running() == set()
    gate.open()
    engine.node()
    engine.all_done(jobs)
    engine.oracle.check(jobs)
    assert {engine.client.job(job).attempt for job in jobs} == {1}


def test_a_life_leaves_no_subscriber_behind(engine: Engine) -> None:
    """Events outlive the lives of a node: else each would log and count once more."""
    node, moves = engine.node()
    node.stop()
    assert node.context.events._subscribers == (moves,)


def test_a_stray_cancel_hurts_nobody(engine: Engine) -> None:
    node, _ = engine.node()
    engine.deploy_ledger()
    jobs = engine.submit(200)
    wait_until(lambda: find(node, "runner") is not None, "a Runner")
    runner = find(node, "runner")
    assert runner is not None
    runner.tell(Cancel(frozenset(["no job"])))
    engine.all_done(jobs)
    engine.oracle.check(jobs, started_once=True)
