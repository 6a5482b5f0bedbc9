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
#: So many are some five seconds.
MOST_WAITING = 100


class Attempts:
    """Of one server."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        # A try costs 50 ms of a core: strangers get one at a time.
        self._one = asyncio.Semaphore(1)
        self._waiting = 0

    async def work(self, compute: Callable[[], T]) -> T:
        """Run what takes its time in a thread, one at a time; raise a 503 `Problem` if too many wait."""
        if self._waiting >= MOST_WAITING:
            raise Problem(503, "busy", "Too many log in at a time. Come again.")
        # Whoever hangs up lets nobody else begin meanwhile, nor does he take back a wrong password.
        return await asyncio.shield(self._alone(compute))

    async def guess(self, email: str, address: str, compute: Callable[[], bool]) -> bool:
        """Return whether a password is right; raise a 429 `Problem` for whoever has failed too often."""
        self._check(email, address)

        def look() -> bool:
            # Again: others may have been wrong while this one waited.
            self._check(email, address)
            is_right = compute()
            if is_right:
                self._failures.pop((email, address), None)
            else:
                self._failed(email, address)
            return is_right

        return await self.work(look)

    async def _alone(self, compute: Callable[[], T]) -> T:
        self._waiting += 1
        try:
            async with self._one:
                return await asyncio.to_thread(compute)
        finally:
            self._waiting -= 1

    def _check(self, email: str, address: str) -> None:
        if len(self._recent(email, address)) >= MAX_FAILURES:
            raise Problem(429, "too_many_attempts", "Too many wrong passwords. Come back in a minute.")

    def _failed(self, email: str, address: str) -> None:
        self._failures[email, address] = [*self._recent(email, address), monotonic()]
        self._failures.move_to_end((email, address))
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def _recent(self, email: str, address: str) -> list[float]:
        since = monotonic() - FAILURE_SECONDS
        return [at for at in self._failures.get((email, address), []) if at > since]
