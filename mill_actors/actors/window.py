"""How many jobs a Runner may have in hand: as many as it works off in 20 ms or so. Pure.

Bounding prefetch by time and not by count means that jobs of a millisecond come hundreds at a
time, and a job of a minute comes alone.
"""

from __future__ import annotations

#: Beyond this a bigger batch saves nothing measurable (bench drain: 500 → 1,000 gains 5 %).
WIDEST = 1000

#: What a process and the pipe cost a job besides its own time.
OVERHEAD_US = 8.0

#: The weight of the newest batch; a batch of one moves the average as fast as a batch of many.
WEIGHT = 0.3


class Window:
    """The moving average of one script's run time, and what follows from it."""

    __slots__ = ("average_us", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.average_us: float | None = None

    def observe(self, jobs: int, spent_us: int) -> None:
        """Learn from a batch."""
        if jobs <= 0:
            return
        mean = spent_us / jobs + OVERHEAD_US
        if self.average_us is None:
            self.average_us = mean
        else:
            self.average_us += WEIGHT * (mean - self.average_us)

    @property
    def width(self) -> int:
        """Jobs in hand, running one included; 1 until something is known.

        >>> window = Window(0.020)
        >>> window.observe(1, 992)
        >>> window.width
        20
        """
        if self.average_us is None:
            return 1
        return max(1, min(WIDEST, int(self.seconds * 1e6 / self.average_us)))
