"""Every legal move of a job, told to in-process subscribers: the log, the counters, a progress bar.

Moves come in batches, as the engine makes them. Subscribers run in the publishing actor's thread:
they must be quick, and one that raises is logged and does no harm.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import Struct

from mill_actors.jobs.lifecycle import Action, State

logger = logging.getLogger(__name__)


class Moved(Struct, frozen=True, gc=False):
    """These jobs made this move; the row says so already."""

    action: Action
    before: State
    after: State
    jobs: Sequence[str]
    worker: str = ""


Subscriber = Callable[[Moved], None]


class Events:
    """The subscribers of one node. `publish` is safe from any thread."""

    def __init__(self) -> None:
        self._subscribers: tuple[Subscriber, ...] = ()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every `Moved` from now on; return what ends that."""
        self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return unsubscribe

    def publish(self, moved: Moved) -> None:
        """Tell everybody; an empty batch is nothing."""
        if not moved.jobs:
            return
        for subscriber in self._subscribers:
            try:
                subscriber(moved)
            except Exception:
                logger.exception("a subscriber of job events failed")


class Counters:
    """How many jobs made each move, since the node started."""

    def __init__(self) -> None:
        self.moves: Counter[Action] = Counter()
        #: finishes whose claim was lost: dropped, whatever their result
        self.stale = 0

    def __call__(self, moved: Moved) -> None:
        """Count a batch."""
        self.moves[moved.action] += len(moved.jobs)


def log(moved: Moved) -> None:
    """Write the moves an operator wants to see; the many quiet ones at debug level."""
    loud = moved.action in (Action.RESCUE, Action.LOSE, Action.EXPIRE)
    level = logging.WARNING if loud else logging.DEBUG
    if logger.isEnabledFor(level):
        names = ", ".join(moved.jobs[:3]) + (
            f" and {len(moved.jobs) - 3} more" if len(moved.jobs) > 3 else ""
        )
        logger.log(level, "%s: %s → %s: %s", moved.action, moved.before, moved.after, names)
