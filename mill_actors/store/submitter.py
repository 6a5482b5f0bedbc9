"""Submissions that arrive together share a commit: the group commit of a server.

While one transaction is under way submissions gather; the next takes all of them. No timer: one that comes
alone does not wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from msgspec import Struct

from mill_actors.errors import MillError
from mill_actors.ids import new_id
from mill_actors.store.connection import Connection
from mill_actors.store.notify import ring_queue
from mill_actors.store.pool import Pool
from mill_actors.store.submission import Receipt, Submission, Submitted, submit

#: Beyond it the time per job no longer falls.
MAX_BATCH = 500
#: What may wait for its commit: beyond it whoever asks is told to come later.
MAX_WAITING = 20_000


class _Asked(Struct):
    told: Submission
    id: str
    done: asyncio.Future[Receipt]


class TooBusy(MillError):
    """More submissions wait for their commit than this server takes."""


class Submitter:
    """Used on the loop that entered it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: deque[_Asked] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def submit(self, told: Submission, fresh: str | None = None) -> Receipt:
        """Submit one job; durable when it returns. `fresh` is a new id that the caller must know before.

        Raises what `submission.submit` raises, `StoreUnavailable` and `TooBusy`.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise TooBusy
        asked = _Asked(told, fresh or new_id(), asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._wake.set()
        return await asked.done

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                # Whoever has gone away is submitted all the same: he may have been told to expect it.
                await self._commit(batch)

    async def _commit(self, batch: Sequence[_Asked]) -> None:
        try:
            receipts = await self._pool.run(lambda connection: _submit_each(connection, batch))
        except asyncio.CancelledError:
            for asked in batch:
                asked.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001  whoever waits for it gets it
            receipts = [error] * len(batch)
        for asked, receipt in zip(batch, receipts, strict=True):
            if asked.done.done():
                continue
            if isinstance(receipt, Receipt):
                asked.done.set_result(receipt)
            else:
                asked.done.set_exception(receipt)


def _submit_each(connection: Connection, batch: Sequence[_Asked]) -> list[Receipt | Exception]:
    """Submit all at once; one that is refused is refused alone."""
    try:
        done = submit(connection, [asked.told for asked in batch], [asked.id for asked in batch])
    except MillError as error:
        if len(batch) == 1:
            return [error]
        half = len(batch) // 2
        return _submit_each(connection, batch[:half]) + _submit_each(connection, batch[half:])
    _ring(connection, done)
    return list(done.receipts)


def _ring(connection: Connection, done: Submitted) -> None:
    ring_queue(connection, done.tags)
