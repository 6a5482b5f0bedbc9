"""Messages that arrive later: one shared thread for all timers of the program.

`send_after` is Erlang's: the message is sent to whoever the target is *then* (give a name
and it survives restarts); when nobody is there, nothing happens. For something periodic,
an actor arms the next timer when it handles this one, so ticks never pile up behind a
slow handler. The thread sleeps until the earliest timer is due and starts with the first.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Final

from supervisors.registry import send

if TYPE_CHECKING:
    from supervisors.registry import Target

logger = logging.getLogger("supervisors")

THREAD_NAME: Final = "supervisors-timers"
SWEEP_ABOVE: Final = 64
"""Cancelled timers kept in the heap before they are swept out (if also the majority)."""


class Timer:
    """One message under way; `cancel` is safe from any thread."""

    __slots__ = ("_clock", "due", "message", "target")

    def __init__(self, clock: _Clock, due: float, target: Target, message: object) -> None:
        self._clock = clock
        self.due = due
        self.target: Target | None = target
        self.message: object = message

    def cancel(self) -> bool:
        """Make it never arrive; False when it is too late (sent, or cancelled before)."""
        return self._clock.cancel(self)

    @property
    def is_pending(self) -> bool:
        """Whether the message is still to be sent."""
        return self.target is not None


class _Clock:
    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, Timer]] = []
        self._number = count()  # equal due times: first armed, first sent
        self._cancelled = 0
        self._thread: threading.Thread | None = None

    def arm(self, delay: float, target: Target, message: object) -> Timer:
        timer = Timer(self, time.monotonic() + max(0.0, delay), target, message)
        with self._changed:
            entry = (timer.due, next(self._number), timer)
            heapq.heappush(self._heap, entry)
            if self._thread is None or not self._thread.is_alive():  # not after a fork
                self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
                self._thread.start()
            elif self._heap[0] is entry:
                self._changed.notify()
        return timer

    def cancel(self, timer: Timer) -> bool:
        with self._changed:
            if timer.target is None:
                return False
            timer.target = timer.message = None  # a cancelled timer keeps nothing alive
            self._cancelled += 1
            if self._cancelled > SWEEP_ABOVE and self._cancelled * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2].target is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0
            return True

    def _run(self) -> None:
        while True:
            target, message = self._next()
            try:
                send(target, message)
            except Exception:
                logger.exception("a timer's message to %s could not be sent", target)
            del target, message

    def _next(self) -> tuple[Target, object]:
        with self._changed:
            while True:
                if not self._heap:
                    self._changed.wait()
                    continue
                due, _, timer = self._heap[0]
                left = due - time.monotonic()
                if left > 0 and timer.target is not None:
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                    continue
                heapq.heappop(self._heap)
                if timer.target is None:
                    self._cancelled -= 1
                    continue
                target, message = timer.target, timer.message
                timer.target = timer.message = None
                return target, message


_clock = _Clock()


def send_after(delay: float, target: Target, message: object) -> Timer:
    """Send `message` to `target` (a ref or a name) in `delay` seconds, not earlier."""
    return _clock.arm(delay, target, message)
