"""An actor's inbox: Pykka's queue with a door that can be shut.

Pykka leaves a window: a sender checks that the actor lives, the actor ends, the envelope
lands in a queue nobody reads, and the asker waits for ever. Here, once the inbox is
closed, whatever lands in it is refused by whoever sees it. No lock is taken for that:

1. the sender puts the envelope, *then* reads `closed`;
2. the closer sets `closed`, *then* empties the queue.

So an envelope that misses the closer's emptying is seen by its own sender.
`SimpleQueue` is in C and reentrant; it is also cheaper than Pykka's `queue.Queue`.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, Full, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from pykka import ActorDeadError

if TYPE_CHECKING:
    from pykka import Future


class Letter(Protocol):
    """What Pykka's envelope looks like from here."""

    message: Any
    reply_to: Future[Any] | None


class Wake:
    """The letter that makes a waiting actor look up; it survives the closing."""

    message: Any
    reply_to: Future[Any] | None = None

    def __init__(self) -> None:
        self.message = self


class Inbox(SimpleQueue[Any]):
    """Letters to one actor; `closed` once nobody will read them."""

    closed = False

    def put(self, letter: Letter, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """Deliver a letter, or refuse it when nobody will read it any more."""
        SimpleQueue.put(self, letter)
        if self.closed:
            self._refuse()

    def close(self) -> None:
        """Refuse what is inside and what is still to come."""
        self.closed = True
        self._refuse()

    def wake(self) -> None:
        """Make the actor look at its state, even when the inbox is closed."""
        self.put(Wake())

    def _refuse(self) -> None:
        wake: Wake | None = None
        with suppress(Empty):
            while True:
                letter = self.get_nowait()
                if isinstance(letter, Wake):
                    wake = letter
                elif letter.reply_to is not None:
                    refuse(letter.reply_to)
        if wake is not None:
            SimpleQueue.put(self, wake)


def refuse(reply_to: Future[Any], cause: BaseException | None = None) -> None:
    """Tell an asker that no answer will come."""
    error = ActorDeadError("the actor ended before it answered")
    error.__cause__ = cause
    answer(reply_to, error)


def answer(reply_to: Future[Any], error: BaseException) -> None:
    """Make the asker's `get` raise `error`."""
    with suppress(Full):  # it has its answer already
        reply_to.set_exception((type(error), error, error.__traceback__))
