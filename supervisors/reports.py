"""What supervisors do, one record each, to subscribers and to `logging`.

A subscriber is called in the supervisor's thread: it must be short and must not call a
supervisor. What it raises is logged and otherwise ignored. The records go to the logger
`supervisors`: progress at DEBUG, an abandoned child at WARNING, the rest at ERROR.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykka import ActorRef

    from supervisors.reasons import Reason

logger = logging.getLogger("supervisors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A child was started, for the first time or again."""

    kind: ClassVar = "progress"
    level: ClassVar = logging.DEBUG
    supervisor: ActorRef[Any]
    child_id: str
    child: ActorRef[Any]

    def __str__(self) -> str:
        return f"{self.supervisor}: started {self.child_id!r} as {self.child}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartError:
    """A child's start raised."""

    kind: ClassVar = "start_error"
    level: ClassVar = logging.ERROR
    supervisor: ActorRef[Any]
    child_id: str
    error: BaseException

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.child_id!r} did not start: {self.error!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildTerminated:
    """A child ended although nobody had asked it to."""

    kind: ClassVar = "child_terminated"
    level: ClassVar = logging.ERROR
    supervisor: ActorRef[Any]
    child_id: str
    child: ActorRef[Any]
    reason: Reason

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.child_id!r} ended, {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownError:
    """A child that was told to stop ended for another reason."""

    kind: ClassVar = "shutdown_error"
    level: ClassVar = logging.ERROR
    supervisor: ActorRef[Any]
    child_id: str
    child: ActorRef[Any]
    reason: Reason

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.child_id!r} was stopped but ended, {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedMaxRestartIntensity:
    """A child died once too often; its supervisor gives up."""

    kind: ClassVar = "reached_max_restart_intensity"
    level: ClassVar = logging.ERROR
    supervisor: ActorRef[Any]
    child_id: str
    max_restarts: int
    max_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.supervisor}: gives up, {self.child_id!r} was one restart more than"
            f" {self.max_restarts} in {self.max_seconds} s"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildAbandoned:
    """An actor did not stop in time; its thread was left running.

    Supervisor and child id are None when it was stopped by `stop()`.
    """

    kind: ClassVar = "child_abandoned"
    level: ClassVar = logging.WARNING
    supervisor: ActorRef[Any] | None
    child_id: str | None
    child: ActorRef[Any]

    def __str__(self) -> str:
        if self.supervisor is None:
            return f"stop(): abandoned {self.child}"
        return f"{self.supervisor}: abandoned {self.child_id!r}, {self.child}"


Report: TypeAlias = (
    Progress | StartError | ChildTerminated | ShutdownError | ReachedMaxRestartIntensity | ChildAbandoned
)

_subscribers: tuple[Callable[[Report], object], ...] = ()
_lock = threading.Lock()


def subscribe(subscriber: Callable[[Report], object]) -> Callable[[], None]:
    """Have every report of this program; returns what ends the subscription."""
    global _subscribers  # noqa: PLW0603  replaced whole, so publish needs no lock
    with _lock:
        _subscribers = (*_subscribers, subscriber)

    def unsubscribe() -> None:
        global _subscribers  # noqa: PLW0603
        with _lock:
            _subscribers = tuple(each for each in _subscribers if each is not subscriber)

    return unsubscribe


def publish(report: Report) -> None:
    """Log a report and hand it to every subscriber."""
    logger.log(report.level, "%s", report, extra={"report": report.kind})
    for subscriber in _subscribers:
        try:
            subscriber(report)
        except Exception:
            logger.exception("a subscriber to reports failed")
