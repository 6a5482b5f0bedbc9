"""`Supervisor`: children in a fixed order, restarted by a strategy. OTP's `supervisor`.

It starts them left to right inside its own `init` and stops them in reverse inside its
own `terminate`, whatever ended it, so none is left behind. States of a child:

    STOPPED → RUNNING → (dies) → RUNNING again, or RESTARTING while attempts fail or wait
    any → STOPPED by terminate_child; STOPPED → RUNNING by restart_child

A `Down` names an actor. Siblings stopped in a group restart send theirs afterwards, when
the child has a new actor already: what names an actor we no longer hold is ignored.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from supervisors.child_spec import TEMPORARY, ChildSpec, check, faults
from supervisors.children import (
    ChildState,
    DeleteChild,
    No,
    RestartChild,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    InvalidChildSpecs,
    StartAborted,
)
from supervisors.life import Down
from supervisors.overseer import Child, Overseer, Retry
from supervisors.strategy import ONE_FOR_ONE, Next, Strategy, judge, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pykka import ActorRef

    from supervisors.reasons import Reason


class Supervisor(Overseer):
    """Spawn it with specs, or subclass it and pass them to `super().init(…)`."""

    def init(
        self,
        specs: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy = ONE_FOR_ONE,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the children, left to right; if one fails, stop those and fail.

        `clock` is for the restart window only.

        Raises:
            InvalidChildSpecs: before anything was started.
            FailedToStartChild: no retries on first start.

        """
        specs = list(specs)
        check(specs)
        self.oversee(max_restarts, max_seconds, clock)
        self.strategy = Strategy(strategy)
        self._children = {spec.id: Child(spec) for spec in specs}
        try:
            self._start_first(list(self._children.values()))
        except BaseException:  # terminate is not called when init fails
            self._stop_children()
            raise

    def handle(self, message: Any) -> object:
        """Answer requests, restart the dead."""
        match message:
            case Down(ref, reason):
                self._bury(ref, reason)
            case Retry():
                self._try_again(message)
            case WhichChildren():
                return self.children_now()
            case StartChild(spec):
                return self._start_child(spec)
            case TerminateChild(child):
                return self._terminate_child(child)
            case RestartChild(child_id):
                return self._restart_child(child_id)
            case DeleteChild(child_id):
                return self._delete_child(child_id)
            case _:
                self.ignore(message)
        return None

    def terminate(self, reason: Reason) -> None:
        """Stop the children, last started first."""
        self._stop_children()

    # -- starting and stopping -----------------------------------------------------

    def _start_first(self, children: list[Child]) -> None:
        for child in children:
            if self.stop_requested.is_set():
                raise StartAborted
            failure = self.start_one(child)
            if failure is not None:
                raise failure from failure.error
            self._drop_if_ignored(child)

    def _stop_children(self) -> None:
        for child in reversed(list(self._children.values())):
            self.stop_one(child)

    def _drop_if_ignored(self, child: Child) -> None:
        if child.ref is None and child.spec.restart is TEMPORARY:
            del self._children[child.spec.id]

    # -- restarting ----------------------------------------------------------------

    def _bury(self, ref: ActorRef[Any], reason: Reason) -> None:
        child = next((each for each in self._children.values() if each.ref is ref), None)
        if child is None:
            return  # stale, see the top
        verdict = judge(child.spec.restart, reason)
        self.lose(child, reason, is_error=verdict.is_error)
        if verdict.next is Next.FORGET:
            del self._children[child.spec.id]
        elif verdict.next is Next.RESTART and self.may_restart(child):
            self._stop_group(child)
            if child.spec.restart_delay > 0:
                self.retry_later(child, is_counted=True)
            else:
                self._restart(child)

    def _try_again(self, retry: Retry) -> None:
        child = retry.child
        if child.retry is not retry:
            return  # terminated, or restarted with a group, in the meantime
        if retry.is_counted or self.may_restart(child):
            self._stop_group(child)
            self._restart(child)

    def _stop_group(self, dead: Child) -> None:
        """Stop what the strategy says, last started first; temporary ones are forgotten."""
        for child_id in plan(self.strategy, list(self._children), dead.spec.id).stop:
            child = self._children[child_id]
            self.stop_one(child)
            if child is not dead and child.spec.restart is TEMPORARY:
                del self._children[child_id]

    def _restart(self, dead: Child) -> None:
        """Start what the strategy says, in order, up to the first that fails.

        What is up stays up until the next attempt: `rest_for_one` goes on from the one
        that failed, `one_for_all` stops everything once more.
        """
        for child_id in plan(self.strategy, list(self._children), dead.spec.id).start:
            if self.stop_requested.is_set():
                return  # the request is in the inbox; do not start what it will stop
            child = self._children[child_id]
            if self.start_one(child) is not None:
                self.retry_later(child, is_counted=False)
                return
            child.restarts += 1
            self._drop_if_ignored(child)

    # -- requests ------------------------------------------------------------------

    def _start_child(self, spec: ChildSpec) -> ActorRef[Any] | No | None:
        found = faults([spec])
        if found:
            return No(InvalidChildSpecs(found))
        old = self._children.get(spec.id)
        if old is not None:
            if old.ref is None:
                return No(AlreadyPresent(spec.id))
            return No(AlreadyStarted(spec.id, old.ref))
        child = Child(spec)
        failure = self.start_one(child)
        if failure is not None:
            return No(failure)
        self._children[spec.id] = child
        self._drop_if_ignored(child)
        return child.ref

    def _terminate_child(self, which: str | ActorRef[Any]) -> No | None:
        child = next(
            (each for each in self._children.values() if which in (each.spec.id, each.ref)),
            None,
        )
        if child is None:
            return No(ChildNotFound(which))
        self.stop_one(child)
        if child.spec.restart is TEMPORARY:
            del self._children[child.spec.id]
        return None

    def _restart_child(self, child_id: str) -> ActorRef[Any] | No | None:
        child = self._children.get(child_id)
        if child is None:
            return No(ChildNotFound(child_id))
        if child.state is not ChildState.STOPPED:
            return No(_busy(child))
        failure = self.start_one(child)
        return child.ref if failure is None else No(failure)

    def _delete_child(self, child_id: str) -> No | None:
        child = self._children.get(child_id)
        if child is None:
            return No(ChildNotFound(child_id))
        if child.state is not ChildState.STOPPED:
            return No(_busy(child))
        del self._children[child_id]
        return None


def _busy(child: Child) -> ChildRunning | ChildRestarting:
    is_running = child.state is ChildState.RUNNING
    return (ChildRunning if is_running else ChildRestarting)(child.spec.id)
