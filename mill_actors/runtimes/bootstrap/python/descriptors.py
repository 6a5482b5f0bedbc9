"""The file descriptors of a process, and the one promise about them.

The launcher hands over 3 (frames in), 4 (answers out), the permits (argv[1]), 0 (/dev/null), and 1 and 2 (the
capture file). 3 and 4 and the private copies made here are close-on-exec, so no program
started by a job inherits them; a forked child loses them at once. Whatever a job does to
0, 1 and 2, `mend` puts them back before the next one.
"""

from __future__ import annotations

import fcntl
import os
import sys

FRAMES = 3
ANSWERS = 4

# High numbers, out of the way of programs that count on getting 5 from their next open().
_PRIVATE_FROM = 100


def _private(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _PRIVATE_FROM)


class Descriptors:
    """Holds private copies of the null device and of the capture file."""

    def __init__(self) -> None:
        os.set_inheritable(FRAMES, False)
        os.set_inheritable(ANSWERS, False)
        self.permits = int(sys.argv[1])
        os.set_inheritable(self.permits, False)
        self.null = _private(0)
        self.capture = _private(2)
        self.forked = False
        os.register_at_fork(after_in_child=self._leave)

    def _leave(self) -> None:
        self.forked = True
        for descriptor in (FRAMES, ANSWERS, self.permits):
            try:
                os.close(descriptor)
            except OSError:
                continue

    def mend(self) -> None:
        """Put 0, 1 and 2 back. Unconditional: three dup2 take 0.3 us, one fstat 0.4."""
        os.dup2(self.null, 0)
        os.dup2(self.capture, 1)
        os.dup2(self.capture, 2)

    def size(self) -> int:
        """Return the size of the capture file."""
        return os.lseek(self.capture, 0, os.SEEK_END)
