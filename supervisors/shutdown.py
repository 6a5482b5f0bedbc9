"""OTP's shutdown protocol: ask, wait, and when that is not enough, let go.

OTP kills after the timeout. A thread cannot be killed, so here the actor is *abandoned*:
everybody else is told that it is dead, its name is free, and its thread is left alone.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from supervisors import reports
from supervisors.errors import StopsItself
from supervisors.reasons import SHUTDOWN, Reason
from supervisors.ref import abandon, process_ref, request_stop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykka import ActorRef


def stop(
    ref: ActorRef[Any],
    reason: Reason = SHUTDOWN,
    timeout: float | None = 5.0,
) -> bool:
    """Ask the actor to end, and wait; False if it had to be abandoned (and reported).

    What is in its inbox is handled first. Harmless for one that has ended or whose init
    still runs. `timeout=None` waits for ever, 0.0 abandons without waiting.
    """
    if shut_down(ref, reason, timeout):
        return True
    reports.publish(reports.ChildAbandoned(supervisor=None, child_id=None, child=ref))
    return False


def shut_down(ref: ActorRef[Any], reason: Reason, timeout: float | None) -> bool:
    """Do what `stop` does, without the report."""
    target = process_ref(ref)
    if target.life.thread == threading.get_ident() and not target.exited.is_set():
        raise StopsItself
    request_stop(target, reason)
    if target.exited.wait(timeout):
        return True
    return not abandon(target)


def shut_down_all(
    group: Iterable[tuple[ActorRef[Any], float | None]],
    reason: Reason = SHUTDOWN,
) -> set[ActorRef[Any]]:
    """Stop many at once, each with its own patience, all counted from now.

    Returns those that had to be abandoned. It takes as long as the longest patience,
    not their sum.
    """
    began = time.monotonic()
    waiting = [(process_ref(ref), timeout) for ref, timeout in group]
    for ref, _ in waiting:
        request_stop(ref, reason)
    stuck: set[ActorRef[Any]] = set()
    # The shortest patience first, so nobody's is stretched by somebody else's.
    waiting.sort(key=lambda pair: float("inf") if pair[1] is None else pair[1])
    for ref, timeout in waiting:
        left = None if timeout is None else max(0.0, began + timeout - time.monotonic())
        if not ref.exited.wait(left) and abandon(ref):
            stuck.add(ref)
    return stuck
