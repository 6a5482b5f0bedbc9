"""Cron expressions of six fields, seconds first, as Windmill's schedules have them: checked, not run."""

from __future__ import annotations

import re

from msgspec import Struct

from mill_actors.errors import InvalidArgs

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class _Field(Struct, frozen=True):
    name: str
    least: int
    most: int
    words: tuple[str, ...] = ()
    #: forms of its own: L, W, #
    special: str | None = None


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31, special=r"L|LW|WL|L-([1-9]|[12]\d|30)|([1-9]|[12]\d|3[01])W"),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS, special=r"L|([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)(L|#[1-5]|#L)"),
)
_STEP = re.compile(r"[1-9]\d{0,3}")


def check_cron(text: str) -> None:
    """Raise `InvalidArgs` for what is no expression of six fields.

    >>> check_cron("0 */15 9-17 * * MON-FRI")
    >>> check_cron("0 0 12 L * ?")
    >>> check_cron("* * * * *")
    Traceback (most recent call last):
    ...
    mill_actors.errors.InvalidArgs: * * * * *: a schedule has six fields, seconds first, not 5
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise InvalidArgs(text[:80], f"a schedule has six fields, seconds first, not {len(fields)}")
    for field, told in zip(_FIELDS, fields, strict=True):
        for item in told.upper().split(","):
            if not _is_item(field, item):
                raise InvalidArgs(text[:80], f"{item[:20]!r} is no {field.name}")


def _is_item(field: _Field, item: str) -> bool:
    if field.special is not None and re.fullmatch(field.special, item):
        return True
    span, slash, step = item.partition("/")
    if slash and not _STEP.fullmatch(step):
        return False
    if span in {"*", "?"}:
        return True
    first, dash, last = span.partition("-")
    start = _number(field, first)
    if not dash:
        return start is not None
    end = _number(field, last)
    # Days may go over the end of the week.
    return start is not None and end is not None and (start <= end or bool(field.words))


def _number(field: _Field, text: str) -> int | None:
    if text in field.words:
        return field.words.index(text) + field.least
    if not (text.isascii() and text.isdigit() and len(text) <= 2):
        return None
    number = int(text)
    return number if field.least <= number <= field.most else None
