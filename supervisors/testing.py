"""What tests of actors need, this package's own and yours: signals, not sleeps.

`Probe` and `Puppet` are actors that record, `FakeClock` moves when told, `leftovers` names what a
test has left behind.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pykka import ActorRegistry

from supervisors import reaper, timers
from supervisors.process import Process
from supervisors.ref import ProcessRef, abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from supervisors.reasons import Reason

T = TypeVar("T")

WAIT_SECONDS: Final = 10.0
SHARED_THREADS: Final = frozenset({timers.THREAD_NAME})


class Signals(Generic[T]):
    """Things that happened, in order; waiting for one fails instead of hanging."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[T] = SimpleQueue()

    def __call__(self, thing: T) -> None:
        """Record; so it can be passed as a callback."""
        self._queue.put(thing)

    def next(self, timeout: float = WAIT_SECONDS) -> T:
        """Wait for the next one."""
        try:
            return self._queue.get(timeout=timeout)
        except Empty:
            msg = f"nothing happened in {timeout} s"
            raise AssertionError(msg) from None

    def take(self, count: int, timeout: float = WAIT_SECONDS) -> list[T]:
        """Wait for the next few."""
        return [self.next(timeout) for _ in range(count)]

    def so_far(self) -> list[T]:
        """Take what has happened already, without waiting."""
        things = []
        while not self._queue.empty():
            things.append(self._queue.get())
        return things


class Probe(Process):
    """Records every message it is told; replies with it."""

    def init(self, seen: Signals[Any]) -> None:
        """Record into `seen`."""
        self.seen = seen

    def handle(self, message: Any) -> object:
        """Record."""
        self.seen(message)
        return message


class Puppet(Process):
    """Records its life as `("init", label)` and `("terminate", label, reason)`.

    A message that is callable is called with the puppet: `ref.tell(Puppet.crash)`,
    `ref.tell(lambda self: self.exit(SHUTDOWN))`. Any other is recorded.
    """

    def init(
        self,
        log: Callable[[Any], object],
        label: str = "",
        start: Callable[[Any], object] | None = None,
        end: Callable[[Any], object] | None = None,
    ) -> None:
        """Record, then do `start`; `end` is for `terminate`."""
        self.log = log
        self.label = label
        self.end = end
        log(("init", label))
        if start is not None:
            start(self)

    def handle(self, message: Any) -> object:
        """Obey."""
        if callable(message):
            reply: object = message(self)
            return reply
        return self.log((self.label, message))

    def terminate(self, reason: Reason) -> None:
        """Record, then do what `init` was given as `end`."""
        self.log(("terminate", self.label, reason))
        if self.end is not None:
            self.end(self)

    def crash(self) -> None:
        """Raise."""
        raise PuppetError(self.label)

    def leave(self) -> None:
        """End with NORMAL."""
        self.exit()


class PuppetError(Exception):
    """A puppet was told to crash."""


class FakeClock:
    """A monotonic clock that moves when told."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def leftovers(before: Collection[threading.Thread], *, patience: float = 2.0) -> list[str]:
    """Name the actors and threads that live now and did not before; waits for the late.

    Threads every program shares (timers) are not counted; nor is the reaper a child.
    """
    deadline = time.monotonic() + patience
    for thread in _strangers(before):
        thread.join(max(0.0, deadline - time.monotonic()))
    found = [f"thread {thread.name}" for thread in _strangers(before)]
    found += [f"actor {ref}" for ref in ActorRegistry.get_all()]
    found += [f"abandoned {ref}" for ref in abandoned()]
    return found


def stop_all_actors() -> None:
    """Ask every actor of the program to end, and wait a moment for each: for clean-up."""
    everybody = ActorRegistry.get_all()
    for ref in everybody:
        if isinstance(ref, ProcessRef):
            ref.life.stop_requested.set()
        _ = ref.stop(block=False)
    for ref in everybody:
        if isinstance(ref, ProcessRef):
            ref.exited.wait(1.0)


def reaper_pid() -> int | None:
    """Tell the pid of the reaper, the one child process that stays."""
    return reaper.reaper.pid


def _strangers(before: Collection[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.name not in SHARED_THREADS
    ]
