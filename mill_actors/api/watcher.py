"""Watching jobs for those who hold a request open: one statement for all, and only while somebody watches.

Ends are told at once, by the waiter; what a job prints, and where its flow is, is looked at four times a
second. Whoever watches reads for himself what is new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from mill_actors.errors import StoreUnavailable
from mill_actors.store.connection import DatabaseError
from mill_actors.store.jobs import JobResult
from mill_actors.store.watching import job_marks

if TYPE_CHECKING:
    from mill_actors.api.services import Services

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


class News:
    """One watcher's own bell."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Say that something may be new."""
        self._bell.set()

    @property
    def is_closing(self) -> bool:
        """Whether the server drains: whoever watches shall come to an end."""
        return self._watcher.is_closing

    async def wait(self, seconds: float) -> bool:
        """Wait for something new, at most so long; return whether there may be something."""
        if self.is_closing:
            return False
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True


class _Watched:
    def __init__(self) -> None:
        self.news: set[News] = set()
        self.mark: str | None = None
        #: set before it is there: whoever comes meanwhile need not ask for it, too
        self.is_awaited = False
        self.asking: asyncio.Task[None] | None = None
        self.end: Future[JobResult] | None = None
        self.is_forgotten = False

    def ring(self) -> None:
        for news in self.news:
            news.ring()

    def forget(self) -> None:
        self.is_forgotten = True
        if self.end is not None:
            self.end.cancel()


class Watcher:
    """One a server, on its loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._watched: dict[str, _Watched] = {}
        self._looking: asyncio.Task[None] | None = None
        self.is_closing = False

    @property
    def watched(self) -> int:
        """How many jobs somebody watches."""
        return len(self._watched)

    def close(self) -> None:
        """Send everybody home: the server drains."""
        self.is_closing = True
        for watched in self._watched.values():
            watched.ring()
        if self._looking is not None:
            self._looking.cancel()

    @asynccontextmanager
    async def watching(self, job: str) -> AsyncIterator[News]:
        """Lend a bell that rings when something about a job may be new.

        It rings once at the next look in any case: what was new between the caller's own look and this.
        """
        news = News(self)
        watched = self._watched.setdefault(job, _Watched())
        watched.news.add(news)
        watched.mark = None
        try:
            if not watched.is_awaited:
                watched.is_awaited = True
                # Whoever hangs up meanwhile leaves a Future behind that nobody would cancel.
                watched.asking = asyncio.create_task(self._await_end(job, watched))
                await asyncio.shield(watched.asking)
            if not self.is_closing and (self._looking is None or self._looking.done()):
                self._looking = asyncio.create_task(self._look())
            yield news
        finally:
            watched.news.discard(news)
            if not watched.news and self._watched.get(job) is watched:
                del self._watched[job]
                watched.forget()

    async def _await_end(self, job: str, watched: _Watched) -> None:
        try:
            watched.end = await self._services.watch(job)
        except StoreUnavailable as error:
            # The looks tell of its end, too.
            logger.warning("watching job %s: %s", job, error)
            return
        watched.end.add_done_callback(_on(asyncio.get_running_loop(), watched.ring))
        if watched.is_forgotten:
            watched.forget()

    async def _look(self) -> None:
        while self._watched:
            await asyncio.sleep(LOOK_SECONDS)
            jobs = list(self._watched)
            if not jobs:
                return
            try:
                marks = await self._services.run(partial(job_marks, jobs=jobs))
            except (StoreUnavailable, DatabaseError) as error:
                logger.warning("watching %d jobs: %s", len(jobs), error)
                continue
            for job, mark in marks.items():
                watched = self._watched.get(job)
                if watched is not None and watched.mark != mark:
                    watched.mark = mark
                    watched.ring()


def _on(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Callable[[object], None]:
    def told(_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ring)

    return told
