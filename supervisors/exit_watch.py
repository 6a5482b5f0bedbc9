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
        add = select.KQ_EV_ADD
        end = select.kevent(pid, select.KQ_FILTER_PROC, add, select.KQ_NOTE_EXIT)
        try:
            queue.control([end], 0)
        except ProcessLookupError:  # it is a zombie already: make the queue readable
            queue.control([select.kevent(1, select.KQ_FILTER_TIMER, add)], 0)
        except BaseException:
            queue.close()
            raise
        self.close: Callable[[], None] = queue.close
        self.fileno: Callable[[], int] = queue.fileno


class ThreadWatch:
    """Everywhere else."""

    def __init__(self, pid: int) -> None:
        self._read, write = os.pipe()
        self._thread = threading.Thread(
            target=self._wait, args=(pid, write), name=f"exit-watch-{pid}", daemon=True
        )
        self._thread.start()

    @staticmethod
    def _wait(pid: int, write: int) -> None:
        if sys.platform != "darwin":  # there it came with Python 3.13; kqueue is better
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(write)

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._read

    def close(self) -> None:
        """Release it."""
        self._thread.join()
        os.close(self._read)


def open_exit_watch(pid: int) -> ExitWatch:
    """Watch a child that was not reaped yet, the best way this system has."""
    for way in (PidfdWatch, KqueueWatch):
        with suppress(OSError, AttributeError):
            return way(pid)
    return ThreadWatch(pid)
