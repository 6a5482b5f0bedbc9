"""Wrong passwords, counted: whoever guesses is slow."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from mill_actors.api.problems import Problem

T = TypeVar("T")

#: So many wrong passwords for an email from one address …
MAX_FAILURES = 10
#: … within so long; then it is let in no more until the first one is that old.
FAILURE_SECONDS = 60.0
MAX_REMEMBERED = 10_000


class Attempts:
    """Of one server."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        # A try costs 50 ms of a core: strangers get one at a time.
        self._one = asyncio.Semaphore(1)

    async def work(self, compute: Callable[[], T]) -> T:
        """Run what takes its time in a thread, one at a time."""
        async with self._one:
            return await asyncio.to_thread(compute)

    def check(self, email: str, address: str) -> None:
        """Raise a 429 `Problem` for whoever has failed too often."""
        if len(self._recent(email, address)) >= MAX_FAILURES:
            raise Problem(429, "too_many_attempts", "Too many wrong passwords. Come back in a minute.")

    def failed(self, email: str, address: str) -> None:
        """Remember a wrong password."""
        self._failures[email, address] = [*self._recent(email, address), monotonic()]
        self._failures.move_to_end((email, address))
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, email: str, address: str) -> None:
        """Forget the wrong ones."""
        self._failures.pop((email, address), None)

    def _recent(self, email: str, address: str) -> list[float]:
        since = monotonic() - FAILURE_SECONDS
        return [at for at in self._failures.get((email, address), []) if at > since]
