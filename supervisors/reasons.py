"""Why an actor ended: the values a `Down` message, a report and `terminate` carry.

`NORMAL` and `SHUTDOWN` are clean: a transient child that ends so is not restarted.
`Shutdown(detail)` is OTP's `{shutdown, Term}`: clean as well, with a word about why.
`Abandoned` is ours alone: a thread cannot be killed, so one that did not stop in time
is left to itself, and the rest of the program goes on as if it were dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "ABANDONED",
    "NORMAL",
    "SHUTDOWN",
    "Abandoned",
    "Crashed",
    "Normal",
    "Reason",
    "Shutdown",
    "is_clean",
]


@dataclass(frozen=True, slots=True)
class Normal:
    """The actor had nothing left to do."""

    def __str__(self) -> str:
        return "normal"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The actor was asked to stop, or a supervisor gave up."""

    detail: object = None

    def __str__(self) -> str:
        return "shutdown" if self.detail is None else f"shutdown: {self.detail}"


@dataclass(frozen=True, slots=True)
class Crashed:
    """An exception escaped from `init`, `handle`, `idle` or `terminate`."""

    exception: BaseException

    def __str__(self) -> str:
        return f"crashed: {self.exception!r}"


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The actor did not stop (or start) in time and was left running, detached."""

    def __str__(self) -> str:
        return "abandoned"


Reason: TypeAlias = Normal | Shutdown | Crashed | Abandoned

NORMAL: Final = Normal()
SHUTDOWN: Final = Shutdown()
ABANDONED: Final = Abandoned()


def is_clean(reason: Reason) -> bool:
    """Say whether a transient child that ended so may rest.

    >>> is_clean(NORMAL), is_clean(Shutdown("gave up")), is_clean(ABANDONED)
    (True, True, False)
    """
    return isinstance(reason, Normal | Shutdown)
