"""What a module may say beside what it runs: when to stop, to retry, to wait, how long it may take."""

from __future__ import annotations

import re
from typing import Any

from mill_actors.flows.checks import (
    Check,
    Inspection,
    anything,
    boolean,
    fields,
    integer,
    items,
    number,
    optional,
    record,
    text,
)
from mill_actors.flows.transforms import expression, transform
from mill_actors.jobs.retry import LONGEST_DELAY_SECONDS

_REFERENCE = re.compile(r"\$(?:res|var):.+")

SECONDS = number()
DURATION = number(above=True)


def predicate(*, after: bool) -> Check:
    """Return a check of what has an expression alone."""
    return record({"expr": expression(after=after)}, ["expr"])


def _exponential(told: Inspection, value: Any, path: str) -> None:
    fields(
        told,
        value,
        path,
        {
            "attempts": integer(0, 1000),
            "multiplier": SECONDS,
            "seconds": SECONDS,
            "random_factor": number(0, 100),
            "max_seconds": number(0, LONGEST_DELAY_SECONDS, above=True),
        },
    )
    match value:
        case {"attempts": int(attempts), "seconds": 0} if attempts > 0:
            told.fault(f"{path}.seconds", "must be above 0: no power of 0 is a delay")
        case _:
            pass


def timeout(told: Inspection, value: Any, path: str) -> None:
    """Check seconds, or what they are told by."""
    (_TIMEOUT if isinstance(value, dict) else DURATION)(told, value, path)


def parallelism(told: Inspection, value: Any, path: str) -> None:
    """Check a number, or what it is told by."""
    (_PARALLELISM if isinstance(value, dict) else integer(1))(told, value, path)


def iterator(told: Inspection, value: Any, path: str) -> None:
    """Check a list, or a reference to one."""
    if not (isinstance(value, str) and _REFERENCE.fullmatch(value)):
        items(anything)(told, value, path)


_TIMEOUT = transform(DURATION)
_PARALLELISM = transform(optional(integer(1)))
STOP = record(
    {
        "expr": expression(after=True),
        "skip_if_stopped": boolean,
        "error_message": optional(text),
        "error_include_result": boolean,
    },
    ["expr"],
)
RETRY = {
    "constant": optional(record({"attempts": integer(0, 1000), "seconds": number(0, LONGEST_DELAY_SECONDS)})),
    "exponential": optional(_exponential),
    "retry_if": optional(predicate(after=True)),
}
SUSPEND = {
    "required_events": integer(0, 65_535),
    "timeout": optional(DURATION),
    "resume_form": optional(record({"schema": optional(record({}))})),
    "user_auth_required": boolean,
    "user_groups_required": optional(transform(optional(items(text)), after=True)),
    "self_approval_disabled": boolean,
    "hide_cancel": boolean,
    "continue_on_disapprove_timeout": boolean,
}
