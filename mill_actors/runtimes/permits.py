"""Permits: which frames a process may still start, decided by the kernel and by nobody's goodwill.

A frame carries a number, and before it is written its number goes into a second pipe, whose read
end both sides hold. The process takes one number before it starts a job; the node takes back all
that are left. A read of a pipe is atomic, so every number goes to exactly one of them: what the node
has taken can never start, however busy the process is, and what it did not get has started.

    node      grants 7, 8, 9           takes back → 8, 9
    process   takes 7, runs job 7                            finds no permit for 8: drops the frame
"""

from __future__ import annotations

import fcntl
import os
import struct

#: One number on the wire: 64 bits, little endian.
PERMIT_BYTES = 8

_ALL = 1 << 20

# The launcher puts the protocol on descriptors 3 and 4: a lower number would be overwritten.
_FROM = 10


class Permits:
    """The pipe of one process. Used from one thread."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self._read = fcntl.fcntl(read, fcntl.F_DUPFD_CLOEXEC, _FROM)
        os.close(read)
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    @property
    def fd(self) -> int:
        """The descriptor that the process inherits."""
        return self._read

    def grant(self, first: int, count: int) -> None:
        """Permit frames `first` … `first + count - 1`; written before the frames themselves.

        A pipe holds 8,192 numbers, and a Runner never has as many jobs in hand.
        """
        numbers = struct.pack(f"<{count}q", *range(first, first + count))
        # At most PIPE_BUF (4,096) bytes a write are atomic: never half a number.
        for place in range(0, len(numbers), 4096):
            os.write(self._write, numbers[place : place + 4096])

    def take_back(self) -> int:
        """Return how many frames had not started; none of them can any more."""
        taken = 0
        while True:
            try:
                data = os.read(self._read, _ALL)
            except BlockingIOError:
                return taken
            if not data:
                return taken
            taken += len(data) // PERMIT_BYTES

    def close(self) -> None:
        """Close both ends."""
        for descriptor in (self._read, self._write):
            os.close(descriptor)
