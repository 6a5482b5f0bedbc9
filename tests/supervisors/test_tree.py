from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from supervisors import (
    REST_FOR_ONE,
    SUPERVISOR,
    ChildSpec,
    DynamicSupervisor,
    Supervisor,
    inbox_depth,
    render,
    snapshot,
    start_child,
    terminate_child,
    which_children,
)
from supervisors.testing import Puppet, Signals

Keep = Any


def build(log: Signals[Any], keep: Keep) -> Any:
    def tell_info(self: Puppet) -> None:
        self.info = {"jobs": 7}

    return keep(
        Supervisor.spawn(
            [
                ChildSpec.of(Puppet, log, "a", tell_info, name="listener"),
                ChildSpec.of(
                    Supervisor,
                    [
                        ChildSpec.of(DynamicSupervisor, id="pool", name="pool"),
                        ChildSpec.of(Puppet, log, "p", name="puller", restart_delay=3600.0),
                    ],
                    strategy=REST_FOR_ONE,
                    id="worker",
                ),
            ],
            name="node",
        )
    )


def test_a_snapshot_shows_the_whole_tree(log: Signals[Any], keep: Keep) -> None:
    node = build(log, keep)
    start_child("pool", ChildSpec.of(Puppet, log, "r", id="runner 1"))
    tree = snapshot("node")
    assert [each.name for each in tree.walk()] == ["node", "listener", "worker", "pool", "runner 1", "puller"]
    assert {each.state for each in tree.walk()} == {"running"}
    assert (tree.kind, tree.actor) == (SUPERVISOR, "Supervisor")
    assert tree.children[0].info == {"jobs": 7}
    assert json.loads(json.dumps(tree.as_dict()))["children"][1]["children"][0]["name"] == "pool"
    assert render(tree).split("\n") == [
        "node (Supervisor) running",
        "├─ listener (Puppet) running jobs=7",
        "└─ worker (Supervisor) running",
        "   ├─ pool (DynamicSupervisor) running",
        "   │  └─ runner 1 (Puppet) running",
        "   └─ puller (Puppet) running",
    ]
    assert snapshot(node).name == "node"


def test_states_restarts_and_depth_are_shown(log: Signals[Any], keep: Keep, gate: threading.Event) -> None:
    node = build(log, keep)
    worker: Any = which_children(node)[1].ref
    puller: Any = which_children(worker)[1].ref
    listener: Any = which_children(node)[0].ref
    puller.tell(Puppet.crash)
    assert puller.exited.wait(10)
    listener.tell(Puppet.crash)
    assert listener.exited.wait(10)
    terminate_child(node, "listener")
    which_children(worker)
    states = {each.name: each.state for each in snapshot(node).walk()}
    assert states["puller"] == "restarting"
    assert states["listener"] == "stopped"
    busy: Any = start_child("pool", ChildSpec.of(Puppet, log, "b", id="busy"))
    busy.tell(lambda _: gate.wait(10))
    for number in range(3):
        busy.tell(number)
    while inbox_depth(busy) > 3:  # until it has taken the first
        pass
    assert next(each for each in snapshot(node).walk() if each.name == "busy").inbox == 3
    gate.set()
    assert "listener stopped restarts=1" in render(snapshot(node))


def test_a_busy_supervisor_is_shown_with_its_children_in_time(
    log: Signals[Any], keep: Keep, gate: threading.Event
) -> None:
    node = build(log, keep)

    def start() -> None:
        gate.wait(10)

    slow = ChildSpec("slow", start=start)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(start_child, "pool", slow)
        began = time.monotonic()
        while True:
            tree = snapshot(node, timeout=0.1)
            states = {each.name: each.state for each in tree.walk()}
            if states["pool"] == "busy":
                break
        assert time.monotonic() - began < 5
        assert states == {
            "node": "running",
            "listener": "running",
            "worker": "running",
            "pool": "busy",
            "puller": "running",
        }
        gate.set()


def test_a_dead_root_is_stopped(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log)
    ref.stop(timeout=5)
    assert ref.exited.wait(10)
    assert snapshot(ref).state == "stopped"
    assert render(snapshot(ref)) == "Puppet stopped"


def test_a_single_actor_is_a_tree(log: Signals[Any], keep: Keep) -> None:
    assert snapshot(keep(Puppet.spawn(log))).children == ()
