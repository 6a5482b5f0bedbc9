"""The Puller: demand → claim → dispatch.

It claims no more than its Runners can work off in `prefetch_seconds`, hands the jobs out, starts
and stops Runners, and knows by count (not by job) what is where. Whatever gets out of step is put
right by `reconcile`: what the database says we hold is compared with what we do hold.

What it does is in the layers below (dispatching, claiming, pinning, reconciling); here is what it hears.
"""

from __future__ import annotations

from time import monotonic
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import (
    Broke,
    CancelRequested,
    Deployed,
    Drain,
    Due,
    Handed,
    Poll,
    Progress,
    Ready,
    Reconcile,
    Release,
    Returned,
    Settled,
    Sweep,
    Wake,
)
from mill_actors.actors.reconciling import Reconciling
from supervisors import (
    Crashed,
    Down,
    ProcessRef,
    Reason,
    send,
    whereis,
)

RECONCILE_SECONDS = 30.0
#: Claims between two looks into the inbox.
CLAIMS_IN_A_ROW = 8


class Puller(Reconciling):
    """One per worker; last to start, first to stop."""

    def init(self, context: NodeContext, worker: str, runners: str, completer: str) -> None:
        super().init(context, worker, runners, completer)
        self._adopt()
        self.actor_ref.tell(Reconcile())
        self._poll_later()

    def handle(
        self,
        message: (
            Progress
            | Settled
            | Wake
            | Returned
            | Handed
            | Ready
            | Broke
            | Poll
            | Due
            | CancelRequested
            | Deployed
            | Reconcile
            | Sweep
            | Down
        ),
    ) -> None:
        match message:
            case Progress():
                self._progress(message)
            case Settled(jobs, result_bytes, flows):
                self._flows_in_hand = max(0, self._flows_in_hand - flows)
                self._unsettled = max(0, self._unsettled - jobs)
                self._unsettled_bytes = max(0, self._unsettled_bytes - result_bytes)
            case Wake(tags):
                self._wake(tags)
            case Returned():
                self._returned(message)
            case Handed(jobs, serial):
                self._handovers = serial
                self._unsettled += len(jobs)
                self._pool.hold(jobs, front=True)
            case Ready(number):
                if (ready := self._pool.handles.get(number)) is not None:
                    ready.ready = True
            case Broke():
                self._broke(message)
            case Poll():
                self._dry = self._flows_dry = self._woken_dry = False
                self._pinning = True
                self._poll_later()
            case Due(later=True):
                self._due_later = False
                self._look_ahead()
            case Due():
                self._dry = self._flows_dry = self._woken_dry = False
            case CancelRequested(jobs):
                self._cancel(jobs)
            case Deployed(name):
                self._pinning = True
                self._pinning_later = False
                if name:
                    self._outdate(name)
            case Reconcile():
                self._reconcile_later(RECONCILE_SECONDS)
                self._release_missing()
            case Sweep():
                self._sweeping = False
                self._sweep()
            case Down(ref):
                self._bury(ref)
            case _:
                assert_never(message)

    def idle(self) -> None:
        """Dispatch and claim, once per drained inbox: credits that arrive together are one claim."""
        if self._pinning:
            self._pin()
        self._dispatch()
        self._retire_obsolete()
        self._claim_flows()
        self._claim_woken()
        for _ in range(CLAIMS_IN_A_ROW):
            if self._dry or self.stop_requested.is_set() or self._context.fenced.is_set():
                break
            demand = self._demand()
            if demand <= 0 or not self._claim(demand):
                break
            self._dispatch()
        else:
            self.actor_ref.tell(Due())
        if self._pool.waiting:
            self._sweep_later()
        self._publish_credit(0)
        self._show()

    def terminate(self, reason: Reason) -> None:
        """On an ordered stop let running jobs end, within the grace; everything else goes back."""
        self._context.credit.tell((), 0)
        for version in list(self._pool.waiting):
            jobs = self._pool.take(version, 1 << 30)
            send(self._completer, Release(jobs))
        # Without a Completer what the jobs answer is lost: they have to run again anyway.
        if not isinstance(reason, Crashed) and whereis(self._completer) is not None:
            self._drain()
        self._session.close()

    def _drain(self) -> None:
        refs = [handle.ref for handle in self._pool.handles.values()]
        for ref in refs:
            send(ref, Drain())
        deadline = monotonic() + self._context.config.node.grace_seconds
        for ref in refs:
            assert isinstance(ref, ProcessRef)
            while not ref.exited.wait(0.05):
                if self._context.hurry.is_set() or monotonic() > deadline:
                    return

    def _show(self) -> None:
        self.info = {
            "state": "dry" if self._dry else "wet",
            "in_hand": self._pool.in_hand,
            "unsettled": self._unsettled,
            "tags": list(self._tags),
        }
