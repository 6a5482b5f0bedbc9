"""`ProcessRef`: an actor seen from outside, and what anybody may do to it.

Nothing here waits or takes the actor's attention, except `request_stop`, whose request
queues behind the other messages.
"""

from __future__ import annotations

import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pykka import ActorRef, ActorRegistry

from supervisors import registry
from supervisors.errors import NotAProcess, StartAborted
from supervisors.reasons import ABANDONED, SHUTDOWN, Reason

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Hashable, Mapping

    from supervisors.inbox import Inbox
    from supervisors.life import Down, Life, Stage
    from supervisors.process import Process

P = TypeVar("P", bound="Process")

NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class Stop:
    """The message that asks an actor to end."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class ProcessRef(ActorRef[P]):
    """A Pykka ref that also knows its actor's life; safe to share between threads."""

    actor_inbox: Inbox
    life: Life

    def __init__(self, actor: P, life: Life) -> None:
        super().__init__(actor)
        self.life = life
        self._actor = weakref.ref(actor)

    def __str__(self) -> str:
        return f"{self.life.name or self.actor_class.__name__} ({self.actor_urn[-12:]})"

    @property
    def exited(self) -> threading.Event:
        """Set as the last act of the actor's thread, after `terminate` and every Down."""
        return self.life.exited

    @property
    def exit_reason(self) -> Reason | None:
        """Why the actor ended; None while it has not."""
        return self.life.reason

    def info(self) -> Mapping[str, object]:
        """Read what the actor shows of itself, from any thread, without asking it."""
        actor = self.actor()
        return NOTHING if actor is None else actor.info

    def actor(self) -> P | None:
        """Look at the actor itself, for what is safe to read from other threads."""
        return self._actor()


_abandoned: set[ProcessRef[Any]] = set()


def process_ref(ref: ActorRef[Any]) -> ProcessRef[Any]:
    """Narrow a ref; a plain Pykka actor has no life to look at."""
    if not isinstance(ref, ProcessRef):
        raise NotAProcess(ref)
    return ref


def watch(ref: ActorRef[Any], key: Hashable, deliver: Callable[[Down], object]) -> None:
    """Call `deliver(Down)` once when the actor ends: now if it has.

    It runs in the ending actor's thread, so it must be short. For actors there is
    `Process.monitor`; this is for what is not an actor. The key is for `unwatch`.
    """
    process_ref(ref).life.watch(ref, key, deliver)


def unwatch(ref: ActorRef[Any], key: Hashable) -> None:
    """Undo `watch`; harmless when there is nothing to undo."""
    process_ref(ref).life.unwatch(key)


def inbox_depth(ref: ActorRef[Any]) -> int:
    """Count the messages that wait, from any thread, without asking the actor."""
    return process_ref(ref).actor_inbox.qsize()


def request_stop(ref: ActorRef[Any], reason: Reason = SHUTDOWN) -> None:
    """Ask an actor to end once it has handled what is in its inbox; does not wait."""
    process_ref(ref).life.stop_requested.set()
    registry.send(ref, Stop(reason))


def abandon(ref: ActorRef[Any], *, only_from: Stage | None = None) -> bool:
    """Treat an actor as dead although its thread still runs; False if it had ended.

    Its name is freed, its inbox refuses, its watchers get `Down(ref, ABANDONED)`. Should
    its thread come back, it terminates at once with that reason.
    """
    target = process_ref(ref)
    life = target.life
    if not life.finish(target, ABANDONED, only_from=only_from):
        return False
    _abandoned.add(target)
    life.leaving = ABANDONED
    life.stop_requested.set()
    if not life.ready.is_set():  # whoever waits in spawn must not wait for its init
        life.start_error = StartAborted("the actor was abandoned while its init ran")
        life.ready.set()
    target.actor_stopped.set()
    ActorRegistry.unregister(target)
    target.actor_inbox.close()
    target.actor_inbox.wake()
    return True


def note_return(ref: ProcessRef[Any]) -> None:
    """Note that an abandoned actor's thread has come to its end."""
    _abandoned.discard(ref)


def abandoned() -> list[ProcessRef[Any]]:
    """List the actors that were abandoned and whose threads still run."""
    for ref in list(_abandoned):
        if ref.exited.is_set():  # it ended while abandon() was adding it
            _abandoned.discard(ref)
    return list(_abandoned)
