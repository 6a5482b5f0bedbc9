"""A descriptor that becomes readable when a child process has ended, without reaping it.

As long as the child is not reaped its pid, and so its process group's id, cannot be
reused; that is why nothing here calls `wait`. Three ways, best first: a pidfd (Linux), a
kqueue (macOS, BSD), or a thread that blocks in `waitid(WNOWAIT)` and closes a pipe.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class ExitWatch(Protocol):
    """Poll `fileno()` for reading; `close` after the child was reaped."""

    def fileno(self) -> int:
        """Give the descriptor."""

    def close(self) -> None:
        """Release it."""


class PidfdWatch:
    """Linux 5.3 and later."""

    def __init__(self, pid: int) -> None:
        if sys.platform != "linux":
            raise OSError
        self._fd: int = os.pidfd_open(pid)

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._fd

    def close(self) -> None:
        """Release it."""
        os.close(self._fd)


class KqueueWatch:
    """macOS and the BSDs; a kqueue is itself pollable."""

    def __init__(self, pid: int) -> None:
        if sys.platform == "linux":
            raise OSError
        queue = select.kqueue()
        end = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        try:
            queue.control([end], 0)
        except BaseException:
            queue.close()
            raise
        self.close: Callable[[], None] = queue.close
        self.fileno: Callable[[], int] = queue.fileno


class PipeWatch:
    """A pipe that ends when told, or at once."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._read

    def end(self) -> None:
        """Make it readable."""
        os.close(self._write)

    def close(self) -> None:
        """Release it."""
        os.close(self._read)


class ThreadWatch(PipeWatch):
    """Everywhere else; no `waitid`, no watch."""

    def __init__(self, pid: int) -> None:
        wait = getattr(os, "waitid", None)  # macOS has it from Python 3.13 on
        if wait is None:
            raise OSError
        super().__init__()
        self._thread = threading.Thread(
            target=self._run, args=(pid, wait), name=f"exit-watch-{pid}", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:
            self.end()
            self.close()
            raise

    def _run(self, pid: int, wait: Callable[[int, int, int], object]) -> None:
        with suppress(ChildProcessError):
            wait(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self.end()

    def close(self) -> None:
        """Release it, once the thread has seen the end."""
        if self._thread.ident is not None:
            self._thread.join()
        super().close()


def open_exit_watch(pid: int) -> ExitWatch:
    """Watch a child that was not reaped yet, the best way this system has."""
    for way in (PidfdWatch, KqueueWatch):
        try:
            return way(pid)
        except ProcessLookupError:  # macOS: it is a zombie already
            ended = PipeWatch()
            ended.end()
            return ended
        except (OSError, AttributeError):
            continue
    return ThreadWatch(pid)
