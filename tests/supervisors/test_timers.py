from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from supervisors import send_after, stop, timers
from supervisors.testing import Probe, Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Keep = Any


@pytest.fixture
def probe(log: Signals[Any], keep: Keep) -> Any:
    return keep(Probe.spawn(log))


def test_a_message_arrives_not_before_its_time(log: Signals[Any], probe: Any) -> None:
    began = time.monotonic()
    timer = send_after(0.02, probe, "ding")
    assert timer.is_pending
    assert log.next() == "ding"
    assert time.monotonic() - began >= 0.02
    assert not timer.is_pending
    assert timer.cancel() is False


def test_it_arrives_on_time(log: Signals[Any], probe: Any) -> None:
    late = []
    for _ in range(10):
        due = time.monotonic() + 0.01
        send_after(0.01, probe, "ding")
        log.next()
        late.append(time.monotonic() - due)
    # Not a matter of speed: a timer that is missed comes with the next wake-up, or never.
    assert sorted(late)[5] < 1.0


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Let no time pass while a test arms its timers."""
    with monkeypatch.context() as patch:
        now = time.monotonic()
        patch.setattr(time, "monotonic", lambda: now)
        yield patch.undo


def test_order_is_that_of_the_due_times(log: Signals[Any], probe: Any, stopped_clock: Any) -> None:
    delays = [number / 1000 for number in range(50)]
    for delay in random.sample(delays, len(delays)):
        send_after(delay, probe, delay)
    stopped_clock()
    assert log.take(50) == delays


def test_equal_due_times_keep_the_order_of_arming(log: Signals[Any], probe: Any, stopped_clock: Any) -> None:
    for number in range(20):
        send_after(0.01, probe, number)
    stopped_clock()
    assert log.take(20) == list(range(20))


def test_an_earlier_timer_overtakes_a_later_one(log: Signals[Any], probe: Any) -> None:
    later = send_after(3600.0, probe, "later")
    send_after(0.0, probe, "sooner")
    assert log.next() == "sooner"
    assert later.cancel()


def test_cancel(log: Signals[Any], probe: Any) -> None:
    timer = send_after(0.01, probe, "never")
    assert timer.cancel() is True
    assert timer.cancel() is False
    send_after(0.02, probe, "ding")
    assert log.next() == "ding"


def test_a_name_is_resolved_when_the_message_is_sent(log: Signals[Any], keep: Keep) -> None:
    first = Probe.spawn(Signals(), name="probe")
    send_after(0.05, "probe", "ding")
    assert stop(first)
    keep(Probe.spawn(log, name="probe"))
    assert log.next() == "ding"


def test_dead_targets_are_ignored(log: Signals[Any], probe: Any) -> None:
    gone = Probe.spawn(Signals())
    assert stop(gone)
    send_after(0.0, gone, "nobody")
    send_after(0.0, "nobody", "nobody")
    send_after(0.0, object(), "a bug of the caller")  # type: ignore[arg-type]
    send_after(0.0, probe, "ding")
    assert log.next() == "ding"


def test_cancelled_timers_do_not_pile_up(probe: Any) -> None:
    before = len(timers._clock._heap)
    kept = [send_after(3600.0, probe, number) for number in range(10)]
    for _ in range(5000):
        send_after(3600.0, probe, "never").cancel()
    # Timers of other tests may be in the same heap; what is cancelled is never more than what is left.
    assert len(timers._clock._heap) < 2 * (before + 10 + timers.SWEEP_ABOVE)
    assert all(timer.cancel() for timer in kept)


def test_the_thread_sleeps_between_timers(log: Signals[Any], probe: Any) -> None:
    """No busy loop: a timer far away costs no processor time."""
    far = [send_after(3600.0 + number, probe, "far") for number in range(100)]
    send_after(0.0, probe, "ding")
    log.next()
    spent = time.process_time()
    threading.Event().wait(0.5)
    assert time.process_time() - spent < 0.25
    assert all(timer.cancel() for timer in far)


def test_many_threads_arm_and_cancel(log: Signals[Any], probe: Any) -> None:
    def arm() -> None:
        for number in range(200):
            timer = send_after(random.random() / 100, probe, 1)
            if number % 2:
                if not timer.cancel():
                    log(0)
                else:
                    log(1)

    threads = [threading.Thread(target=arm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    seen = log.take(4 * 200)  # sent or cancelled, each exactly once
    late = seen.count(0)
    assert log.take(late) == [1] * late
    assert log.so_far() == []
