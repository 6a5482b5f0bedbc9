"""How a job's arguments reach `main`, or another entry point: by name, checked before the call.

The signature is read once, at import. A job whose argument names are those of the signature
costs one comparison of key sets; everything else goes through `_bind`. Values are passed as
JSON gave them, except where the annotation is `datetime`, `date` or `bytes` (alone, optional
or annotated) and the value is a string: then ISO 8601 and base64 are decoded, as in Windmill.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from .failures import Failure

Arguments = dict[str, Any]
Call = Callable[[Arguments], tuple[list[Any], Arguments]]

#: The argument that names the function to call instead of `main`.
OVERRIDE = "_ENTRYPOINT_OVERRIDE"

_NOT_GIVEN: tuple[object, ...] = (None, "<function call>")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _date(text: str) -> datetime.date:
    # A date may come as a full timestamp, from a Date of JavaScript.
    return datetime.datetime.fromisoformat(text).date()


_CONVERTERS: dict[object, tuple[str, Callable[[str], Any]]] = {
    datetime.datetime: ("an ISO 8601 timestamp", datetime.datetime.fromisoformat),
    datetime.date: ("an ISO 8601 date", _date),
    bytes: ("base64", _bytes),
}


def _plain(annotation: Any) -> object:
    """Return the type inside `X | None`, `Optional[X]` and `Annotated[X, ...]`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if origin in {typing.Union, types.UnionType}:
        inner = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
        return _plain(inner[0]) if len(inner) == 1 else None
    return annotation


def _read(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # noqa: BLE001 - an annotation may name what only a type checker knows
        return inspect.signature(function)


class Signature:
    """A function that jobs call, and its parameters, read once."""

    def __init__(self, function: Callable[..., Any], *, name: str = "main", lenient: bool) -> None:
        self.function = function
        self.name = name
        self.lenient = lenient
        self.text = ""
        self.names: frozenset[str] = frozenset()
        self.required: list[str] = []
        self.positional: list[str] = []
        self.collects: str | None = None
        self.takes_rest = False
        self.converters: dict[str, tuple[str, Callable[[str], Any]]] = {}
        positional_only = False
        try:
            signature = _read(function)
        except (TypeError, ValueError):  # a callable written in C may have none
            self.takes_rest = True
            self.is_simple = False
            return
        self.text = f"{name}{signature.replace(return_annotation=signature.empty)}"
        names = []
        for argument, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                self.takes_rest = True
                continue
            names.append(argument)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.collects = argument
                continue
            if parameter.default is parameter.empty:
                self.required.append(argument)
            if parameter.kind is not parameter.KEYWORD_ONLY:
                self.positional.append(argument)
            positional_only |= parameter.kind is parameter.POSITIONAL_ONLY
            converter = _CONVERTERS.get(_hashable(_plain(parameter.annotation)))
            if converter is not None:
                self.converters[argument] = converter
        self.names = frozenset(names)
        self.by_position = positional_only or self.collects is not None
        self.is_simple = not (
            self.by_position or self.converters or self.takes_rest or lenient or OVERRIDE in self.names
        )

    def bind(self, given: Any) -> tuple[list[Any], Arguments]:
        """Return the positional and the named arguments of the call, or raise `Failure`."""
        if type(given) is not dict:
            raise self._wrong(f"the arguments are {type(given).__name__}, not an object")
        if self.lenient:
            given = self._as_windmill(given)
        missing = [name for name in self.required if name not in given]
        if missing:
            raise self._wrong(f"missing {_listed(missing)}")
        unknown = [name for name in given if name not in self.names]
        if unknown and not self.takes_rest:
            raise self._wrong(f"unknown {_listed(unknown)}")
        named = {name: self._converted(name, value) for name, value in given.items()}
        return self._positions(named) if self.text and self.by_position else ([], named)

    def _as_windmill(self, given: Arguments) -> Arguments:
        # Windmill leaves a default alone when it gets null (or its form's "<function call>"),
        # passes None for what is missing, and drops what main does not take.
        kept = {
            name: value
            for name, value in given.items()
            if (name in self.names or self.takes_rest) and (name in self.required or value not in _NOT_GIVEN)
        }
        for name in self.required:
            kept.setdefault(name, None)
        return kept

    def _converted(self, name: str, value: Any) -> Any:
        if type(value) is not str or name not in self.converters:
            return value
        form, convert = self.converters[name]
        try:
            return convert(value)
        except (ValueError, binascii.Error) as error:
            raise self._wrong(f"'{name}' is not {form}: {error}") from None

    def _positions(self, named: Arguments) -> tuple[list[Any], Arguments]:
        rest = named.pop(self.collects, None) or [] if self.collects else []
        if type(rest) is not list:
            raise self._wrong(f"'{self.collects}' is not a list")
        positional = []
        for name in self.positional:
            if name not in named:
                if rest:
                    raise self._wrong(f"missing '{name}', which stands before *{self.collects}")
                break
            positional.append(named.pop(name))
        return positional + rest, named

    def _wrong(self, what: str) -> Failure:
        return Failure("InvalidArgs", f"{what}; the script has {self.text or f'{self.name}(...)'}")


def _hashable(kind: object) -> object:
    return kind if isinstance(kind, type) else None


def _listed(names: list[str]) -> str:
    word = "argument" if len(names) == 1 else "arguments"
    return f"{word} {', '.join(repr(name) for name in names)}"
