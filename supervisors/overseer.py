"""What `Supervisor` and `DynamicSupervisor` have in common: care for one child at a time.

It starts a child and watches it, stops it and judges how it ended, counts restarts, and
gives up. Which children, and in which order, is the business of the two subclasses.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pykka import ActorRef

from supervisors import reports
from supervisors.child_spec import SUPERVISOR, ChildSpec
from supervisors.children import ChildInfo, ChildState
from supervisors.errors import FailedToStartChild, NotAProcess, SupervisorError
from supervisors.intensity import Restarts, add_restart
from supervisors.process import Process
from supervisors.reasons import SHUTDOWN, Abandoned, Reason
from supervisors.ref import ProcessRef
from supervisors.registry import send
from supervisors.shutdown import shut_down
from supervisors.strategy import is_expected
from supervisors.timers import Timer, send_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


logger = logging.getLogger("supervisors")


@dataclass(slots=True, eq=False)
class Child:
    """A spec and what became of it; changed only in its supervisor's thread."""

    spec: ChildSpec
    ref: ProcessRef[Any] | None = None
    state: ChildState = ChildState.STOPPED
    restarts: int = 0
    retry: Retry | None = None
    timer: Timer | None = None

    def info(self) -> ChildInfo:
        """Describe it; torn between two moments at worst when called from outside."""
        spec = self.spec
        return ChildInfo(spec.id, self.ref, self.state, spec.kind, spec.restart, self.restarts)


@dataclass(frozen=True, slots=True, eq=False)
class Retry:
    """The supervisor's note to itself to try a start; void unless it is the child's latest."""

    child: Child
    is_counted: bool
    """Whether this attempt was counted as a restart when its child died."""


class Overseer(Process):
    """The part of a supervisor that does not know about siblings."""

    kind = SUPERVISOR

    def __init__(self) -> None:
        super().__init__()
        self._children: dict[str, Child] = {}  # in start order
        self._restarts: Restarts = ()

    def oversee(self, max_restarts: int, max_seconds: float, clock: Callable[[], float]) -> None:
        """Take the flags; the first thing an `init` does."""
        if max_restarts < 0 or max_seconds <= 0:
            msg = f"max_restarts={max_restarts} and max_seconds={max_seconds} make no window"
            raise SupervisorError(msg)
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._clock = clock

    @classmethod
    def spawn(
        cls,
        *args: Any,
        start_timeout: float | None = None,
        parent: ActorRef[Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> ProcessRef[Self]:
        """Return once all children are up.

        Without `start_timeout` of its own, since every child has one.
        """
        return super().spawn(*args, start_timeout=start_timeout, parent=parent, name=name, **kwargs)

    def children_now(self) -> list[ChildInfo]:
        """Describe the children, in start order; safe from any thread, takes no lock."""
        return [child.info() for child in list(self._children.values())]

    def start_one(self, child: Child) -> FailedToStartChild | None:
        """Start one child; the failure, already reported, is returned."""
        try:
            child.ref = _started(child.spec.start())
        except BaseException as error:  # noqa: BLE001  SystemExit in a start is a failure too
            self.report_start_error(child, error)
            failure = FailedToStartChild(child.spec.id, error)
            failure.__cause__ = error
            return failure
        child.retry = child.timer = None
        if child.ref is None:
            child.state = ChildState.STOPPED
            return None
        child.state = ChildState.RUNNING
        self.monitor(child.ref)
        reports.publish(reports.Progress(supervisor=self.actor_ref, child_id=child.spec.id, child=child.ref))
        return None

    def stop_one(self, child: Child) -> None:
        """Stop one child, whatever it is doing, and have it STOPPED afterwards.

        Its Down, if it is under way already, names an actor we no longer hold.
        """
        self.forget_retry(child)
        ref = child.ref
        if ref is not None:
            shut_down(ref, SHUTDOWN, child.spec.patience)
            self.settle(child)
        child.state = ChildState.STOPPED

    def settle(self, child: Child) -> None:
        """Let go of a child that was told to stop, and report if it ended otherwise."""
        ref = child.ref
        assert ref is not None
        child.ref = None
        child.state = ChildState.STOPPED
        self.demonitor(ref)
        reason = ref.exit_reason
        assert reason is not None
        if isinstance(reason, Abandoned):
            reports.publish(
                reports.ChildAbandoned(supervisor=self.actor_ref, child_id=child.spec.id, child=ref)
            )
        elif not is_expected(child.spec.restart, reason):
            reports.publish(
                reports.ShutdownError(
                    supervisor=self.actor_ref,
                    child_id=child.spec.id,
                    child=ref,
                    reason=reason,
                )
            )

    def lose(self, child: Child, reason: Reason, *, is_error: bool) -> None:
        """Let go of a child that ended by itself."""
        ref = child.ref
        assert ref is not None
        child.ref = None
        child.state = ChildState.STOPPED
        if is_error:
            reports.publish(
                reports.ChildTerminated(
                    supervisor=self.actor_ref,
                    child_id=child.spec.id,
                    child=ref,
                    reason=reason,
                )
            )

    def may_restart(self, child: Child) -> bool:
        """Count a restart; when it is one too many, give up: exit, children and all."""
        self._restarts, too_many = add_restart(
            self._restarts,
            self._clock(),
            max_restarts=self.max_restarts,
            max_seconds=self.max_seconds,
        )
        if too_many:
            reports.publish(
                reports.ReachedMaxRestartIntensity(
                    supervisor=self.actor_ref,
                    child_id=child.spec.id,
                    max_restarts=self.max_restarts,
                    max_seconds=self.max_seconds,
                )
            )
            self.exit(SHUTDOWN)  # terminate stops the children
        return not too_many

    def retry_later(self, child: Child, *, is_counted: bool) -> None:
        """Put the next attempt behind what is in the inbox, or behind the restart delay."""
        child.state = ChildState.RESTARTING
        child.retry = Retry(child, is_counted)
        if child.spec.restart_delay > 0:
            child.timer = send_after(child.spec.restart_delay, self.actor_ref, child.retry)
        else:
            send(self.actor_ref, child.retry)

    def forget_retry(self, child: Child) -> None:
        """Make an attempt that is still to come void."""
        if child.timer is not None:
            child.timer.cancel()
        child.retry = child.timer = None

    def report_start_error(self, child: Child, error: BaseException) -> None:
        """Report that a child's start raised."""
        reports.publish(reports.StartError(supervisor=self.actor_ref, child_id=child.spec.id, error=error))

    def ignore(self, message: object) -> None:
        """Log a message no supervisor understands: a stray one must not end the tree."""
        logger.error("%s got an unexpected message: %.500r", self.actor_ref, message)


def _started(ref: ActorRef[Any] | None) -> ProcessRef[Any] | None:
    if ref is None or isinstance(ref, ProcessRef):
        return ref
    if isinstance(ref, ActorRef):  # a plain Pykka actor: it was just started for us
        _ = ref.stop(block=False)
    raise NotAProcess(ref)
