"""`sys.stdin`, `sys.stdout` and `sys.stderr` of a process, and their rescue.

Lines go out as they are written, so that a job that kills its process leaves its log behind;
what stands in a buffer without a newline goes out at the job's end.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Wrapper = io.TextIOWrapper[Any]
else:
    _Wrapper = io.TextIOWrapper


class _Buffer(io.BufferedWriter):
    """Stays open: wrapping it once more, as scripts do for an encoding, closes it in the end."""

    def close(self) -> None:
        self.flush()


class _Text(_Wrapper):
    """Stays open, so that what keeps it, such as a handler of logging, works in the next job."""

    def close(self) -> None:
        self.flush()

    def detach(self) -> Any:
        return _Buffer(io.FileIO(self.fileno(), "w", closefd=False))


def _output(descriptor: int) -> _Text:
    buffer = _Buffer(io.FileIO(descriptor, "w", closefd=False))
    return _Text(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class Streams:
    """The three standard streams every job starts with."""

    def __init__(self) -> None:
        self._make()

    def _make(self) -> None:
        self._in = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
        self._out, self._err = _output(1), _output(2)
        self._all = (self._out, self._err, self._in)
        self._install()

    def _install(self) -> None:
        sys.stdin = sys.__stdin__ = self._in  # type: ignore[misc]  # declared Final, for users
        sys.stdout = sys.__stdout__ = self._out  # type: ignore[misc]  # the same
        sys.stderr = sys.__stderr__ = self._err  # type: ignore[misc]  # the same

    def mend(self) -> None:
        """Write out what is buffered; put back what was replaced, make anew what was closed."""
        now = vars(sys).get  # a job may also have deleted them
        if (now("stdout"), now("stderr"), now("stdin")) != self._all:
            self._put_back(now("stdout"), now("stderr"))
        try:
            self._out.flush()
            self._err.flush()
            is_closed = self._in.closed
        except (ValueError, OSError):  # closed, or detached from its buffer
            is_closed = True
        if is_closed:
            self._make()

    def _put_back(self, *others: Any) -> None:
        for other in others:
            try:
                other.flush()
            except Exception:  # noqa: BLE001, S112 - whatever object the user put there
                continue
        self._install()
