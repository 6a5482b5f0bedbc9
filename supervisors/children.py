"""Ask a supervisor about its children. Every call has a timeout, as every `ask` must.

A supervisor that is starting or stopping a child answers nothing else meanwhile. When a
call times out (`pykka.Timeout`) the request may still be carried out later. Never call
these from the `init` or `terminate` of one of that supervisor's own children.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from supervisors import registry
from supervisors.child_spec import SUPERVISOR, Kind
from supervisors.errors import SupervisorError

if TYPE_CHECKING:
    from pykka import ActorRef

    from supervisors.child_spec import ChildSpec, Restart
    from supervisors.registry import Target

QUERY_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 60.0  # more than start_timeout, or a worker's patience


class ChildState(enum.Enum):
    """Whether there is an actor for a child's spec."""

    RUNNING = "running"
    RESTARTING = "restarting"  # between two attempts to start it
    STOPPED = "stopped"  # ended for good, terminated by hand, or ignored at start


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """A child as its supervisor sees it."""

    id: str
    ref: ActorRef[Any] | None
    state: ChildState
    kind: Kind
    restart: Restart | None
    """None for a root."""
    restarts: int


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """How many children there are; supervisors and workers count specs, not actors."""

    specs: int
    active: int
    supervisors: int
    workers: int


@dataclass(frozen=True, slots=True)
class StartChild:
    """Request of `start_child`."""

    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class TerminateChild:
    """Request of `terminate_child`."""

    child: str | ActorRef[Any]


@dataclass(frozen=True, slots=True)
class RestartChild:
    """Request of `restart_child`."""

    child_id: str


@dataclass(frozen=True, slots=True)
class DeleteChild:
    """Request of `delete_child`."""

    child_id: str


@dataclass(frozen=True, slots=True)
class WhichChildren:
    """Request of `which_children` and `count_children`."""


@dataclass(frozen=True, slots=True)
class No:
    """The supervisor's reply when it refuses: raising would end it."""

    error: SupervisorError


def start_child(
    supervisor: Target, spec: ChildSpec, *, timeout: float = CHANGE_SECONDS
) -> ActorRef[Any] | None:
    """Add a child and start it; None when its start said *ignore*.

    It is lost when the supervisor itself is restarted.

    Raises:
        AlreadyStarted, AlreadyPresent: a child of that id exists (not if dynamic).
        TooManyChildren: the dynamic supervisor is full.
        FailedToStartChild: its start raised; the spec is not kept.

    """
    ref: ActorRef[Any] | None = _ask(supervisor, StartChild(spec), timeout)
    return ref


def terminate_child(
    supervisor: Target, child: str | ActorRef[Any], *, timeout: float = CHANGE_SECONDS
) -> None:
    """Stop a child, by id or by ref, without a restart.

    The spec stays, unless temporary or dynamic. Stopping a stopped child is nothing. Under
    a `DynamicSupervisor` ids are labels: all children of that label are stopped.

    Raises:
        ChildNotFound: there is none.

    """
    _ask(supervisor, TerminateChild(child), timeout)


def restart_child(
    supervisor: Target, child_id: str, *, timeout: float = CHANGE_SECONDS
) -> ActorRef[Any] | None:
    """Start a stopped child again; this does not count as a restart.

    Raises:
        ChildNotFound, ChildRunning, ChildRestarting: it cannot be.
        FailedToStartChild: its start raised; it stays stopped.

    """
    ref: ActorRef[Any] | None = _ask(supervisor, RestartChild(child_id), timeout)
    return ref


def delete_child(supervisor: Target, child_id: str, *, timeout: float = QUERY_SECONDS) -> None:
    """Forget the spec of a stopped child.

    Raises:
        ChildNotFound, ChildRunning, ChildRestarting: it cannot be.

    """
    _ask(supervisor, DeleteChild(child_id), timeout)


def which_children(supervisor: Target, *, timeout: float = QUERY_SECONDS) -> list[ChildInfo]:
    """List the children in start order."""
    infos: list[ChildInfo] = _ask(supervisor, WhichChildren(), timeout)
    return infos


def count_children(supervisor: Target, *, timeout: float = QUERY_SECONDS) -> ChildCounts:
    """Count the children."""
    infos = which_children(supervisor, timeout=timeout)
    supervisors = sum(info.kind is SUPERVISOR for info in infos)
    return ChildCounts(
        specs=len(infos),
        active=sum(info.state is ChildState.RUNNING for info in infos),
        supervisors=supervisors,
        workers=len(infos) - supervisors,
    )


def _ask(supervisor: Target, request: object, timeout: float) -> Any:
    reply = registry.ask(supervisor, request, timeout=timeout)
    if isinstance(reply, No):
        raise reply.error
    return reply
