"""The file that holds what a process prints: anonymous, append-only, shared by descriptor.

The node makes one per process and passes it as the process's stderr; the launcher puts it on
descriptors 1 and 2. Everything printed lands there in order, whoever printed it, and costs the
process nothing else. A job's log is the bytes between the size at the previous job's end and
the size in its own answer. Offsets only grow, until `truncate`.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


class Capture:
    """What one process printed. The node keeps its own descriptor open after the start."""

    def __init__(self) -> None:
        self._fd = _anonymous_file()

    @property
    def fd(self) -> int:
        """The descriptor to pass as a process's stderr."""
        return self._fd

    def size(self) -> int:
        """Return how many bytes there are."""
        return os.fstat(self._fd).st_size

    def read(self, start: int, end: int, limit: int) -> bytes:
        """Return the bytes from `start` to `end`, at most `limit` of them.

        An `end` before `start` means the job itself truncated the file (`> /dev/stderr` in a
        shell does); what is left of its log then begins at 0.
        """
        if end < start:
            start = 0
        wanted = min(end - start, limit)
        parts = []
        while wanted > 0:
            part = os.pread(self._fd, wanted, start)
            if not part:
                break
            parts.append(part)
            start += len(part)
            wanted -= len(part)
        return b"".join(parts)

    def truncate(self) -> None:
        """Forget everything; the next byte is at 0.

        Only while the process is idle, or while a job that overflowed its limit runs: its
        answer then counts from 0.
        """
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Close the node's descriptor; the file lives as long as anyone else's."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _anonymous_file() -> int:
    if sys.platform == "linux":
        fd = os.memfd_create("mill-capture", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="mill-capture-")
        Path(path).unlink()
    # Several descriptors write: without O_APPEND, one would overwrite another's output.
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return fd
