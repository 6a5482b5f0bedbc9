"""Where the engine's own waiting gets its time.

Only intervals come from here: leases, backoff, prefetch. The time of day comes
from the database, so that nodes with wrong clocks agree (design, section 6).
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """A clock that never goes back."""

    def monotonic(self) -> float:
        """Return seconds since a point that has no meaning of its own."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def monotonic(self) -> float:
        """Return the seconds of the machine's monotonic clock."""
        return time.monotonic()


class ManualClock:
    """A clock for tests, which moves only when it is told to; safe in any thread."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Return what the test has made it."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Move forward; a negative number is a fault of the test."""
        if seconds < 0:
            message = f"a monotonic clock cannot go back {-seconds} s"
            raise ValueError(message)
        with self._lock:
            self._now += seconds
