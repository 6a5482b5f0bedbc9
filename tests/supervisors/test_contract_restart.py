from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from supervisors import (
    NORMAL,
    ONE_FOR_ALL,
    PERMANENT,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    ChildState,
    FailedToStartChild,
    Shutdown,
    Supervisor,
    count_children,
    delete_child,
    restart_child,
    start_child,
    terminate_child,
    which_children,
)
from supervisors.testing import FakeClock, Puppet, Signals

if TYPE_CHECKING:
    from supervisors import ProcessRef, Reason, Report, Restart

Keep = Any


def spec(log: Signals[Any], label: str = "child", restart: Restart = PERMANENT, **more: Any) -> ChildSpec:
    return ChildSpec.of(Puppet, log, label, id=label, restart=restart, **more)


def running(sup: ProcessRef[Any], child_id: str = "child") -> ProcessRef[Any]:
    (ref,) = (info.ref for info in which_children(sup) if info.id == child_id)
    assert ref is not None
    return ref  # type: ignore[return-value]


def end(ref: ProcessRef[Any], reason: Reason | None) -> None:
    """Let it end with a reason of its own; None crashes it."""
    ref.tell(Puppet.crash if reason is None else lambda self: self.exit(reason))
    assert ref.exited.wait(10)


def test_permanent_restarts_on_normal(log: Signals[Any], keep: Keep, reports: Signals[Report]) -> None:
    sup = keep(Supervisor.spawn([spec(log)]))
    end(running(sup), NORMAL)
    assert log.take(3) == [("init", "child"), ("terminate", "child", NORMAL), ("init", "child")]
    assert reports.next().kind == "child_terminated"


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("enough")])
def test_transient_ignores_normal_and_shutdown(
    log: Signals[Any], keep: Keep, reports: Signals[Report], reason: Reason
) -> None:
    sup = keep(Supervisor.spawn([spec(log, restart=TRANSIENT)]))
    end(running(sup), reason)
    (info,) = which_children(sup)  # asked after the Down: it is handled first
    assert (info.state, info.ref) == (ChildState.STOPPED, None)
    assert log.so_far() == [("init", "child"), ("terminate", "child", reason)]
    assert reports.so_far() == []


def test_transient_restarts_on_crash(log: Signals[Any], keep: Keep, reports: Signals[Report]) -> None:
    sup = keep(Supervisor.spawn([spec(log, restart=TRANSIENT)]))
    end(running(sup), None)
    assert [event[0] for event in log.take(3)] == ["init", "terminate", "init"]
    assert reports.next().kind == "child_terminated"


@pytest.mark.parametrize(("reason", "is_error"), [(NORMAL, False), (SHUTDOWN, False), (None, True)])
def test_temporary_is_forgotten(
    log: Signals[Any], keep: Keep, reports: Signals[Report], reason: Reason | None, is_error: bool
) -> None:
    sup = keep(Supervisor.spawn([spec(log, restart=TEMPORARY)]))
    end(running(sup), reason)
    assert which_children(sup) == []
    assert [event[0] for event in log.so_far()] == ["init", "terminate"]
    assert [report.kind for report in reports.so_far()] == ["child_terminated"] * is_error


def test_temporary_never_restarts_even_in_group(log: Signals[Any], keep: Keep) -> None:
    sup = keep(
        Supervisor.spawn([spec(log, "a"), spec(log, "t", TEMPORARY), spec(log, "b")], strategy=ONE_FOR_ALL)
    )
    log.take(3)
    end(running(sup, "a"), None)
    events = log.take(5)
    assert [event[:2] for event in events] == [
        ("terminate", "a"),
        ("terminate", "b"),
        ("terminate", "t"),
        ("init", "a"),
        ("init", "b"),
    ]
    assert [info.id for info in which_children(sup)] == ["a", "b"]


def test_restart_is_a_new_actor_with_fresh_state(log: Signals[Any], keep: Keep) -> None:
    sup = keep(Supervisor.spawn([spec(log)]))
    old = running(sup)
    old.tell(lambda self: setattr(self, "memory", "of the past"))
    end(old, None)
    log.take(3)
    new = running(sup)
    assert new is not old
    assert new.actor_urn != old.actor_urn
    assert new.ask(lambda self: getattr(self, "memory", None), timeout=5) is None
    assert which_children(sup)[0].restarts == 1


def test_restart_delay_does_not_block_the_supervisor(log: Signals[Any], keep: Keep) -> None:
    sup = keep(Supervisor.spawn([spec(log, restart_delay=3600.0), spec(log, "other")]))
    end(running(sup), None)
    info = which_children(sup)[0]
    assert (info.state, info.ref) == (ChildState.RESTARTING, None)
    with pytest.raises(ChildRestarting):
        restart_child(sup, "child")
    with pytest.raises(ChildRestarting):
        delete_child(sup, "child")
    terminate_child(sup, "child")  # the attempt still to come is void
    assert which_children(sup)[0].state is ChildState.STOPPED
    assert restart_child(sup, "child") is not None


def test_restart_delay_is_kept(log: Signals[Any], keep: Keep) -> None:
    sup = keep(Supervisor.spawn([spec(log, restart_delay=0.05), spec(log, "other")], strategy=ONE_FOR_ALL))
    log.take(2)
    end(running(sup), None)
    assert [event[:2] for event in log.take(4)] == [
        ("terminate", "child"),
        ("terminate", "other"),
        ("init", "child"),
        ("init", "other"),
    ]


def test_requests_that_are_refused(log: Signals[Any], keep: Keep) -> None:
    sup = keep(Supervisor.spawn([spec(log)]))
    with pytest.raises(AlreadyStarted) as caught:
        start_child(sup, spec(log))
    assert caught.value.ref is running(sup)
    with pytest.raises(ChildRunning):
        restart_child(sup, "child")
    with pytest.raises(ChildRunning):
        delete_child(sup, "child")
    for request in (terminate_child, restart_child, delete_child):
        with pytest.raises(ChildNotFound):
            request(sup, "nobody")
    terminate_child(sup, "child")
    with pytest.raises(AlreadyPresent):
        start_child(sup, spec(log))
    delete_child(sup, "child")
    assert which_children(sup) == []
    assert start_child(sup, spec(log)) is running(sup)


def test_count_children(log: Signals[Any], keep: Keep) -> None:
    inner = ChildSpec.of(Supervisor, [], id="inner")
    sup = keep(Supervisor.spawn([spec(log, "a"), spec(log, "b"), inner]))
    terminate_child(sup, "a")
    counts = count_children(sup)
    assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (3, 2, 1, 2)


def test_restart_child_that_fails_stays_stopped(log: Signals[Any], keep: Keep) -> None:
    starts = [Puppet.crash, None]
    clock = FakeClock()
    flaky = ChildSpec("flaky", start=lambda: Puppet.spawn(log, "flaky", starts.pop()))
    sup = keep(Supervisor.spawn([flaky], max_restarts=0, clock=clock))
    terminate_child(sup, "flaky")
    with pytest.raises(FailedToStartChild):
        restart_child(sup, "flaky")
    assert which_children(sup)[0].state is ChildState.STOPPED
