"""Every error this package raises, in one tree.

    SupervisorError
    ├─ StartFailed
    │  ├─ StartTimeout          init took longer than start_timeout
    │  ├─ InitFailed            init raised what is not an Exception (SystemExit, …)
    │  ├─ StartAborted          told to stop, or abandoned, while it was starting
    │  └─ FailedToStartChild    the __cause__ is what the child's start raised
    ├─ InvalidChildSpecs        all faults at once
    ├─ Refused                  a supervisor said no, and lives on
    │  ├─ AlreadyStarted · AlreadyPresent · ChildNotFound
    │  └─ ChildRunning · ChildRestarting · TooManyChildren · NotSupported
    ├─ NameTaken · NameNotFound · NotAProcess · UnexpectedMessage · ProxyRefused · StopsItself
    └─ PortClosed

The first line of a class's docstring is its default message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykka import ActorRef


class SupervisorError(Exception):
    """Something about supervision failed."""

    def __init__(self, message: str | None = None) -> None:
        if message is None:
            message = (type(self).__doc__ or type(self).__name__).partition("\n")[0]
        super().__init__(message)


class StartFailed(SupervisorError):
    """An actor did not start."""


class StartTimeout(StartFailed):
    """The actor's init took too long; the actor was abandoned."""

    def __init__(self, process: str, seconds: float) -> None:
        super().__init__(f"{process}.init took longer than {seconds} s; it was abandoned")
        self.process = process
        self.seconds = seconds


class InitFailed(StartFailed):
    """The actor's init raised something that is not an Exception."""


class StartAborted(StartFailed):
    """The actor was told to stop before it was up."""


class FailedToStartChild(StartFailed):
    """A child's start raised; what it raised is the __cause__."""

    def __init__(self, child_id: str, error: BaseException) -> None:
        super().__init__(f"child {child_id!r} did not start: {error!r}")
        self.child_id = child_id
        self.error = error


class InvalidChildSpecs(SupervisorError):
    """The child specs are not usable; nothing was started."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class Refused(SupervisorError):
    """The supervisor refused the request and lives on."""


class AlreadyStarted(Refused):
    """A child of this id is running."""

    def __init__(self, child_id: str, ref: ActorRef[Any]) -> None:
        super().__init__(f"child {child_id!r} is already started")
        self.child_id = child_id
        self.ref = ref


class AlreadyPresent(Refused):
    """A child of this id is known but not running: restart or delete it."""

    def __init__(self, child_id: str) -> None:
        super().__init__(f"child {child_id!r} is already present, not running")
        self.child_id = child_id


class ChildNotFound(Refused):
    """The supervisor has no such child."""

    def __init__(self, child: object) -> None:
        super().__init__(f"no child {child}")
        self.child = child


class ChildRunning(Refused):
    """The child is running; terminate it first."""

    def __init__(self, child_id: str) -> None:
        super().__init__(f"child {child_id!r} is running")
        self.child_id = child_id


class ChildRestarting(Refused):
    """The child is between two restart attempts."""

    def __init__(self, child_id: str) -> None:
        super().__init__(f"child {child_id!r} is restarting")
        self.child_id = child_id


class TooManyChildren(Refused):
    """The dynamic supervisor is full (OTP's max_children)."""

    def __init__(self, max_children: int) -> None:
        super().__init__(f"there are {max_children} children already")
        self.max_children = max_children


class NotSupported(Refused):
    """This kind of supervisor does not take this request."""


class NameTaken(SupervisorError):
    """The name is held by an actor that has not ended."""

    def __init__(self, name: str, ref: ActorRef[Any]) -> None:
        super().__init__(f"the name {name!r} is held by {ref}")
        self.name = name
        self.ref = ref


class NameNotFound(SupervisorError):
    """No living actor has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no living actor is named {name!r}")
        self.name = name


class NotAProcess(SupervisorError, TypeError):
    """Only refs of `Process` actors can be supervised, monitored and stopped."""

    def __init__(self, thing: object) -> None:
        super().__init__(f"not the ref of a supervisors.Process: {thing!r}")
        self.thing = thing


class UnexpectedMessage(SupervisorError):
    """The actor has no use for this message."""

    def __init__(self, message: object) -> None:
        super().__init__(f"unexpected message: {message!r:.500}")
        self.message = message


class ProxyRefused(SupervisorError):
    """Proxies bypass `handle`, hence crash semantics: a Process takes messages only."""


class StopsItself(SupervisorError):
    """An actor cannot wait for its own end: use `self.exit()`."""


class PortClosed(SupervisorError):
    """`send` after `close`: the process was already told that no more comes."""
