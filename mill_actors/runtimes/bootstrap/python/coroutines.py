"""One event loop for all jobs of a process, so that an `async def main` starts at once.

Tasks a job leaves behind are cancelled before its answer: they would otherwise stand still
until the next job runs the loop, and then run as part of that one.

`run` turns the loop by `_run_once`, as `run_forever` does, but without its setup, its extra
turn and its callback: 22 us a job became 12. A loop that has no such method (uvloop) goes through
`run_until_complete`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any

_CANCEL_SECONDS = 1.0
_ROUNDS = 3  # a cancelled task may start others while it cleans up


async def listed(items: AsyncIterator[Any]) -> list[Any]:
    """Return all an asynchronous generator yields."""
    return [item async for item in items]


class Coroutines:
    """Runs one coroutine at a time on a loop that stays."""

    def __init__(self) -> None:
        # Any: half of what is touched here is no part of asyncio's typed surface.
        self._loop: Any = asyncio.new_event_loop()
        self._factory = self._loop.get_task_factory()
        self._handler = self._loop.get_exception_handler()
        self._turn: Any = getattr(self._loop, "_run_once", None)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a job's coroutine to its end, then cancel what it left behind."""
        if self._turn is None:
            try:
                return self._loop.run_until_complete(coroutine)
            finally:
                self._loop.run_until_complete(self._clean())
                self._restore()
        hooks = sys.get_asyncgen_hooks()
        self._enter()
        try:
            return self._finish(coroutine)
        finally:
            loop = self._loop
            if loop._ready or loop._asyncgens or asyncio.all_tasks(loop):
                self._tidy()
            self._restore()
            self._leave(hooks)

    def _enter(self) -> None:
        loop = self._loop
        loop._thread_id = threading.get_ident()
        sys.set_asyncgen_hooks(loop._asyncgen_firstiter_hook, loop._asyncgen_finalizer_hook)
        asyncio._set_running_loop(loop)

    def _leave(self, hooks: Any) -> None:
        self._loop._thread_id = None
        asyncio._set_running_loop(None)
        sys.set_asyncgen_hooks(*hooks)

    def _finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = self._loop.create_task(coroutine)
        turn = self._turn
        while not task.done():
            turn()
        return task.result()

    def _tidy(self) -> None:
        task = self._loop.create_task(self._clean())
        while not task.done():
            try:
                self._turn()
            except (SystemExit, KeyboardInterrupt):  # a task that was left behind goes its own way
                continue

    def _restore(self) -> None:
        loop = self._loop
        loop._stopping = False
        if loop.get_task_factory() is not self._factory:
            loop.set_task_factory(self._factory)
        if loop.get_exception_handler() is not self._handler:
            loop.set_exception_handler(self._handler)

    async def _clean(self) -> None:
        for _ in range(_ROUNDS):
            left = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
            if not left:
                break
            await self._cancel(left)
        await self._loop.shutdown_asyncgens()
        # From now on, asyncio would warn of every new asynchronous generator.
        self._loop._asyncgens_shutdown_called = False

    async def _cancel(self, left: set[asyncio.Task[Any]]) -> None:
        for task in left:
            task.cancel()
        ended, stubborn = await asyncio.wait(left, timeout=_CANCEL_SECONDS)
        for task in stubborn:
            sys.stderr.write(f"{task!r} goes on after its job, in spite of being cancelled\n")
        for task in ended:
            if not task.cancelled() and task.exception() is not None:
                sys.stderr.write(f"{task!r} failed while it was cancelled\n")
