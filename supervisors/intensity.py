"""How many restarts are too many: OTP's sliding window. Pure.

>>> window: Restarts = ()
>>> for now in (0.0, 1.0, 2.0):
...     window, too_many = add_restart(window, now, max_restarts=3, max_seconds=5.0)
>>> too_many
False
>>> add_restart(window, 3.0, max_restarts=3, max_seconds=5.0)[1]  # the 4th within 5 s
True
>>> add_restart(window, 5.1, max_restarts=3, max_seconds=5.0)  # the one at 0.0 has left
((1.0, 2.0, 5.1), False)
"""

from __future__ import annotations

from typing import TypeAlias

Restarts: TypeAlias = tuple[float, ...]
"""Monotonic times of the restarts inside the window, oldest first."""


def add_restart(
    restarts: Restarts,
    now: float,
    *,
    max_restarts: int,
    max_seconds: float,
) -> tuple[Restarts, bool]:
    """Count a restart at `now`; True means that it is one too many.

    A restart exactly `max_seconds` old still counts, as in OTP. `max_restarts=0` allows
    none at all.

    >>> add_restart((0.0,), 5.0, max_restarts=1, max_seconds=5.0)
    ((0.0, 5.0), True)
    >>> add_restart((), 0.0, max_restarts=0, max_seconds=5.0)
    ((0.0,), True)
    """
    kept = (*(at for at in restarts if at >= now - max_seconds), now)
    return kept, len(kept) > max_restarts
