"""How the Puller gets back in step: what the database says we hold is compared with what we do hold."""

from __future__ import annotations

import logging
from time import monotonic

from pykka import ActorDeadError, Timeout

from mill_actors.actors.attempt import Judge
from mill_actors.actors.messages import (
    Adopt,
    Adopted,
    Cancel,
    CancelFlows,
    Holding,
    Outcomes,
    Reconcile,
)
from mill_actors.actors.pinning import Pinning
from mill_actors.errors import StoreUnavailable
from mill_actors.store import claims
from supervisors import (
    SupervisorError,
    ask,
    send,
    send_after,
    which_children,
)

logger = logging.getLogger(__name__)

ASK_SECONDS = 10.0


class Reconciling(Pinning):
    """What is in nobody's hands goes back."""

    def _adopt(self) -> None:
        """Take over the Runners of the Puller before us."""
        for child in which_children(self._runners):
            if child.ref is None:
                continue
            try:
                told = child.ref.ask(Adopt(self.actor_ref), timeout=ASK_SECONDS)
            except (ActorDeadError, Timeout):
                continue
            if isinstance(told, Adopted):
                handle = self._pool.add(told.runner, child.ref, told.script)
                handle.in_flight = len(told.jobs)
                handle.ready = told.ready
                handle.retiring = told.draining
                self._scripts[told.script.workspace, told.script.hash] = told.script
                self._numbers = max(self._numbers, told.runner)
                self._unsettled += len(told.jobs)
                self.monitor(child.ref)

    def _reconcile_later(self, seconds: float) -> None:
        if self._reconciling is not None:
            self._reconciling.cancel()
        self._reconciling = send_after(seconds, self.actor_ref, Reconcile())

    def _release_missing(self) -> None:
        """Give back what the database says we hold and nobody has.

        The order makes it safe: (1) ask the database, (2) the Runners, (3) the Completer. A job moves
        Runner → Completer → database, so one that is found in neither 2 nor 3 was settled after 1, and
        its fence is gone. One that a Runner has sent back to us is named by that Runner until it has
        arrived; one that we have sent is in front of our question in its inbox.
        """
        try:
            held = self._session.run(lambda c: claims.held_jobs(c, self._holder))
            # Should the count ever be too high, this keeps it from stopping the claims for good.
            self._unsettled = min(self._unsettled, len(held))
            here = {job.id for queue in self._pool.waiting.values() for job in queue.jobs}
            for handle in self._pool.handles.values():
                asked = Holding(handle.returns)
                here |= handle.ref.ask(asked, timeout=ASK_SECONDS)  # type: ignore[arg-type]  # its reply
            asked = Holding(self._handovers, frozenset(here))
            here |= ask(self._completer, asked, timeout=ASK_SECONDS)
            missing = [(job, claim) for job, claim in held.items() if job not in here]
            if not missing:
                return
            released = self._session.run(lambda c: claims.release_jobs(c, missing))
        except (StoreUnavailable, ActorDeadError, Timeout, SupervisorError):
            # A Runner that has just ended brings its own Down; an outage ends.
            self._reconcile_later(1.0)
            return
        if not released:
            return  # settled meanwhile
        logger.warning("%d jobs were in nobody's hands and go back to the queue", len(released))
        self._unsettled = max(0, self._unsettled - len(released))
        self._dry = self._woken_dry = False

    def _bury(self, ref: object) -> None:
        for number, handle in list(self._pool.handles.items()):
            if handle.ref == ref:
                self._pool.remove(number)
                if handle.in_flight > 0:
                    # What it had to say is said (same sender, same order), so it ended with jobs
                    # in its inbox.
                    self._release_missing()
                self._forget(handle)
                break
        self._pinning = True

    def _cancel(self, wanted: frozenset[str]) -> None:
        found = self._pool.take_cancelled(wanted)
        now = monotonic()
        if found:
            send(self._completer, Outcomes([Judge.cancelled(job, 0, now) for job in found]))
        left = wanted - {job.id for job in found}
        if left:
            send(self._completer, CancelFlows(left))
            for handle in self._pool.handles.values():
                send(handle.ref, Cancel(left))
