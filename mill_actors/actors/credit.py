"""What a worker's Runners have room for, told by its Puller and used up by its Completer.

So that the next step of a flow is taken by the worker that has settled the one before, if it can run
it at once; what it cannot goes through the queue. Both may be wrong for a moment: what finds no Runner
is given back.
"""

from __future__ import annotations

import threading
from collections.abc import Collection


class Credit:
    """Thread-safe; one a worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tags: frozenset[str] = frozenset()
        self._room = 0

    def tell(self, tags: Collection[str], room: int) -> None:
        """Say how many more jobs are wanted, and of which tags."""
        with self._lock:
            self._tags = frozenset(tags)
            self._room = max(0, room)

    def take(self, tag: str) -> bool:
        """Use up room for one job; False if there is none."""
        with self._lock:
            if self._room <= 0 or tag not in self._tags:
                return False
            self._room -= 1
            return True
