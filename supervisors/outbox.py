"""The writing end of a pipe for somebody who must never block.

`send` writes what the pipe takes and keeps the rest; the I/O thread writes that when the
pipe has room again. Only the I/O thread closes the descriptor: nobody can be left
polling a number that meanwhile belongs to another file.
"""

from __future__ import annotations

import os
import threading
from typing import IO, TYPE_CHECKING, Final

from supervisors.errors import PortClosed

if TYPE_CHECKING:
    from collections.abc import Callable

WRITE_BYTES: Final = 1 << 20


class Outbox:
    """Bytes on their way to a process; order is kept."""

    def __init__(self, stream: IO[bytes], wake: Callable[[], None]) -> None:
        self._stream = stream
        self._fd = stream.fileno()
        os.set_blocking(self._fd, False)
        self._wake = wake
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self._is_closing = False
        self._is_broken = False

    @property
    def unsent(self) -> int:
        """Bytes that wait for room in the pipe."""
        return len(self._unsent)

    @property
    def is_broken(self) -> bool:
        """Whether the process closed its end; what is sent goes nowhere."""
        return self._is_broken

    # -- for the sender ------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Write now what fits, the rest in the background.

        Raises:
            PortClosed: after `close`.

        """
        with self._lock:
            if self._is_closing:
                raise PortClosed
            if self._is_broken:
                return
            waits = bool(self._unsent)
            written = 0 if waits else self._try(data)
            if written < len(data) and not self._is_broken:
                with memoryview(data) as view:
                    self._unsent += view[written:]
            if waits or written == len(data):
                return
        self._wake()

    def close(self) -> None:
        """Let nothing more be sent; the pipe ends when what waits was written."""
        with self._lock:
            self._is_closing = True
        self._wake()

    # -- for the I/O thread --------------------------------------------------------

    def fileno(self) -> int:
        """Give the descriptor to poll for writing."""
        return self._fd

    def write(self) -> None:
        """Write some of what waits."""
        with self._lock:
            if self._unsent:
                with memoryview(self._unsent) as view, view[:WRITE_BYTES] as part:
                    written = self._try(part)
                del self._unsent[:written]
                if self._is_broken:
                    self._unsent.clear()

    def finish(self) -> None:
        """Close the descriptor if `close` was called and nothing waits."""
        with self._lock:
            if self._is_closing and not self._unsent and not self._stream.closed:
                self._stream.close()

    def shut(self) -> None:
        """Close the descriptor now and forget what waits."""
        with self._lock:
            self._is_broken = True
            self._unsent.clear()
            if not self._stream.closed:
                self._stream.close()

    def _try(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._is_broken = True
            return 0
