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
        return (await self.run(lambda connection: self.waiter.watch([job], connection)))[0]

    async def _listen(self) -> None:
        if not self.waiter.is_listening:
            await asyncio.to_thread(self.waiter.listen)
