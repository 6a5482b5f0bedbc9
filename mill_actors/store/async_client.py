"""`AsyncClient`: what `Client` is, for an event loop. Used on the loop that entered it.

Inside a transaction of your own, pass its connection: `await client.submit("f/a/b", {…},
connection=conn)` is then part of that transaction, and the job exists exactly if it commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg.rows import TupleRow, tuple_row

from mill_actors.errors import JobNotFound
from mill_actors.ids import new_id
from mill_actors.store import jobs, logs, submission
from mill_actors.store.bridge import on_loop
from mill_actors.store.connection import Connection, Database, register_arrays
from mill_actors.store.jobs import JobResult
from mill_actors.store.notify import ring_queue
from mill_actors.store.pool import Pool
from mill_actors.store.submission import Receipt, Submission
from mill_actors.store.waiter import Waiter

T = TypeVar("T")

AnyAsyncConnection = psycopg.AsyncConnection[Any]


class AsyncClient:
    """Speaks to the database and to nothing else: no node and no server needs to run to submit."""

    def __init__(
        self,
        database: Database | str,
        workspace: str = "default",
        user: str = "u/admin",
        *,
        connections: int = 4,
    ) -> None:
        self.database = Database(database) if isinstance(database, str) else database
        self.workspace = workspace
        self.user = user
        self._pool = Pool(self.database, connections, "mill client")
        self._waiter: Waiter | None = None

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._waiter is not None:
            await asyncio.to_thread(self._waiter.close)
        await self._pool.__aexit__(kind, error, trace)

    # -- submitting ----------------------------------------------------------------

    async def submit(
        self,
        path: str,
        args: Mapping[str, object] | None = None,
        *,
        connection: AnyAsyncConnection | None = None,
        **options: Any,
    ) -> str:
        """Submit one job and return its id; `options` are the fields of `Submission`.

        Durable when it returns (with `connection`: when your transaction commits).
        """
        return (await self.submit_many([self._told(path, args, options)], connection=connection))[0].id

    async def submit_many(
        self, submissions: Sequence[Submission], *, connection: AnyAsyncConnection | None = None
    ) -> list[Receipt]:
        """Submit all of them, or none; receipts come in the same order."""

        def work(own: Connection) -> list[Receipt]:
            done = submission.submit(own, submissions, inside=connection is not None)
            ring_queue(own, done.tags)
            return done.receipts

        if connection is None:
            return await self._pool.run(work)
        return await _lent(connection, work)

    async def run(
        self,
        path: str,
        args: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  as the other client has it
        **options: Any,
    ) -> JobResult:
        """Submit one job and wait for its end; TimeoutError does not cancel it."""
        if options.get("key") is not None or options.get("id") is not None:
            return await self.wait(await self.submit(path, args, **options), timeout)
        job = new_id()
        waiter = await self._waiting()
        future = waiter.expect(job)
        told = self._told(path, args, {**options, "awaited": True})

        def work(own: Connection) -> None:
            ring_queue(own, submission.submit(own, [told], ids=[job]).tags)

        try:
            await self._pool.run(work)
        except BaseException:
            future.cancel()
            raise
        async with asyncio.timeout(timeout):
            return await asyncio.wrap_future(future)

    # -- waiting and looking -------------------------------------------------------

    async def wait(self, job: str, timeout: float | None = None) -> JobResult:  # noqa: ASYNC109  the same
        """Wait for the end of a job; raise `JobNotFound` for an unknown one."""
        found = await self.job(job)
        waiter = await self._waiting()
        (future,) = await self._pool.run(lambda own: waiter.watch([found.id], own))
        async with asyncio.timeout(timeout):
            return await asyncio.wrap_future(future)

    async def job(self, job: str) -> jobs.Job:
        """Return one job; raise `JobNotFound`."""
        return await self._pool.run(lambda own: jobs.get_job(own, self.workspace, job))

    async def logs(self, job: str, after: tuple[int, int] = (0, -1)) -> list[logs.LogChunk]:
        """Return what a job has printed so far, after (attempt, position)."""
        return await self._pool.run(lambda own: logs.read_logs(own, self.workspace, job, after))

    async def results(self, ids: Sequence[str]) -> Sequence[JobResult]:
        """Return the results of those of these jobs that are finished, in no order."""
        return await self._pool.run(lambda own: jobs.job_results(own, ids))

    async def cancel(self, job: str, reason: str | None = None, *, force: bool = False) -> str:
        """Cancel a job: `cancelled`, `requested` (it is running), or the status it already ended with."""

        def work(own: Connection) -> str:
            try:
                return jobs.cancel_job(own, self.workspace, job, by=self.user, reason=reason, force=force)
            except JobNotFound:
                found = jobs.get_job(own, self.workspace, job)
                if not found.is_final:
                    raise
                return found.status

        return await self._pool.run(work)

    def _told(self, path: str, args: Mapping[str, object] | None, options: Mapping[str, Any]) -> Submission:
        return Submission(
            path=path, args=args or {}, **{"workspace": self.workspace, "created_by": self.user, **options}
        )

    async def _waiting(self) -> Waiter:
        if self._waiter is None:
            self._waiter = Waiter(self.database)
        if not self._waiter.is_listening:
            await asyncio.to_thread(self._waiter.listen)
        return self._waiter


async def _lent(connection: AnyAsyncConnection, work: Callable[[Connection], T]) -> T:
    """Make a caller's connection speak as ours for a while; what he sees of it stays as it is."""
    register_arrays(connection)
    theirs, connection.row_factory = connection.row_factory, tuple_row
    try:
        own: psycopg.AsyncConnection[TupleRow] = connection
        return await on_loop(own, work)
    finally:
        connection.row_factory = theirs
