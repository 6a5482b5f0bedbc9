"""Which children a death touches, and what a death means. Pure.

>>> plan(Strategy.REST_FOR_ONE, ["db", "cache", "web"], "cache")
Plan(stop=('web', 'cache'), start=('cache', 'web'))
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from supervisors.child_spec import Restart
from supervisors.reasons import SHUTDOWN, Normal, Reason, Shutdown, is_clean

if TYPE_CHECKING:
    from collections.abc import Sequence


class Strategy(enum.Enum):
    """Which siblings are restarted with a child."""

    ONE_FOR_ONE = "one_for_one"  # none
    ONE_FOR_ALL = "one_for_all"  # all of them
    REST_FOR_ONE = "rest_for_one"  # those started after it


ONE_FOR_ONE: Final = Strategy.ONE_FOR_ONE
ONE_FOR_ALL: Final = Strategy.ONE_FOR_ALL
REST_FOR_ONE: Final = Strategy.REST_FOR_ONE


class Plan(NamedTuple):
    """A restart: what to stop, in this order, then what to start, in this order."""

    stop: tuple[str, ...]
    start: tuple[str, ...]


def plan(strategy: Strategy, ids: Sequence[str], dead: str) -> Plan:
    """Plan the restart of `dead` among its siblings, given in start order.

    The dead one is in both lists: stopping what does not run is nothing. Temporary
    siblings are stopped and then forgotten instead of started; that is up to the caller.

    >>> plan(Strategy.ONE_FOR_ONE, ["a", "b"], "b")
    Plan(stop=('b',), start=('b',))
    >>> plan(Strategy.ONE_FOR_ALL, ["a", "b", "c"], "b")
    Plan(stop=('c', 'b', 'a'), start=('a', 'b', 'c'))
    """
    place = ids.index(dead)
    match strategy:
        case Strategy.ONE_FOR_ONE:
            group = [dead]
        case Strategy.ONE_FOR_ALL:
            group = list(ids)
        case Strategy.REST_FOR_ONE:
            group = list(ids[place:])
        case _:
            assert_never(strategy)
    return Plan(tuple(reversed(group)), tuple(group))


class Next(enum.Enum):
    """What becomes of a child that ended by itself."""

    RESTART = "restart"
    KEEP = "keep"  # its spec stays, without an actor
    FORGET = "forget"  # its spec goes too


class Verdict(NamedTuple):
    """What a supervisor makes of an end it did not ask for."""

    next: Next
    is_error: bool
    """Whether `child_terminated` is reported."""


def judge(restart: Restart, reason: Reason) -> Verdict:
    """Judge an unasked end, clause by clause as OTP's `do_restart/3`.

    >>> from supervisors.reasons import NORMAL
    >>> judge(Restart.PERMANENT, NORMAL)
    Verdict(next=<Next.RESTART: 'restart'>, is_error=True)
    >>> judge(Restart.TRANSIENT, NORMAL)
    Verdict(next=<Next.KEEP: 'keep'>, is_error=False)
    """
    if restart is Restart.PERMANENT:
        return Verdict(Next.RESTART, is_error=True)
    clean = is_clean(reason)
    if restart is Restart.TEMPORARY:
        return Verdict(Next.FORGET, is_error=not clean)
    return Verdict(Next.KEEP if clean else Next.RESTART, is_error=not clean)


def is_expected(restart: Restart, reason: Reason) -> bool:
    """Say whether this is how a child should end that was *told* to shut down.

    >>> from supervisors.reasons import NORMAL
    >>> is_expected(Restart.PERMANENT, NORMAL), is_expected(Restart.TRANSIENT, NORMAL)
    (False, True)
    """
    if restart is Restart.PERMANENT:
        return reason == SHUTDOWN
    return isinstance(reason, Normal | Shutdown)
