"""How what `main` returned becomes JSON.

First try: orjson (json without it) as fast as it goes, with a hook for the types below. If
that fails, `_plain` walks the value and either turns it into plain JSON values or raises
`Failure` naming the type and where it is. NaN and infinities become null, bytes base64,
sets and iterators lists, Decimal, UUID and paths strings, timedelta seconds, an Enum its
value, a dataclass or model its fields, a DataFrame a list of rows, each an object.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import sys
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .failures import Failure

try:
    import orjson
except ImportError:  # the interpreter of a script need not have it
    orjson = None  # type: ignore[assignment]  # a module by default

_DEPTH = 250  # orjson stops at 254; the same without it

_LISTED: tuple[type[Collection[Any]], ...] = (
    set, frozenset, tuple, collections.deque, range,
    type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip
_WRITTEN = (decimal.Decimal, uuid.UUID, pathlib.PurePath)
_TIMES = (datetime.datetime, datetime.date, datetime.time)


def _table(value: Any) -> Any:
    """Return the rows of a table, the list of a series or array, the number of a scalar."""
    library = type(value).__module__.partition(".")[0]
    if library == "pandas":
        if hasattr(value, "columns"):
            return value.to_dict(orient="records")
        if value is sys.modules["pandas"].NA:
            return None
    if library == "polars":
        for name in ("to_dicts", "to_list"):
            if hasattr(value, name):
                return getattr(value, name)()
    if library in {"numpy", "pandas"} and hasattr(value, "tolist"):
        if getattr(getattr(value, "dtype", None), "kind", "") in {"M", "m"}:
            value = value.astype(f"{value.dtype.kind}8[us]")  # in ns, tolist() gives integers
        return value.tolist()
    raise TypeError


def _simpler(value: Any) -> Any:
    """Return one step of a value towards JSON; `TypeError` if there is none."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, _TIMES):
        return None if value != value else value.isoformat()  # noqa: PLR0124 - pandas.NaT
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, _WRITTEN):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, _LISTED):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, type):
        raise TypeError
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    kind = type(value)
    if hasattr(kind, "__struct_fields__"):  # msgspec
        return {name: getattr(value, name) for name in kind.__struct_fields__}
    if hasattr(kind, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in kind.__attrs_attrs__}
    if hasattr(kind, "model_dump"):  # pydantic
        return value.model_dump()
    return _table(value)


def _plain(value: Any, path: str, above: tuple[int, ...]) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, enum.Enum):
        return _plain(value.value, path, above)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if id(value) in above:
        raise Failure("InvalidResult", f"the result contains itself at {path}")
    if len(above) >= _DEPTH:
        raise Failure("InvalidResult", f"the result is nested deeper than {_DEPTH} levels")
    within = (*above, id(value))
    if isinstance(value, dict):
        return {_key(key, path): _plain(item, f"{path}.{key}", within) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{at}]", within) for at, item in enumerate(value)]
    try:
        simpler = _simpler(value)
    except TypeError:
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise Failure(
            "InvalidResult", f"the result holds a {kind} at {path}, which JSON cannot express"
        ) from None
    return _plain(simpler, path, within)


def _key(key: Any, path: str) -> str:
    plain = _plain(key, f"{path} (a key)", ())
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, (bool, int, float)):
        return json.dumps(plain)
    raise Failure("InvalidResult", f"a key at {path} is a {type(key).__name__}, not a string")


def _is_deep(value: Any) -> bool:
    """Say whether a value that json has encoded is nested deeper than orjson would encode it."""
    level = [value]
    for _ in range(_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, Mapping) else container)
            if isinstance(item, (dict, list, tuple))
        ]
        if not level:
            return False
    return True


def encoder(limit: int) -> Callable[[Any], bytes]:
    """Return the function that encodes results of at most `limit` bytes."""
    if orjson is not None:
        dumps = orjson.dumps
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
        with_keys = options | orjson.OPT_NON_STR_KEYS

        def fast(value: Any) -> bytes:
            try:
                return dumps(value, _simpler, options)
            except TypeError:  # maybe only for a key that is no string
                return dumps(value, _simpler, with_keys)

    else:
        write = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_simpler).encode

        def fast(value: Any) -> bytes:
            data = write(value).encode()
            if data.count(b"[") + data.count(b"{") > _DEPTH and _is_deep(value):
                raise ValueError
            return data

    def encode(value: Any) -> bytes:
        data = None
        try:
            data = fast(value)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S110 - the slow way finds out what is wrong and where
            pass
        if data is None:  # not above, or the first error would stand in the stack of the second
            data = _slow(value)
        if len(data) > limit:
            raise Failure(
                "ResultTooLarge",
                f"the result has {len(data)} bytes, {limit} are allowed",
                size=len(data),
                limit=limit,
            )
        return data

    return encode


def _slow(value: Any) -> bytes:
    plain = _plain(value, "result", ())
    try:
        # ASCII only: lone surrogates have no UTF-8, but an escape in JSON.
        return json.dumps(plain, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:  # an int of more than 4,300 digits
        raise Failure("InvalidResult", f"the result cannot be written: {error}") from None
