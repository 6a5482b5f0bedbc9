"""What a process writes beside its answers: user code can reach the pipe, and harms nobody by it.

A line that is no answer is left out. One that ends in an answer, because something was written in
front of it without a newline, is that answer. One with something in its middle still names its job,
and fails it.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress

import orjson
from msgspec import Raw

from mill_actors.runtimes.frames import BadFrame, Fail, Reply, decode

logger = logging.getLogger(__name__)

#: A process that writes more such lines than this is ended.
MAX_LINES = 100
#: The log of the node gets this many of them.
LOGGED_LINES = 3

_ANSWER = re.compile(rb'\["(?:done|fail)","([^"\\]{1,100})","([^"\\]{1,100})",')
_TORN = orjson.dumps(
    {"name": "ProtocolBroken", "message": "something else was written into the job's answer", "stack": ""}
)


class Noise:
    """What one process has written so far that was no answer."""

    def __init__(self) -> None:
        self.lines = 0

    @property
    def is_too_much(self) -> bool:
        """Whether nothing good is to be expected of the process any more."""
        return self.lines > MAX_LINES

    def sound(self, data: bytes, out: int) -> list[Reply]:
        """Return the answers in a block that is not all answers; `out` is what is printed by now."""
        replies: list[Reply] = []
        for line in data.split(b"\n"):
            try:
                replies += decode(line)
            except BadFrame as error:
                self.lines += 1
                if self.lines <= LOGGED_LINES:
                    logger.warning("a process wrote something that is no answer: %s", error)
                replies += _rest(line, out)
        return replies


def _rest(line: bytes, out: int) -> list[Reply]:
    found = list(_ANSWER.finditer(line))
    if not found:
        return []
    answer = found[-1]
    if answer.start() > 0:
        with suppress(BadFrame):
            return decode(line[answer.start() :])
    job, claim = (part.decode("ascii", "replace") for part in answer.groups())
    return [Fail(job, claim, out, 0, Raw(_TORN))]
