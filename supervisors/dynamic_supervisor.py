"""`DynamicSupervisor`: children that come and go, in no order. Elixir's.

It starts empty; children are added with `start_child` and known by their refs (ids are
labels and may repeat). One that ends for good is forgotten. Restarts are one for one.
When it stops, all children stop at the same time, each with its own patience.
"""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

from supervisors.child_spec import ChildSpec, faults
from supervisors.children import (
    DeleteChild,
    No,
    RestartChild,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from supervisors.errors import ChildNotFound, InvalidChildSpecs, NotSupported, TooManyChildren
from supervisors.life import Down
from supervisors.overseer import Child, Overseer, Retry
from supervisors.shutdown import shut_down_all
from supervisors.strategy import Next, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykka import ActorRef

    from supervisors.reasons import Reason


class DynamicSupervisor(Overseer):
    """Spawn it, then `start_child(ref, spec)`."""

    def init(
        self,
        *,
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty. `max_children` counts those that are restarting too."""
        self.oversee(max_restarts, max_seconds, clock)
        self.max_children = max_children
        self._keys = count()  # a child between two actors is kept under a number

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
            case RestartChild() | DeleteChild():
                return No(NotSupported("a dynamic supervisor keeps no spec of a child that ended"))
            case _:
                self.ignore(message)
        return None

    def terminate(self, reason: Reason) -> None:
        """Stop all children at once and wait for them together."""
        children = list(self._children.values())
        for child in children:
            self.forget_retry(child)
        running = [child for child in children if child.ref is not None]
        shut_down_all((child.ref, child.spec.patience) for child in running if child.ref)
        for child in running:
            self.settle(child)

    def _bury(self, ref: ActorRef[Any], reason: Reason) -> None:
        child = self._children.get(ref.actor_urn)
        if child is None:
            return  # terminated by hand a moment ago
        del self._children[ref.actor_urn]
        verdict = judge(child.spec.restart, reason)
        self.lose(child, reason, is_error=verdict.is_error)
        if verdict.next is Next.RESTART and self.may_restart(child):
            if child.spec.restart_delay > 0:
                self._keep_for_retry(child, is_counted=True)
            else:
                self._restart(child)

    def _try_again(self, retry: Retry) -> None:
        child = retry.child
        if child.retry is retry and (retry.is_counted or self.may_restart(child)):
            self._forget(child)
            self._restart(child)

    def _restart(self, child: Child) -> None:
        if self.start_one(child) is not None:
            self._keep_for_retry(child, is_counted=False)
        elif child.ref is not None:
            child.restarts += 1
            self._children[child.ref.actor_urn] = child

    def _keep_for_retry(self, child: Child, *, is_counted: bool) -> None:
        self._children[str(next(self._keys))] = child
        self.retry_later(child, is_counted=is_counted)

    def _forget(self, child: Child) -> None:
        for key, each in list(self._children.items()):
            if each is child:
                del self._children[key]

    def _start_child(self, spec: ChildSpec) -> ActorRef[Any] | No | None:
        found = faults([spec])
        if found:
            return No(InvalidChildSpecs(found))
        if self.max_children is not None and len(self._children) >= self.max_children:
            return No(TooManyChildren(self.max_children))
        child = Child(spec)
        failure = self.start_one(child)
        if failure is not None:
            return No(failure)
        if child.ref is not None:
            self._children[child.ref.actor_urn] = child
        return child.ref

    def _terminate_child(self, which: str | ActorRef[Any]) -> No | None:
        chosen = [child for child in self._children.values() if which in (child.ref, child.spec.id)]
        if not chosen:
            return No(ChildNotFound(which))
        for child in chosen:
            self._forget(child)
            self.stop_one(child)
        return None
