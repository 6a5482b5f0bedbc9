"""Many jobs of one path, told line by line: the rows are made of the lines, and nothing else.

One COPY a batch, of which the lines are most: 1,000 of them are durable at once. SQL: `sql/submit.sql`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from mill_actors.errors import InvalidArgs
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode
from mill_actors.store.notify import ring_queue
from mill_actors.store.submission import Submission, submit

#: What PostgreSQL says of a row that it refuses.
_AT = re.compile(r"line (\d+)")


class InvalidLine(InvalidArgs):
    """A line is no job's arguments. `index` counts from the first of its batch."""

    def __init__(self, index: int | None, why: str) -> None:
        self.index = index
        super().__init__("the line", why)


def submit_lines(
    connection: Connection, told: Submission, lines: Sequence[bytes], keys: Sequence[str] | None = None
) -> list[str]:
    """Submit a job a line, all or none; return their ids. `told` is what they have in common.

    `keys` make a repeat mean the same jobs. Raises `InvalidLine`, and whatever `submit` raises.
    """
    jobs = [
        replace(told, args=line, key=None if keys is None else keys[place])
        for place, line in enumerate(lines)
    ]
    try:
        done = submit(connection, jobs)
    except InvalidArgs as error:
        raise InvalidLine(_wrong(lines, error), error.why) from error
    ring_queue(connection, done.tags)
    return [receipt.id for receipt in done.receipts]


def _wrong(lines: Sequence[bytes], error: InvalidArgs) -> int | None:
    for place, line in enumerate(lines):
        try:
            if not isinstance(decode(line), dict):
                return place
        except (ValueError, RecursionError):
            return place
    cause: Any = error.__cause__
    found = _AT.search(getattr(getattr(cause, "diag", None), "context", None) or "")
    return None if found is None else int(found[1]) - 1
