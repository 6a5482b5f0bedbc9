from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from supervisors import (
    ABANDONED,
    NORMAL,
    SHUTDOWN,
    SUPERVISOR,
    TRANSIENT,
    ChildAbandoned,
    ChildSpec,
    ChildState,
    Crashed,
    DynamicSupervisor,
    ShutdownError,
    StopsItself,
    Supervisor,
    abandoned,
    start_child,
    stop,
    terminate_child,
    whereis,
    which_children,
)
from supervisors.testing import Puppet, PuppetError, Signals

if TYPE_CHECKING:
    from supervisors import Report

Keep = Any


def spec(log: Signals[Any], label: str, **more: Any) -> ChildSpec:
    return ChildSpec.of(Puppet, log, label, id=label, **more)


def test_reverse_order(log: Signals[Any]) -> None:
    sup = Supervisor.spawn([spec(log, "a"), spec(log, "b"), spec(log, "c")])
    log.take(3)
    assert stop(sup)
    assert log.so_far() == [("terminate", label, SHUTDOWN) for label in "cba"]


def test_waits_up_to_shutdown(
    log: Signals[Any], keep: Keep, gate: threading.Event, reports: Signals[Report]
) -> None:
    slow = spec(log, "slow", end=lambda _: gate.wait(10), shutdown=10.0)
    sup = keep(Supervisor.spawn([slow]))
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(terminate_child, sup, "slow")
        assert log.take(2) == [("init", "slow"), ("terminate", "slow", SHUTDOWN)]
        assert not ending.done()
        gate.set()
        ending.result(10)
    assert reports.so_far() == []
    assert which_children(sup)[0].state is ChildState.STOPPED


def test_stuck_child_is_abandoned_and_reported(
    log: Signals[Any], keep: Keep, gate: threading.Event, reports: Signals[Report]
) -> None:
    sup = keep(Supervisor.spawn([spec(log, "stuck", shutdown=0.05, name="stuck")]))
    ref: Any = which_children(sup)[0].ref
    ref.tell(lambda _: gate.wait(10))
    waiting = ref.ask("too late", block=False)
    began = time.monotonic()
    terminate_child(sup, "stuck")
    assert time.monotonic() - began >= 0.05
    report = reports.next()
    assert isinstance(report, ChildAbandoned)
    assert (report.supervisor, report.child_id, report.child) == (sup, "stuck", ref)
    assert ref.exit_reason == ABANDONED
    assert abandoned() == [ref]
    assert not ref.is_alive()
    assert whereis("stuck") is None
    with pytest.raises(Exception, match="ended before it answered"):
        waiting.get(timeout=5)
    assert not ref.exited.is_set()
    gate.set()  # its thread comes back after all
    assert ref.exited.wait(10)
    assert abandoned() == []
    assert log.so_far()[-1] == ("terminate", "stuck", ABANDONED)


def test_a_child_stuck_in_terminate_is_abandoned(
    log: Signals[Any], gate: threading.Event, reports: Signals[Report]
) -> None:
    sup = Supervisor.spawn([spec(log, "a"), spec(log, "stuck", end=lambda _: gate.wait(10), shutdown=0.05)])
    assert stop(sup)
    assert [report.kind for report in reports.so_far()] == ["child_abandoned"]
    assert log.so_far()[-1] == ("terminate", "a", SHUTDOWN)
    gate.set()


def test_shutdown_of_zero_does_not_wait(log: Signals[Any], keep: Keep, gate: threading.Event) -> None:
    sup = keep(Supervisor.spawn([spec(log, "stuck", shutdown=0.0), spec(log, "idle", shutdown=0.0)]))
    stuck, idle = (info.ref for info in which_children(sup))
    stuck.tell(lambda _: gate.wait(10))  # type: ignore[union-attr]
    terminate_child(sup, "stuck")
    terminate_child(sup, "idle")
    assert idle.exited.wait(10)  # type: ignore[union-attr]
    gate.set()
    assert stuck.exited.wait(10)  # type: ignore[union-attr]


def test_supervisor_waits_for_subtree(log: Signals[Any], gate: threading.Event) -> None:
    """A supervisor's own shutdown is for ever by default: no grandchild is orphaned."""
    leaf = spec(log, "leaf", end=lambda _: gate.wait(10), shutdown=10.0)
    inner = ChildSpec.of(Supervisor, [leaf], id="inner")
    assert inner.kind is SUPERVISOR
    assert inner.patience is None
    sup = Supervisor.spawn([inner])
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(stop, sup, timeout=None)
        log.take(2)
        assert not ending.done()
        gate.set()
        assert ending.result(10)


