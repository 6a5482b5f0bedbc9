from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from supervisors import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    REST_FOR_ONE,
    SHUTDOWN,
    ChildSpec,
    ChildState,
    Crashed,
    Down,
    Supervisor,
    which_children,
)
from supervisors.testing import Puppet, PuppetError, Signals

if TYPE_CHECKING:
    from supervisors import ProcessRef, Report, Strategy

Keep = Any


def family(log: Signals[Any], keep: Keep, strategy: Strategy, labels: str = "abc") -> ProcessRef[Any]:
    specs = [ChildSpec.of(Puppet, log, label, id=label) for label in labels]
    sup: ProcessRef[Any] = keep(Supervisor.spawn(specs, strategy=strategy))
    log.take(len(labels))
    return sup


def refs(sup: ProcessRef[Any]) -> dict[str, Any]:
    return {info.id: info.ref for info in which_children(sup)}


def test_one_for_one_leaves_siblings(log: Signals[Any], keep: Keep) -> None:
    sup = family(log, keep, ONE_FOR_ONE)
    before = refs(sup)
    before["b"].tell(Puppet.crash)
    assert [event[:2] for event in log.take(2)] == [("terminate", "b"), ("init", "b")]
    after = refs(sup)
    assert (after["a"], after["c"]) == (before["a"], before["c"])
    assert after["b"] is not before["b"]


def test_one_for_all_stops_reverse_starts_forward(log: Signals[Any], keep: Keep) -> None:
    sup = family(log, keep, ONE_FOR_ALL)
    refs(sup)["b"].tell(Puppet.crash)
    crash, *events = log.take(6)
    assert isinstance(crash[2], Crashed)
    assert events == [
        ("terminate", "c", SHUTDOWN),
        ("terminate", "a", SHUTDOWN),
        ("init", "a"),
        ("init", "b"),
        ("init", "c"),
    ]


def test_rest_for_one_touches_only_later(log: Signals[Any], keep: Keep) -> None:
    sup = family(log, keep, REST_FOR_ONE, "abcd")
    before = refs(sup)
    before["b"].tell(Puppet.crash)
    assert [event[:2] for event in log.take(6)] == [
        ("terminate", "b"),
        ("terminate", "d"),
        ("terminate", "c"),
        ("init", "b"),
        ("init", "c"),
        ("init", "d"),
    ]
    assert refs(sup)["a"] is before["a"]


def test_stale_down_is_ignored(log: Signals[Any], keep: Keep, reports: Signals[Report]) -> None:
    """Siblings that die at the same moment are restarted once, with the group."""
    sup = family(log, keep, ONE_FOR_ALL)
    before = refs(sup)
    barrier = threading.Barrier(3)

    def die(self: Puppet) -> None:
        barrier.wait(10)
        self.crash()

    for ref in before.values():
        ref.tell(die)
    events = log.take(6)
    assert [event[:2] for event in events[3:]] == [("init", "a"), ("init", "b"), ("init", "c")]
    for ref in before.values():  # each Down once more, for good measure
        sup.tell(Down(ref, SHUTDOWN))
    assert all(info.state is ChildState.RUNNING for info in which_children(sup))
    assert [info.restarts for info in which_children(sup)] == [1, 1, 1]
    assert log.so_far() == []
    kinds = [report.kind for report in reports.so_far()]
    assert kinds.count("child_terminated") == 1


def test_down_for_unknown_urn_is_ignored(log: Signals[Any], keep: Keep) -> None:
    sup = family(log, keep, ONE_FOR_ALL)
    stranger = keep(Puppet.spawn(log, "stranger"))
    log.take(1)
    before = refs(sup)
    sup.tell(Down(stranger, Crashed(PuppetError())))
    assert refs(sup) == before
    assert log.so_far() == []


@pytest.mark.parametrize("message", ["nonsense", None, 42])
def test_a_stray_message_does_not_end_the_tree(log: Signals[Any], keep: Keep, message: object) -> None:
    sup = family(log, keep, ONE_FOR_ONE)
    assert sup.ask(message, timeout=5) is None
    assert len(refs(sup)) == 3


def fragile(log: Signals[Any], label: str, fails: list[bool]) -> ChildSpec:
    """Fail to start as often as the list says, popping from its front."""

    def start() -> ProcessRef[Any]:
        if fails and fails.pop(0):
            log(("fails", label))
            raise PuppetError
        return Puppet.spawn(log, label)

    return ChildSpec(label, start=start)


def sturdy(log: Signals[Any], label: str) -> ChildSpec:
    return fragile(log, label, [])


def test_rest_for_one_goes_on_from_the_child_that_failed(log: Signals[Any], keep: Keep) -> None:
    specs = [sturdy(log, "a"), sturdy(log, "b"), fragile(log, "c", [False, True, True]), sturdy(log, "d")]
    sup = keep(Supervisor.spawn(specs, strategy=REST_FOR_ONE))
    log.take(4)
    refs(sup)["b"].tell(Puppet.crash)
    assert [event[:2] for event in log.take(8)] == [
        ("terminate", "b"),
        ("terminate", "d"),
        ("terminate", "c"),
        ("init", "b"),
        ("fails", "c"),
        ("fails", "c"),
        ("init", "c"),
        ("init", "d"),
    ]


def test_one_for_all_stops_everything_again_when_one_failed(log: Signals[Any], keep: Keep) -> None:
    specs = [sturdy(log, "a"), fragile(log, "b", [False, True]), sturdy(log, "c")]
    sup = keep(Supervisor.spawn(specs, strategy=ONE_FOR_ALL))
    log.take(3)
    refs(sup)["c"].tell(Puppet.crash)
    assert [event[:2] for event in log.take(9)] == [
        ("terminate", "c"),
        ("terminate", "b"),
        ("terminate", "a"),
        ("init", "a"),
        ("fails", "b"),
        ("terminate", "a"),
        ("init", "a"),
        ("init", "b"),
        ("init", "c"),
    ]
