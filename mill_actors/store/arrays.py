"""Arrays as Postgres reads them, built at C speed: psycopg's own list dumper costs 1–2 µs an element.

`literal` is for elements that need no quoting (uuids, numbers, words of ours); `JsonArray` and `TextArray`
carry text verbatim in the binary format (documented in Postgres' `src/backend/utils/adt/arrayfuncs.c`,
`array_recv`: dimensions, null flag, element oid, length, lower bound; then length and bytes of each).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from struct import Struct

from psycopg import adapt, pq
from psycopg.adapt import Buffer

JSON_OID = 114
JSON_ARRAY_OID = 199
TEXT_OID = 25
TEXT_ARRAY_OID = 1009

_HEADER = Struct(">iiIii")
_LENGTH = Struct(">i").pack


def literal(elements: Iterable[str]) -> str:
    """Return `{a,b,…}`. The elements must not contain quotes, commas, braces, backslashes or blanks."""
    return "{" + ",".join(elements) + "}"


def numbers(elements: Iterable[float | None]) -> str:
    """Return numbers as an array; None is NULL."""
    return literal(["NULL" if e is None else repr(e) for e in elements])


class JsonArray:
    """JSON texts as one `json[]` parameter; None is NULL."""

    __slots__ = ("elements",)

    def __init__(self, elements: Sequence[bytes | None]) -> None:
        self.elements = elements

    def encode(self) -> bytes:
        """Return the array in the binary format."""
        return _encode(self.elements, JSON_OID)


class TextArray:
    """Any texts as one `text[]` parameter; None is NULL."""

    __slots__ = ("elements",)

    def __init__(self, elements: Sequence[str | None]) -> None:
        self.elements = elements

    def encode(self) -> bytes:
        """Return the array in the binary format; raise UnicodeEncodeError for what is no text."""
        return _encode([None if e is None else e.encode() for e in self.elements], TEXT_OID)


def _encode(elements: Sequence[bytes | None], oid: int) -> bytes:
    if not elements:
        return _HEADER.pack(0, 0, oid, 0, 1)[:12]
    if None in elements:
        parts = [b"\xff\xff\xff\xff" if e is None else _LENGTH(len(e)) + e for e in elements]
        return _HEADER.pack(1, 1, oid, len(elements), 1) + b"".join(parts)
    texts = [e for e in elements if e is not None]
    lengths = map(_LENGTH, map(len, texts))
    return _HEADER.pack(1, 0, oid, len(texts), 1) + b"".join(
        chain.from_iterable(zip(lengths, texts, strict=True))
    )


class JsonArrayDumper(adapt.Dumper):
    """How psycopg sends a `JsonArray`."""

    format = pq.Format.BINARY
    oid = JSON_ARRAY_OID

    def dump(self, obj: JsonArray) -> Buffer:
        """Return the parameter's bytes."""
        return obj.encode()


class TextArrayDumper(adapt.Dumper):
    """How psycopg sends a `TextArray`."""

    format = pq.Format.BINARY
    oid = TEXT_ARRAY_OID

    def dump(self, obj: TextArray) -> Buffer:
        """Return the parameter's bytes."""
        return obj.encode()