def test_crash_of_supervisor_still_stops_children(log: Signals[Any]) -> None:
    class Fragile(Supervisor):
        def handle(self, message: Any) -> object:
            if message == "crash":
                raise PuppetError
            return super().handle(message)

    sup = Fragile.spawn([spec(log, "a"), spec(log, "b")])
    log.take(2)
    sup.tell("crash")
    assert sup.exited.wait(10)
    assert isinstance(sup.exit_reason, Crashed)
    assert log.so_far() == [("terminate", "b", SHUTDOWN), ("terminate", "a", SHUTDOWN)]


def test_stop_twice_is_harmless(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log)
    assert stop(ref)
    assert stop(ref)
    assert log.so_far() == [("init", ""), ("terminate", "", SHUTDOWN)]
    sup = Supervisor.spawn([spec(log, "a")])
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: stop(sup), range(4)))


def test_stop_before_start_is_harmless(log: Signals[Any], keep: Keep, gate: threading.Event) -> None:
    """Asked to stop while init still runs, it starts, and then stops at once."""

    def slow(self: Puppet) -> None:
        log(self.actor_ref)
        gate.wait(10)

    with ThreadPoolExecutor(2) as pool:
        starting = pool.submit(Puppet.spawn, log, "a", slow)
        _, ref = log.take(2)
        ending = pool.submit(stop, ref)
        assert ref.life.stop_requested.wait(10)
        gate.set()
        assert starting.result(10) is ref
        assert ending.result(10)
    assert log.so_far() == [("terminate", "a", SHUTDOWN)]
    sup = keep(Supervisor.spawn([ChildSpec("ignored", start=lambda: None)]))
    terminate_child(sup, "ignored")
    assert which_children(sup)[0].state is ChildState.STOPPED


def test_a_supervisor_told_to_stop_while_starting_starts_no_more(log: Signals[Any]) -> None:
    seen: list[Any] = []

    class Early(Supervisor):
        def init(self, *args: Any, **flags: Any) -> None:
            seen.append(self.actor_ref)
            super().init(*args, **flags)

    first = ChildSpec("a", start=lambda: (seen[0].life.stop_requested.set(), Puppet.spawn(log, "a"))[1])
    with pytest.raises(Exception, match="told to stop"):
        Early.spawn([first, spec(log, "never")])
    assert [event[:2] for event in log.so_far()] == [("init", "a"), ("terminate", "a")]


@pytest.mark.parametrize("is_transient", [False, True])
def test_ending_otherwise_than_told_is_reported(
    log: Signals[Any], keep: Keep, reports: Signals[Report], is_transient: bool
) -> None:
    def leave_when_asked(self: Puppet) -> None:
        log("busy")
        self.stop_requested.wait(10)
        self.exit(NORMAL)

    more = {"restart": TRANSIENT} if is_transient else {}
    sup = keep(Supervisor.spawn([spec(log, "a", **more), spec(log, "b", end=Puppet.crash)]))
    log.take(2)
    which_children(sup)[0].ref.tell(leave_when_asked)  # type: ignore[union-attr]
    log.next()
    terminate_child(sup, "a")
    terminate_child(sup, "b")
    kinds = reports.so_far()
    assert all(isinstance(report, ShutdownError) for report in kinds)
    assert len(kinds) == (1 if is_transient else 2)  # NORMAL is fine for a transient one


def test_an_actor_cannot_wait_for_itself(log: Signals[Any], keep: Keep) -> None:
    ref = keep(Puppet.spawn(log))
    with pytest.raises(StopsItself):
        ref.ask(lambda self: stop(self.actor_ref), timeout=5)


def test_asking_the_own_supervisor_from_init_fails_after_its_timeout(log: Signals[Any], keep: Keep) -> None:
    """The supervisor waits for init and init for the supervisor; the ask's timeout ends it."""
    sup = keep(Supervisor.spawn(name="parent"))
    dead = ChildSpec.of(Puppet, log, "x", lambda _: which_children("parent", timeout=0.05))
    with pytest.raises(Exception, match="did not start") as caught:
        start_child(sup, dead)
    assert "Timeout" in repr(caught.value.__cause__)
    assert which_children(sup) == []


def test_children_of_an_abandoned_supervisor_are_stopped_in_the_end(
    log: Signals[Any], gate: threading.Event
) -> None:
    inner = ChildSpec("inner", shutdown=0.05, start=lambda: DynamicSupervisor.spawn(name="inner"))
    sup = Supervisor.spawn([inner])
    ref = whereis("inner")
    assert ref is not None
    start_child("inner", spec(log, "leaf", end=lambda _: gate.wait(10), shutdown=10.0))
    assert stop(sup)
    assert abandoned() == [ref]
    gate.set()
    assert ref.exited.wait(10)  # type: ignore[attr-defined]
    assert log.so_far() == [("init", "leaf"), ("terminate", "leaf", SHUTDOWN)]
