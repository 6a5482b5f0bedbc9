"""Who is dead? Pure: beats and our own monotonic time in, dead nodes out.

A node is dead when its counter has not changed for one lease of *our* time, during which our reads
succeeded. So neither clocks that differ nor an outage kill anybody: after a read that failed, or a
pause of our own, everybody's time starts anew.
"""

from __future__ import annotations

from collections.abc import Mapping


class DeathWatch:
    """What one Rescuer has seen of the others."""

    def __init__(self, lease_seconds: float, longest_gap_seconds: float) -> None:
        self._lease = lease_seconds
        self._gap = longest_gap_seconds
        self._read_at: float | None = None
        self._seen: dict[str, tuple[int, float]] = {}

    def miss(self) -> None:
        """A read failed: what we knew about silence is void."""
        self._seen.clear()
        self._read_at = None

    def observe(self, beats: Mapping[str, int], now: float) -> dict[str, int]:
        """Learn one successful read; return the dead and the beat they stopped at.

        >>> watch = DeathWatch(lease_seconds=6, longest_gap_seconds=4)
        >>> [watch.observe({"a": 7}, t) for t in (0.0, 2.0, 4.0, 6.0)]
        [{}, {}, {}, {'a': 7}]
        """
        if self._read_at is not None and now - self._read_at > self._gap:
            # We ourselves were away (paused, swapped out, blocked): nobody's fault.
            self._seen.clear()
        self._read_at = now
        self._seen = {
            node: self._seen[node] if node in self._seen and self._seen[node][0] == beat else (beat, now)
            for node, beat in beats.items()
        }
        return self.dead(now)

    def dead(self, now: float) -> dict[str, int]:
        """Return who has been silent for a lease, as far as the last read tells.

        Between two reads this can be a beat behind: whoever acts on it compares the beat once more.
        """
        if self._read_at is None or now - self._read_at > self._gap:
            return {}
        return {node: beat for node, (beat, since) in self._seen.items() if now - since >= self._lease}

    def next_death(self) -> float | None:
        """Return when the first lease runs out if nobody beats again; None: nobody is watched."""
        return min((since + self._lease for _, since in self._seen.values()), default=None)
