"""One actor's life as seen from outside, and the message about its end.

A `Life` is kept alive by the actor's ref, not by the actor, so it can be asked long
after the end. Its states: STARTING (init runs) → RUNNING → OVER, or STARTING → OVER.
OVER is entered once, by the actor's own thread or by whoever abandons it; the first wins
and delivers every `Down`, and there is exactly one for each watcher.
"""

from __future__ import annotations

import enum
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from supervisors import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pykka import ActorRef

    from supervisors.reasons import Reason

logger = logging.getLogger("supervisors")


@dataclass(frozen=True, slots=True)
class Down:
    """The actor behind `ref` is gone; sent once to each of its watchers."""

    ref: ActorRef[Any]
    reason: Reason


class Stage(enum.Enum):
    """How far a life has come."""

    STARTING = "starting"
    RUNNING = "running"
    OVER = "over"


class Life:
    """How far an actor has come, and who wants to know of its end."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.thread: int | None = None
        self.ready = threading.Event()
        """Init has ended, well or badly."""
        self.start_error: BaseException | None = None
        self.stop_requested = threading.Event()
        self.leaving: Reason | None = None
        """Set to make the actor leave its loop after the current message."""
        self.reason: Reason | None = None
        """Why it ended; None until it has."""
        self.exited = threading.Event()
        """Set as the last act of the actor's thread."""
        self._stage = Stage.STARTING
        self._lock = threading.Lock()
        self._watchers: dict[Hashable, Callable[[Down], object]] = {}

    def begin(self) -> bool:
        """Enter RUNNING; False when the actor was abandoned while it was starting."""
        with self._lock:
            if self._stage is not Stage.STARTING:
                return False
            self._stage = Stage.RUNNING
            return True

    def finish(self, ref: ActorRef[Any], reason: Reason, *, only_from: Stage | None = None) -> bool:
        """Enter OVER, free the name, then tell every watcher.

        False when somebody else did it first (or, with `only_from`, when the stage is
        another). The name is free before OVER can be seen: whoever gets the Down may
        take it.
        """
        with self._lock:
            if self._stage is Stage.OVER or only_from not in {None, self._stage}:
                return False
            if self.name is not None:
                registry.unregister(self.name, ref)
            self._stage = Stage.OVER
            self.reason = reason
            watchers, self._watchers = self._watchers, {}
        down = Down(ref, reason)
        for deliver in watchers.values():
            _deliver(deliver, down)
        return True

    def watch(self, ref: ActorRef[Any], key: Hashable, deliver: Callable[[Down], object]) -> None:
        """Have `deliver` called once with the Down: at the end, or now if that has passed."""
        with self._lock:
            if self._stage is not Stage.OVER:
                self._watchers[key] = deliver
                return
            reason = self.reason
        assert reason is not None
        _deliver(deliver, Down(ref, reason))

    def unwatch(self, key: Hashable) -> None:
        """Forget a watcher; harmless when there is none."""
        with self._lock:
            self._watchers.pop(key, None)


def _deliver(deliver: Callable[[Down], object], down: Down) -> None:
    try:
        deliver(down)
    except Exception:
        logger.exception("a watcher of %s failed", down.ref)
