"""What the node sends: frames in order, and the permits to start them; and the answers.

A run is started only with its permit, taken from a pipe of its own that the node reads too
(`mill_actors/runtimes/permits.py`): what the node has taken back is dropped here unread.
"""

from __future__ import annotations

import collections
import json
import os
import re
from collections.abc import Callable
from typing import Any

from .descriptors import ANSWERS, FRAMES

_fast_loads: Callable[[bytes], Any]
try:
    from orjson import loads as _fast_loads
except ImportError:  # the interpreter of a script need not have it
    _fast_loads = json.loads

HEAD = re.compile(rb'\["run",(\d+),"([^"]*)","([^"]*)",')

PERMIT_BYTES = 8

_CHUNK = 1 << 18
# Our own names: a script may replace those in os, as libraries for green threads do.
_read, _write = os.read, os.write

_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_BIG = b"0" * 19


def loads(line: bytes) -> Any:
    """Read a frame; integers beyond 64 bit stay exact (orjson makes them floats)."""
    if _BIG in line.translate(_DIGITS):
        return json.loads(line)
    try:
        return _fast_loads(line)
    except ValueError:  # a lone surrogate, or deep nesting: json can, orjson can't
        return json.loads(line)


def write(data: bytes) -> None:
    """Write an answer whole; the pipe may take it in pieces."""
    written = _write(ANSWERS, data)
    while written < len(data):
        data = data[written:]
        written = _write(ANSWERS, data)


class Source:
    """The frames received and not yet taken, and the permits."""

    def __init__(self, permits: int) -> None:
        self.waiting: collections.deque[bytes] = collections.deque()
        self.has_ended = False
        self._parts: list[bytes] = []  # of a line whose end has not come yet
        self._permits = permits
        self._latest = -1

    def receive(self) -> None:
        """Read what there is, waiting while there is nothing."""
        data = _read(FRAMES, _CHUNK)
        if not data:
            self.has_ended = True
            return
        lines = data.split(b"\n")
        if len(lines) > 1:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
        self._parts.append(lines.pop())
        self.waiting.extend(lines)

    def is_permitted(self, number: int) -> bool:
        """Take the permit of a run; False if the node took it back, so that it must not start."""
        latest = self._latest
        while latest < number:
            try:
                taken = _read(self._permits, PERMIT_BYTES)
            except BlockingIOError:  # nothing is left to take
                return False
            if not taken:
                return False
            latest = self._latest = int.from_bytes(taken, "little")
        return latest == number
