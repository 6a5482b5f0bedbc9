from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from supervisors import (
    NORMAL,
    PERMANENT,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    ChildNotFound,
    ChildSpec,
    ChildState,
    DynamicSupervisor,
    FailedToStartChild,
    InvalidChildSpecs,
    NotSupported,
    Restart,
    Supervisor,
    TooManyChildren,
    count_children,
    delete_child,
    restart_child,
    start_child,
    stop,
    terminate_child,
    whereis,
    which_children,
)
from supervisors.testing import FakeClock, Puppet, PuppetError, Signals

if TYPE_CHECKING:
    from supervisors import ProcessRef, Report

Keep = Any


def spec(log: Signals[Any], label: str = "child", restart: Restart = TEMPORARY, **more: Any) -> ChildSpec:
    return ChildSpec.of(Puppet, log, label, id=label, restart=restart, **more)


def add(sup: ProcessRef[Any], child: ChildSpec) -> ProcessRef[Any]:
    ref = start_child(sup, child)
    assert ref is not None
    return ref  # type: ignore[return-value]


def test_max_children_refused(log: Signals[Any], keep: Keep) -> None:
    sup = keep(DynamicSupervisor.spawn(max_children=2))
    first = add(sup, spec(log))
    add(sup, spec(log))  # the same id: only a label
    with pytest.raises(TooManyChildren) as caught:
        start_child(sup, spec(log))
    assert caught.value.max_children == 2
    terminate_child(sup, first)
    add(sup, spec(log))
    assert count_children(sup).active == 2


def test_concurrent_stop_shares_one_deadline(
    log: Signals[Any], gate: threading.Event, reports: Signals[Report]
) -> None:
    sup = DynamicSupervisor.spawn()
    for _ in range(10):
        add(sup, spec(log, shutdown=0.3, end=lambda _: gate.wait(10)))
    log.take(10)
    began = time.monotonic()
    assert stop(sup)
    took = time.monotonic() - began
    assert 0.3 <= took < 1.5  # not 10 x 0.3
    assert {event[0] for event in log.take(10)} == {"terminate"}  # all of them at once
    assert [report.kind for report in reports.so_far()] == ["child_abandoned"] * 10
    gate.set()


def test_each_child_keeps_its_own_patience(log: Signals[Any], gate: threading.Event) -> None:
    """One that may take long is not abandoned because another may not."""
    sup = DynamicSupervisor.spawn()
    patient = add(sup, spec(log, "patient", shutdown=None, end=lambda _: gate.wait(10)))
    hasty = add(sup, spec(log, "hasty", shutdown=0.0, end=lambda _: gate.wait(10)))
    request = threading.Thread(target=stop, args=(sup,))
    request.start()
    log.take(4)
    assert hasty.life.stop_requested.is_set()
    gate.set()
    request.join(10)
    assert patient.exit_reason == SHUTDOWN


def test_children_lost_when_supervisor_restarts(log: Signals[Any], keep: Keep) -> None:
    keep(Supervisor.spawn([ChildSpec.of(DynamicSupervisor, name="pool")]))
    old = whereis("pool")
    assert old is not None
    child = add(old, spec(log, restart=PERMANENT))  # type: ignore[arg-type]
    old.tell(None)
    stop(old)
    assert child.exited.wait(10)
    while (new := whereis("pool")) is None:
        threading.Event().wait(0.001)
    assert new is not old
    assert which_children(new) == []


def test_permanent_child_is_restarted_and_found_under_its_new_ref(log: Signals[Any], keep: Keep) -> None:
    sup = keep(DynamicSupervisor.spawn())
    old = add(sup, spec(log, restart=PERMANENT))
    old.tell(Puppet.leave)
    assert [event[0] for event in log.take(3)] == ["init", "terminate", "init"]
    (info,) = which_children(sup)
    assert info.restarts == 1
    assert info.ref is not old
    with pytest.raises(ChildNotFound):
        terminate_child(sup, old)
    assert info.ref is not None
    terminate_child(sup, info.ref)
    assert which_children(sup) == []


@pytest.mark.parametrize("restart", [TRANSIENT, TEMPORARY])
def test_a_child_that_ends_for_good_is_forgotten(log: Signals[Any], keep: Keep, restart: Restart) -> None:
    sup = keep(DynamicSupervisor.spawn())
    ref = add(sup, spec(log, restart=restart))
    ref.tell(lambda self: self.exit(NORMAL))
    assert ref.exited.wait(10)
    assert which_children(sup) == []


def test_failed_attempts_are_repeated_and_count(log: Signals[Any], keep: Keep) -> None:
    starts: Any = iter([None, Puppet.crash, Puppet.crash, None])
    sup = keep(DynamicSupervisor.spawn(max_restarts=3, clock=FakeClock()))
    flaky = ChildSpec("flaky", start=lambda: Puppet.spawn(log, "flaky", next(starts)))
    add(sup, flaky).tell(Puppet.crash)
    assert [event[0] for event in log.take(5)] == ["init", "terminate", "init", "init", "init"]
    (info,) = which_children(sup)
    assert info.state is ChildState.RUNNING
    assert info.ref is not None
    info.ref.tell(Puppet.crash)
    assert sup.exited.wait(10)
    assert sup.exit_reason == SHUTDOWN


def test_a_child_between_two_attempts_is_listed_and_can_be_terminated(log: Signals[Any], keep: Keep) -> None:
    sup = keep(DynamicSupervisor.spawn(max_children=1))
    ref = add(sup, spec(log, restart=PERMANENT, restart_delay=3600.0))
    ref.tell(Puppet.crash)
    assert ref.exited.wait(10)
    (info,) = which_children(sup)
    assert (info.state, info.ref) == (ChildState.RESTARTING, None)
    with pytest.raises(TooManyChildren):
        start_child(sup, spec(log))
    terminate_child(sup, "child")
    assert which_children(sup) == []


def test_restart_delay(log: Signals[Any], keep: Keep) -> None:
    sup = keep(DynamicSupervisor.spawn())
    add(sup, spec(log, restart=PERMANENT, restart_delay=0.02)).tell(Puppet.crash)
    assert [event[0] for event in log.take(3)] == ["init", "terminate", "init"]


def test_what_is_refused(log: Signals[Any], keep: Keep) -> None:
    sup = keep(DynamicSupervisor.spawn())
    for request in (restart_child, delete_child):
        with pytest.raises(NotSupported):
            request(sup, "x")
    with pytest.raises(InvalidChildSpecs):
        start_child(sup, ChildSpec("", start=lambda: None))
    with pytest.raises(FailedToStartChild) as caught:
        start_child(sup, ChildSpec.of(Puppet, log, "x", Puppet.crash))
    assert isinstance(caught.value.__cause__, PuppetError)
    assert start_child(sup, ChildSpec("ignored", start=lambda: None)) is None
    assert which_children(sup) == []


def test_many_children_come_and_go(log: Signals[Any], keep: Keep) -> None:
    sup = keep(DynamicSupervisor.spawn())
    refs = [add(sup, spec(log)) for _ in range(100)]
    for ref in refs[::2]:
        ref.tell(Puppet.leave)
    for ref in refs[1::2]:
        terminate_child(sup, ref)
    for ref in refs:
        assert ref.exited.wait(10)
    assert count_children(sup).specs == 0
    assert sup.actor()._watched == {}
