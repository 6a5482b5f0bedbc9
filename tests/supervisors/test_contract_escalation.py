from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pykka import ActorRegistry

import supervisors
from supervisors import TRANSIENT, ChildSpec, ChildState, Restart, Supervisor, which_children
from supervisors.testing import Puppet, Signals

if TYPE_CHECKING:
    from supervisors import ProcessRef

Keep = Any


def tree(log: Signals[Any], keep: Keep, restart: Restart) -> ProcessRef[Any]:
    leaf = ChildSpec.of(Puppet, log, "leaf", id="leaf")
    inner = ChildSpec.of(Supervisor, [leaf], id="inner", restart=restart, max_restarts=0)
    sup: ProcessRef[Any] = keep(Supervisor.spawn([inner]))
    log.take(1)
    return sup


def give_up(sup: ProcessRef[Any]) -> ProcessRef[Any]:
    """Crash the leaf once, which is once too often for its supervisor."""
    inner: Any = which_children(sup)[0].ref
    leaf: Any = which_children(inner)[0].ref
    leaf.tell(Puppet.crash)
    assert inner.exited.wait(10)
    return inner  # type: ignore[no-any-return]


def test_permanent_subtree_is_restarted(log: Signals[Any], keep: Keep) -> None:
    sup = tree(log, keep, Restart.PERMANENT)
    old = give_up(sup)
    assert [event[0] for event in log.take(2)] == ["terminate", "init"]
    (info,) = which_children(sup)
    assert (info.state, info.restarts) == (ChildState.RUNNING, 1)
    assert info.ref is not old


def test_transient_subtree_is_not(log: Signals[Any], keep: Keep) -> None:
    sup = tree(log, keep, TRANSIENT)
    give_up(sup)
    (info,) = which_children(sup)
    assert (info.state, info.ref) == (ChildState.STOPPED, None)


def test_restarts_count_at_each_level(log: Signals[Any], keep: Keep) -> None:
    leaf = ChildSpec.of(Puppet, log, "leaf", id="leaf")
    inner = ChildSpec.of(Supervisor, [leaf], id="inner", max_restarts=1, max_seconds=60.0)
    sup = keep(Supervisor.spawn([inner], max_restarts=1, max_seconds=60.0))
    inits = 0
    while True:  # (1 + 1) x (1 + 1) lives of the leaf
        event = log.next()
        if event[0] == "init":
            inits += 1
            (leaf_ref,) = ActorRegistry.get_by_class(Puppet)
            leaf_ref.tell(Puppet.crash)
        if sup.exited.wait(0.0 if inits < 4 else 10.0):
            break
    assert inits == 4


PROGRAM = """
import sys
from supervisors import ChildSpec, Process, Supervisor, run_root

class Child(Process):
    def init(self, fate):
        print("up", flush=True)
        if fate == "crash":
            self.actor_ref.tell("crash")
    def handle(self, message):
        raise ValueError(message)
    def terminate(self, reason):
        print("down", flush=True)

specs = [ChildSpec.of(Child, sys.argv[1])]
sys.exit(run_root(lambda: Supervisor.spawn(specs, name="root")))
"""


@pytest.fixture
def program() -> Any:
    started: list[subprocess.Popen[str]] = []

    def run(fate: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, fate],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path(supervisors.__file__).parent.parent)},
            )
        )
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.communicate()


def test_root_give_up_ends_the_program_nonzero(program: Any) -> None:
    running = program("crash")
    out, err = running.communicate(timeout=20)
    assert running.returncode == 1
    assert out.split() == ["up", "down"] * 4
    assert "root" in err
    assert "gave up" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_in_order_with_zero(program: Any, number: int) -> None:
    running = program("live")
    assert running.stdout.readline() == "up\n"
    running.send_signal(number)
    out, err = running.communicate(timeout=20)
    assert (running.returncode, out, err) == (0, "down\n", "")
