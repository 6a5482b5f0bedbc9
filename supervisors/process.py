"""`Process`: an actor with a start handshake, exit reasons, monitors and one certain end.

The only file that touches private names of Pykka; `tests/supervisors/test_pykka_contract.py`
pins what it relies on. It replaces Pykka's receive loop, so Pykka's own hooks (`on_start`,
`on_receive`, `on_stop`, `on_failure`) are *not* called. Everything below runs in the
actor's own thread unless it says otherwise:

    init(…) → handle(message)* with idle() between → terminate(reason) → Down to the watchers

`init` failed: the caller of `spawn` gets the exception, and `terminate` is not called (as
in OTP: what init has opened, init closes). In every other case `terminate` runs once.
"""

from __future__ import annotations

import logging
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import pykka
from pykka import ActorRef, ActorRegistry
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop

from supervisors import registry
from supervisors.child_spec import WORKER, Kind
from supervisors.errors import InitFailed, ProxyRefused, StartTimeout, UnexpectedMessage
from supervisors.inbox import Inbox, Wake, answer, refuse
from supervisors.life import Down, Life, Stage
from supervisors.reasons import ABANDONED, NORMAL, SHUTDOWN, Crashed, Reason
from supervisors.ref import (
    NOTHING,
    ProcessRef,
    Stop,
    abandon,
    note_return,
    process_ref,
    unwatch,
    watch,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pykka import Future

logger = logging.getLogger("supervisors")

_CONTROL: Final = frozenset({Stop, Wake, _ActorStop, ProxyCall, ProxyGetAttr, ProxySetAttr})


class Process(pykka.ThreadingActor):
    """An actor that can be supervised. Subclass it and write `init` and `handle`.

    Do not override `__init__`: it runs in the caller's thread, without the handshake.
    """

    use_daemon_thread = True  # an abandoned thread must not keep the program alive

    kind: ClassVar[Kind] = WORKER

    idle_every: int = 0
    """When > 0, `idle` is also called after this many messages without a pause."""

    info: Mapping[str, object] = NOTHING
    """What `tree.snapshot` shows of this actor. Replace it whole, never change it: it is
    read from other threads."""

    _actor_ref: ProcessRef[Any]
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __init__(self) -> None:
        super().__init__()
        self._life = Life()
        self._actor_ref = ProcessRef(self, self._life)
        self._watched: dict[str, ProcessRef[Any]] = {}
        self._stop_asked: list[Future[Any]] = []

    # -- starting ------------------------------------------------------------------

    @classmethod
    def spawn(
        cls,
        *args: Any,
        start_timeout: float | None = 30.0,
        parent: ActorRef[Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> ProcessRef[Self]:
        """Start the actor and return once `init(*args, **kwargs)` has succeeded.

        An Exception raised by init is raised here as it is; any other BaseException
        (SystemExit, …) as the cause of an `InitFailed`. `parent` gets the Down of an
        actor that did start. `name` is held until the actor has ended.

        Raises:
            NameTaken: nothing was started.
            StartTimeout: the actor is abandoned; should its init still end, it
                terminates at once.

        """
        actor = cls()
        ref: ProcessRef[Self] = actor._actor_ref
        life = ref.life
        actor._arguments = (args, kwargs)
        if name is not None:
            life.name = name
            registry.register(name, ref)
        try:
            ActorRegistry.register(ref)
            actor._start_actor_loop()
            del actor
            ready = life.ready.wait(start_timeout)
        except BaseException as cause:  # no more threads, or a signal handler raised
            abandon(ref)
            if isinstance(cause, RuntimeError) and life.thread is None:
                life.exited.set()  # there is no thread that could do it
            raise
        if not ready and abandon(ref, only_from=Stage.STARTING):
            assert start_timeout is not None
            raise StartTimeout(cls.__name__, start_timeout)
        error = life.start_error
        if error is not None:
            if life.reason is not ABANDONED:
                life.exited.wait(1.0)  # a formality: only exited.set() is left to do
            if isinstance(error, Exception):
                raise error
            msg = f"{cls.__name__}.init raised {error!r}"
            raise InitFailed(msg) from error
        if parent is not None:
            watch(ref, parent.actor_urn, partial(registry.send, parent))
        return ref

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ProcessRef[Self]:
        """Do the same as `spawn`: Pykka's name for it, with our handshake."""
        return cls.spawn(*args, **kwargs)

    # -- hooks ---------------------------------------------------------------------

    def init(self, *args: Any, **kwargs: Any) -> None:
        """Prepare; keep it short, for the supervisor waits. Never ask the supervisor."""
        if args or kwargs:
            msg = f"{type(self).__name__} has no init, but got arguments"
            raise TypeError(msg)

    def handle(self, message: Any) -> object:
        """Handle one message; what is returned is the reply if it was asked.

        Whatever escapes kills the actor, asked or told; an asker also gets it raised
        (as the cause of an `ActorDeadError` if it is not an Exception).
        """
        raise UnexpectedMessage(message)

    def idle(self) -> None:
        """Do what can wait until no message is waiting: commit a batch, flush a buffer.

        Called whenever the inbox has run empty after at least one handled message, after
        `idle_every` messages if it does not run empty, and once before `terminate` if
        messages were handled since the last time (not after a crash or abandonment).
        """

    def terminate(self, reason: Reason) -> None:
        """Clean up; keep it short. New messages are refused from before it is called.

        Runs once on every path, a crash and a late return from abandonment included;
        not when init failed. An exception here makes the reason `Crashed`.
        """

    # -- for use inside ------------------------------------------------------------

    @property
    def actor_ref(self) -> ProcessRef[Self]:
        """The actor's own ref."""
        return self._actor_ref

    @property
    def name(self) -> str | None:
        """The name it was spawned with."""
        return self._life.name

    @property
    def stop_requested(self) -> threading.Event:
        """Set as soon as somebody wants this actor to stop: long handlers poll it.

        The request itself waits its turn at the tail of the inbox.
        """
        return self._life.stop_requested

    def exit(self, reason: Reason = NORMAL) -> None:
        """End after the current message (or after init); returns at once."""
        if self._life.leaving is None:
            self._life.leaving = reason

    def monitor(self, ref: ActorRef[Any]) -> None:
        """Get one `Down(ref, reason)` when that actor ends: at once if it already has.

        Monitoring twice is monitoring once.
        """
        target = process_ref(ref)
        self._watched[ref.actor_urn] = target
        watch(target, self.actor_urn, self._tell_down)

    def demonitor(self, ref: ActorRef[Any]) -> None:
        """Undo `monitor`; a Down may be in the inbox already."""
        self._watched.pop(ref.actor_urn, None)
        unwatch(ref, self.actor_urn)

    def _tell_down(self, down: Down) -> None:  # runs in the other actor's thread
        self._watched.pop(down.ref.actor_urn, None)
        registry.send(self._actor_ref, down)

    # -- the loop ------------------------------------------------------------------

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def _actor_loop(self) -> None:
        life = self._life
        life.thread = threading.get_ident()
        if life.name is not None:
            threading.current_thread().name = life.name
        try:
            args, kwargs = self._arguments
            del self._arguments
            self.init(*args, **kwargs)
            del args, kwargs
        except BaseException as error:  # noqa: BLE001  the caller of spawn gets it
            life.start_error = error
            self._depart(Crashed(error))
            return
        reason: Reason = ABANDONED
        if life.begin():
            life.ready.set()
            reason = self._receive()
        self.actor_stopped.set()
        self._actor_ref.actor_inbox.close()
        try:
            self.terminate(reason)
        except BaseException as error:
            logger.exception("%s crashed in terminate", self._actor_ref)
            reason = Crashed(error)
        self._depart(reason)

    def _receive(self) -> Reason:
        life = self._life
        inbox = self._actor_ref.actor_inbox
        get, empty = inbox.get, inbox.empty
        handle = self.handle
        idle = None if type(self).idle is Process.idle else self.idle
        limit = self.idle_every or sys.maxsize
        handled = 0
        reply_to: Future[Any] | None = None
        try:
            while life.leaving is None:
                letter = get()
                message = letter.message
                reply_to = letter.reply_to
                if message.__class__ in _CONTROL:
                    self._control(message, reply_to)
                elif reply_to is None:
                    handle(message)
                    handled += 1
                else:
                    reply_to.set(handle(message))
                    handled += 1
                    reply_to = None
                del letter, message  # an idle actor keeps no message alive
                if idle is not None and handled and (handled >= limit or empty()):
                    if life.leaving is ABANDONED:
                        break
                    handled = 0
                    idle()
            if idle is not None and handled and life.leaving is not ABANDONED:
                idle()
        except BaseException as error:
            logger.exception("%s crashed", self._actor_ref)
            if reply_to is not None:
                if isinstance(error, Exception):
                    answer(reply_to, error)
                else:
                    refuse(reply_to, error)
            return Crashed(error)
        return life.leaving

    def _control(self, message: object, reply_to: Future[Any] | None) -> None:
        match message:
            case Stop():
                self.exit(message.reason)
            case _ActorStop():  # somebody used Pykka's own stop()
                self._life.stop_requested.set()
                self.exit(SHUTDOWN)
                if reply_to is not None:
                    self._stop_asked.append(reply_to)
            case ProxyCall() | ProxyGetAttr() | ProxySetAttr():
                if reply_to is not None:
                    answer(reply_to, ProxyRefused())
                else:
                    logger.error("%s: %s", self._actor_ref, ProxyRefused())
            case _:
                pass  # Wake: the loop looks up, that is all

    def _depart(self, reason: Reason) -> None:
        ref, life = self._actor_ref, self._life
        self.actor_stopped.set()
        ref.actor_inbox.close()
        ActorRegistry.unregister(ref)
        for watched in list(self._watched.values()):
            unwatch(watched, self.actor_urn)
        if not life.finish(ref, reason):
            note_return(ref)
            logger.warning("%s, abandoned before, has ended after all: %s", ref, reason)
        for reply_to in self._stop_asked:
            reply_to.set(None)
        life.ready.set()
        life.exited.set()
