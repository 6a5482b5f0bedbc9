"""File locks between processes, which the kernel lets go when a process dies.

`flock` belongs to the open file, not to the process: a lock taken here is kept
until the file is closed, a forked child keeps it too, and a started program
does not (Python opens files close-on-exec).
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL_SECONDS = 0.01


class FileLock:
    """An open lock file; closing it is what lets the lock go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the lock go; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def take(self, *, shared: bool = False) -> bool:
        """Take the lock, or change its kind, if that needs no waiting."""
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self, deadline: float, *, shared: bool = False) -> bool:
        """Take the lock before a time of `time.monotonic`; False if it is over."""
        while not self.take(shared=shared):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def is_held(path: Path, *, shared_too: bool = False) -> bool:
    """Say whether somebody holds the lock exclusively, or at all with `shared_too`."""
    with FileLock(path) as lock:
        return not lock.take(shared=not shared_too)
