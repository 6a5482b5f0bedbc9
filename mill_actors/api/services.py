"""What handlers work with: one of each a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from mill_actors.api.attempts import Attempts
from mill_actors.api.authentication import Authenticator
from mill_actors.api.job_updates import Places
from mill_actors.api.watcher import Watcher
from mill_actors.config import Config
from mill_actors.errors import StoreUnavailable
from mill_actors.store.connection import Connection, Database
from mill_actors.store.jobs import JobResult
from mill_actors.store.pool import Pool
from mill_actors.store.submitter import Submitter
from mill_actors.store.waiter import Waiter

T = TypeVar("T")


@dataclass
class Services:
    """Entered on the server's loop; left when it drains."""

    config: Config
    database: Database
    #: what links in answers begin with
    base_url: str

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self.pool = await self._stack.enter_async_context(Pool(self.database, self.config.server.connections))
        self.authenticator = Authenticator(self.pool)
        self.attempts = Attempts()
        self.submitter = await self._stack.enter_async_context(Submitter(self.pool))
        self.waiter = Waiter(self.database)
        self._stack.push_async_callback(asyncio.to_thread, self.waiter.close)
        self._listening: asyncio.Task[None] | None = None
        self._held: set[asyncio.Future[JobResult]] = set()
        self.is_over = False
        self.places = Places()
        self.watcher = Watcher(self)
        self._stack.callback(self.watcher.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run one of the store's functions; see `Pool.run`."""
        return await self.pool.run(work)

    async def change_rights(self, work: Callable[[Connection], T]) -> T:
        """Run what changes who may do what: from then on this server looks everybody up anew."""
        try:
            return await self.pool.run(work)
        finally:
            self.authenticator.forget()

    async def expect(self, job: str) -> Future[JobResult]:
        """Return the Future of a job that is about to be submitted as awaited."""
        await self._listen()
        return self.waiter.expect(job)

    async def watch(self, job: str) -> Future[JobResult]:
        """Return the Future of a job that is there already, finished or not."""
        await self._listen()
        futures: list[Future[JobResult]] = []
        try:
            await self.run(lambda connection: futures.extend(self.waiter.watch([job], connection)))
        except BaseException:
            # Whoever hangs up just now has not got it, and cannot cancel it.
            for future in futures:
                future.cancel()
            raise
        return futures[0]

    async def result(self, future: Future[JobResult]) -> JobResult:
        """Wait for a result; at the end of a drain that is cancelled, and `is_over`."""
        waiting = asyncio.wrap_future(future)
        self._held.add(waiting)
        try:
            if self.is_over:
                waiting.cancel()
            return await waiting
        finally:
            self._held.discard(waiting)

    def send_home(self) -> None:
        """Let nobody wait any longer: the server ends."""
        self.is_over = True
        for waiting in list(self._held):
            waiting.cancel()

    async def _listen(self) -> None:
        """Raise `StoreUnavailable` if no result would be heard of."""
        if self.waiter.is_listening:
            return
        if self._listening is None or self._listening.done():
            # One thread for all that wait for it.
            self._listening = asyncio.create_task(asyncio.to_thread(self.waiter.listen))
        await asyncio.shield(self._listening)
        if not self.waiter.is_listening:
            raise StoreUnavailable
