"""Lines of standard input: read in batches, turned into submissions."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from queue import Empty, Queue
from time import monotonic
from typing import Any, BinaryIO

import msgspec
import orjson

from mill_actors.errors import InvalidArgs
from mill_actors.store.submission import Submission

#: Fields of a submission that a line may set; the others are ours.
OPTIONS = frozenset(Submission.__struct_fields__) - {
    "path",
    "workspace",
    "created_by",
    "awaited",
    "parent_job",
}


#: Lines with their numbers.
Batch = list[tuple[int, bytes]]


class LineReader:
    """Batches of (number, line) from a stream: full ones, or what came before a pause."""

    def __init__(self, stream: BinaryIO, batch: int, patience_seconds: float) -> None:
        self._stream = stream
        self._batch = batch
        self._patience = patience_seconds
        # Bounded: a producer that is faster than the database waits.
        self._lines: Queue[bytes | Exception | None] = Queue(2 * batch)
        # A daemon: it may be waiting for a line that never comes.
        threading.Thread(target=self._read, name="mill-stdin", daemon=True).start()

    def __iter__(self) -> Iterator[Batch]:
        number = 0
        batch: Batch = []
        deadline = 0.0
        while True:
            try:
                wait = None if not batch else max(0.0, deadline - monotonic())
                line = self._lines.get(timeout=wait)
            except Empty:
                yield batch
                batch = []
                continue
            if isinstance(line, Exception):
                raise line
            if line is None:
                break
            number += 1
            if line.strip():
                deadline = monotonic() + self._patience
                batch.append((number, line))
            if len(batch) >= self._batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def _read(self) -> None:
        try:
            for line in self._stream:
                self._lines.put(line)
        except (OSError, ValueError) as error:
            self._lines.put(error)
        self._lines.put(None)


class Lines:
    """What a line means."""

    def __init__(
        self,
        path: str,
        workspace: str,
        user: str,
        defaults: Mapping[str, object],
        *,
        with_options: bool,
        key_field: str | None,
    ) -> None:
        self._fixed = {
            "path": path,
            "workspace": workspace,
            "created_by": user,
            **{name: value for name, value in defaults.items() if value is not None},
        }
        self._with_options = with_options
        self._key_field = key_field

    def read(self, number: int, line: bytes) -> Submission:
        """Return the submission of a line; raise `InvalidArgs` that names the line."""
        if not self._with_options and self._key_field is None:
            # The text goes to the database as it is; here only its shape is looked at.
            self._object(number, line)
            return Submission(args=line.strip(), **self._fixed)  # type: ignore[arg-type]  # checked by _decide
        told = self._object(number, line)
        options: dict[str, Any] = {}
        args: Any = told
        if self._with_options:
            args = told.pop("args", {})
            unknown = sorted(set(told) - OPTIONS)
            if unknown:
                raise _bad(number, f"there is no option {', '.join(unknown)}; arguments go into args")
            if not isinstance(args, dict):
                raise _bad(number, "its args are no JSON object")
            options = told
        if self._key_field is not None:
            options["key"] = _key(number, args, self._key_field)
        try:
            return msgspec.convert({"args": args, **self._fixed, **options}, Submission)
        except msgspec.ValidationError as error:
            raise _bad(number, str(error)) from None

    def _object(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _bad(number, f"is not JSON: {error}") from None
        if not isinstance(told, dict):
            raise _bad(number, "is not a JSON object")
        return told


def _key(number: int, args: dict[str, Any], field: str) -> str:
    value = args.get(field)
    if value is None or isinstance(value, dict | list):
        raise _bad(number, f"has no {field} that could be its key")
    return str(value)


def _bad(number: int, why: str) -> InvalidArgs:
    return InvalidArgs(f"line {number}", why)
