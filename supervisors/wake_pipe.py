"""A pipe that wakes a thread which waits in `poll`."""

from __future__ import annotations

import os
import threading


class WakePipe:
    """At most one byte is ever under way, so waking never blocks and costs little."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)  # as set_wakeup_fd wants it
        self._is_awake = False
        self._is_closed = False

    def fileno(self) -> int:
        """Give the descriptor to poll for reading."""
        return self._read

    def write_fileno(self) -> int:
        """Give the other descriptor, for `signal.set_wakeup_fd`."""
        return self._write

    def wake(self) -> None:
        """Make it readable; from any thread, also after `close`."""
        with self._lock:
            if not self._is_awake and not self._is_closed:
                self._is_awake = True
                os.write(self._write, b"w")

    def heed(self) -> None:
        """Make it unreadable. Look at what woke you *after* this, not before."""
        with self._lock:
            if self._is_awake and not self._is_closed:
                os.read(self._read, 1)
                self._is_awake = False

    def close(self) -> None:
        """Release the descriptors."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._read)
                os.close(self._write)
