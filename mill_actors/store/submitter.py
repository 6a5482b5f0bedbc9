"""Submissions that arrive together share a commit: the group commit of a server.

While one transaction is under way submissions gather; the next takes all of them. No timer: one that comes
alone does not wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psycopg
from msgspec import Struct
from psycopg_pool import PoolTimeout

from mill_actors.errors import MillError, StoreUnavailable
from mill_actors.ids import new_id
from mill_actors.store.connection import Connection, is_outage
from mill_actors.store.notify import ring_queue
from mill_actors.store.pool import Pool, refusal
from mill_actors.store.submission import Receipt, Submission, submit

logger = logging.getLogger(__name__)

#: Beyond it the time per job no longer falls …
MAX_BATCH = 500
#: … nor beyond so many bytes of arguments; a gigabyte would be more than one statement may have.
MAX_BATCH_BYTES = 8 * 1024 * 1024
#: What may wait for its commit: beyond it whoever asks is told to come later.
MAX_WAITING = 20_000
MAX_WAITING_BYTES = 512 * 1024 * 1024


class _Asked(Struct):
    told: Submission
    id: str
    size: int
    done: asyncio.Future[Receipt]


class TooBusy(MillError):
    """More submissions wait for their commit than this server takes."""


class Submitter:
    """Used on the loop that entered it."""

    def __init__(self, pool: Pool) -> None:
        # A key may be in the hands of somebody's open transaction: only other keys wait for that.
        self._plain = _Lane(pool)
        self._keyed = _Lane(pool)

    async def __aenter__(self) -> Self:
        self._plain.open()
        self._keyed.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._plain.close()
        await self._keyed.close()

    async def submit(self, told: Submission, fresh: str | None = None) -> Receipt:
        """Submit one job; durable when it returns. `fresh` is a new id that the caller must know before.

        Raises what `submission.submit` raises, `StoreUnavailable`, `StoreRefused` and `TooBusy`. When it
        is cancelled the job is written, or never will be.
        """
        lane = self._plain if told.key is None and told.id is None else self._keyed
        return await lane.submit(told, fresh or new_id())


class _Lane:
    """Those who are first are written first, together with those behind them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: deque[_Asked] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        tasks = [task for task in (self._task, self._committing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for asked in self._waiting:
            asked.done.cancel()

    async def submit(self, told: Submission, fresh: str) -> Receipt:
        size = len(told.args) if isinstance(told.args, bytes) else 0
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            raise TooBusy
        asked = _Asked(told, fresh, size, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._waiting_bytes += size
        self._wake.set()
        try:
            return await asked.done
        except asyncio.CancelledError:
            if self._committing is not None:
                # It may be in there, and the caller may want to cancel what he has submitted.
                await asyncio.wait([self._committing])
            raise

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._take():
                self._committing = asyncio.create_task(self._commit(batch))
                await asyncio.wait([self._committing])
                self._committing = None

    def _take(self) -> list[_Asked]:
        """Return the next ones, without those that have gone away before anything was done for them."""
        batch: list[_Asked] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH:
            asked = self._waiting[0]
            if batch and size + asked.size > MAX_BATCH_BYTES:
                break
            self._waiting.popleft()
            self._waiting_bytes -= asked.size
            if not asked.done.done():
                batch.append(asked)
                size += asked.size
        return batch

    async def _commit(self, batch: Sequence[_Asked]) -> None:
        receipts: Sequence[Receipt | Exception]
        try:
            receipts = await self._pool.run(lambda connection: _submit_each(connection, batch))
        except asyncio.CancelledError:
            for asked in batch:
                asked.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001  whoever waits for it gets it
            if isinstance(error.__cause__, PoolTimeout):
                # Those behind have waited for the same database.
                batch = [*batch, *self._waiting]
                self._waiting.clear()
                self._waiting_bytes = 0
            receipts = [error] * len(batch)
        for asked, receipt in zip(batch, receipts, strict=True):
            if asked.done.done():
                continue
            if isinstance(receipt, Receipt):
                asked.done.set_result(receipt)
            else:
                asked.done.set_exception(receipt)


def _submit_each(connection: Connection, batch: Sequence[_Asked]) -> list[Receipt | Exception]:
    """Submit all at once; one that is refused is refused alone, and so is one that we fail at."""
    try:
        done = submit(connection, [asked.told for asked in batch], [asked.id for asked in batch])
    except Exception as error:
        if isinstance(error, StoreUnavailable) or is_outage(error):
            raise
        if len(batch) == 1:
            return [refusal(error) or error if isinstance(error, psycopg.Error) else error]
        half = len(batch) // 2
        return _submit_each(connection, batch[:half]) + _submit_each(connection, batch[half:])
    try:
        ring_queue(connection, done.tags)
    except psycopg.Error as error:
        # They are durable, and will be found without a ring.
        logger.warning("submitted, and not rung: %s", error)
    return list(done.receipts)
