from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisors import (
    ONE_FOR_ALL,
    SHUTDOWN,
    ChildSpec,
    ReachedMaxRestartIntensity,
    Supervisor,
    restart_child,
    terminate_child,
    which_children,
)
from supervisors.testing import FakeClock, Puppet, PuppetError, Signals

if TYPE_CHECKING:
    from supervisors import ProcessRef, Report

Keep = Any


def crash(sup: ProcessRef[Any], child_id: str = "a") -> None:
    """Crash a child and wait until the supervisor has seen to it."""
    (ref,) = (info.ref for info in which_children(sup) if info.id == child_id)
    assert ref is not None
    ref.tell(Puppet.crash)
    assert ref.exited.wait(10)  # type: ignore[attr-defined]


def spec(log: Signals[Any], label: str = "a") -> ChildSpec:
    return ChildSpec.of(Puppet, log, label, id=label)


def test_allows_exactly_max_restarts(log: Signals[Any], keep: Keep) -> None:
    sup = keep(Supervisor.spawn([spec(log)], max_restarts=3, clock=FakeClock()))
    for _ in range(3):
        crash(sup)
    assert which_children(sup)[0].restarts == 3
    crash(sup)
    assert sup.exited.wait(10)


def test_window_slides(log: Signals[Any], keep: Keep) -> None:
    clock = FakeClock()
    sup = keep(Supervisor.spawn([spec(log)], max_restarts=2, max_seconds=5.0, clock=clock))
    for _ in range(20):  # one every 2.6 s: never three within 5 s
        crash(sup)
        assert which_children(sup)
        clock.advance(2.6)
    crash(sup)
    assert which_children(sup)[0].restarts == 21
    crash(sup)  # the third within 5 s
    assert sup.exited.wait(10)


def test_group_restart_counts_once(log: Signals[Any], keep: Keep) -> None:
    specs = [spec(log, str(number)) for number in range(5)]
    sup = keep(Supervisor.spawn(specs, strategy=ONE_FOR_ALL, max_restarts=1, clock=FakeClock()))
    crash(sup, "2")
    assert [info.restarts for info in which_children(sup)] == [1] * 5
    crash(sup, "3")
    assert sup.exited.wait(10)


def test_failed_restart_attempt_counts(log: Signals[Any], keep: Keep, reports: Signals[Report]) -> None:
    starts = iter([None, Puppet.crash, Puppet.crash, Puppet.crash, Puppet.crash])
    flaky = ChildSpec("a", start=lambda: Puppet.spawn(log, "a", next(starts)))
    sup = keep(Supervisor.spawn([flaky], max_restarts=3, clock=FakeClock()))
    crash(sup)
    assert sup.exited.wait(10)
    assert [report.kind for report in reports.so_far()] == [
        "child_terminated",
        "start_error",
        "start_error",
        "start_error",
        "reached_max_restart_intensity",
    ]


def test_failed_attempt_gives_other_messages_a_turn(log: Signals[Any], keep: Keep) -> None:
    """A request made between two attempts is answered between them."""
    sup_: list[ProcessRef[Any]] = []
    attempts: list[int] = []

    def start() -> ProcessRef[Any]:
        attempts.append(len(attempts))
        if len(attempts) == 2:
            sup_[0].tell("between")
        if 2 <= len(attempts) <= 3:
            log(("fails", len(attempts)))
            raise PuppetError
        return Puppet.spawn(log, "a")

    class Chatty(Supervisor):
        def handle(self, message: Any) -> object:
            if message != "between":
                return super().handle(message)
            log("between")
            return None

    sup = keep(Chatty.spawn([ChildSpec("a", start=start)]))
    sup_.append(sup)
    crash(sup)
    assert [event for event in log.take(6) if event[0] != "terminate"] == [
        ("init", "a"),
        ("fails", 2),
        "between",
        ("fails", 3),
        ("init", "a"),
    ]


def test_manual_restart_does_not_count(log: Signals[Any], keep: Keep) -> None:
    sup = keep(Supervisor.spawn([spec(log)], max_restarts=1, clock=FakeClock()))
    for _ in range(5):
        terminate_child(sup, "a")
        restart_child(sup, "a")
    crash(sup)
    assert len(which_children(sup)) == 1


def test_gives_up_with_reason_shutdown(log: Signals[Any], keep: Keep, reports: Signals[Report]) -> None:
    sup = keep(Supervisor.spawn([spec(log, "a"), spec(log, "b"), spec(log, "c")], max_restarts=0))
    log.take(3)
    crash(sup, "b")
    assert sup.exited.wait(10)
    assert sup.exit_reason == SHUTDOWN
    assert [event[1:] for event in log.so_far()][1:] == [("c", SHUTDOWN), ("a", SHUTDOWN)]
    report = reports.so_far()[-1]
    assert isinstance(report, ReachedMaxRestartIntensity)
    assert (report.child_id, report.max_restarts) == ("b", 0)
