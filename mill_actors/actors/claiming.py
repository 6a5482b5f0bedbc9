"""The Puller's mouth: how much it claims, of what, and when.

States of its attention: DRY (the last claim found less than it asked for: wait for a ring, a due time or
the poll) and WET (claim again as soon as there is demand). Dedicated flows are claimed apart, by what
keeps their own Runners busy; flows under way that somebody has to look at, whatever is busy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from time import monotonic

from mill_actors.actors.dispatching import Dispatching
from mill_actors.actors.messages import (
    Begin,
    Due,
    Poll,
)
from mill_actors.errors import StoreUnavailable
from mill_actors.events import Moved
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.lifecycle import Action, State
from mill_actors.store import claims
from mill_actors.store.connection import Connection
from mill_actors.store.flow_versions import FLOW_TAG
from mill_actors.store.holder import Holder
from mill_actors.store.notify import WOKEN
from supervisors import (
    send,
    send_after,
)

#: Jobs the Completer may have before we claim more; and their results' bytes.
MAX_UNSETTLED = 6000
MAX_UNSETTLED_BYTES = 64 * 1024 * 1024
#: Flows under way that are looked at in one batch.
MAX_WOKEN = 200
#: Dedicated flows in hand, beyond which a round only takes longer.
MAX_FLOWS_IN_HAND = 400
#: Due times are looked up no more often than this.
DUE_SECONDS = 0.2


class Claiming(Dispatching):
    """Demand and claims."""

    def _wake(self, tags: frozenset[str] | None) -> None:
        if tags is None or not tags.isdisjoint(self._tags):
            self._dry = False
        if tags is None or not tags.isdisjoint(self._flow_tags):
            self._flows_dry = False
        if tags is None or any(tag.startswith(WOKEN) for tag in tags):
            self._woken_dry = False

    def _demand(self) -> int:
        if self._unsettled > MAX_UNSETTLED or self._unsettled_bytes > MAX_UNSETTLED_BYTES:
            return 0
        appetite = self._pool.appetite
        demand = appetite - self._pool.in_hand
        # Under load claims of a quarter or more: the statement's own cost is shared by more jobs.
        return demand if demand >= appetite // 4 else 0

    def _claim(self, demand: int) -> bool:
        """Claim up to `demand` jobs; False if there is nothing to dispatch."""
        claim = new_id()
        tags = self._tags

        def work(connection: Connection, failed: int) -> list[ClaimedJob]:
            if failed:
                held = claims.claimed_jobs(connection, self._holder, claim)
                if held:
                    return held
            return claims.claim_jobs(connection, self._holder, claim, tags, demand)

        jobs = self._session.insist(work, self.stop_requested, "claim")
        if jobs is None:
            return False
        if len(tags) > 1:
            # Tags of equal priority take turns at being first; but what has begun goes before what has not.
            turned = [*tags[1:], tags[0]]
            self._tags = [tag for tag in turned if tag != FLOW_TAG] + [FLOW_TAG] * (FLOW_TAG in turned)
        stopped_short = any(job.rescues for job in jobs) or (
            sum(job.args_bytes for job in jobs) >= claims.MAX_CLAIM_BYTES // 2
        )
        if len(jobs) < demand and not stopped_short:
            self._dry = True
        if not jobs:
            self._look_ahead()
            return False
        self._unsettled += len(jobs)
        self._context.events.publish(
            Moved(Action.CLAIM, State.QUEUED, State.RUNNING, [job.id for job in jobs], self._holder.worker)
        )
        flows = [job for job in jobs if job.is_flow]
        if flows:
            self._publish_credit(len(jobs) - len(flows))
            send(self._completer, Begin(flows))
            jobs = [job for job in jobs if not job.is_flow]
        self._pool.hold(jobs)
        if self._dry:
            self._dispatch()
            self._look_ahead()
        return True

    def _claim_flows(self) -> None:
        """Claim dedicated flows, as many as keep their Runners busy; the Completer holds them."""
        if not self._flow_tags or self._flows_dry:
            return
        if self.stop_requested.is_set() or self._context.fenced.is_set():
            return
        wanted = min(MAX_FLOWS_IN_HAND, max(1, self._pool.pipeline))
        demand = wanted - self._flows_in_hand
        if demand <= 0 or demand < wanted // 4:
            return
        tags = self._flow_tags
        jobs = self._take_flows(claims.claim_jobs, tags, demand)
        self._flow_tags = [*tags[1:], tags[0]]
        self._flows_dry = jobs is not None and jobs < demand
        if self._flows_dry:
            self._look_ahead()

    def _claim_woken(self) -> None:
        """Claim flows under way that somebody has to look at, however busy the Runners are."""
        if self._woken_dry or self.stop_requested.is_set() or self._context.fenced.is_set():
            return
        tags = [*self._flow_tags, *self._tags]
        jobs = self._take_flows(claims.claim_woken_flows, tags, MAX_WOKEN) if tags else 0
        self._woken_dry = jobs is not None and jobs < MAX_WOKEN
        if self._woken_dry:
            self._look_ahead()

    def _take_flows(
        self,
        take: Callable[[Connection, Holder, str, Sequence[str], int], list[ClaimedJob]],
        tags: Sequence[str],
        limit: int,
    ) -> int | None:
        """Claim flows and give them to the Completer; return how many, None if we were stopped."""
        claim = new_id()

        def work(connection: Connection, failed: int) -> list[ClaimedJob]:
            held = claims.claimed_jobs(connection, self._holder, claim) if failed else []
            return held or take(connection, self._holder, claim, tags, limit)

        jobs = self._session.insist(work, self.stop_requested, "claim flows")
        if not jobs:
            return None if jobs is None else 0
        self._flows_in_hand += sum(job.is_flow and job.tag != FLOW_TAG for job in jobs)
        self._unsettled += len(jobs)
        self._context.events.publish(
            Moved(Action.CLAIM, State.QUEUED, State.RUNNING, [job.id for job in jobs], self._holder.worker)
        )
        flows = [job for job in jobs if job.is_flow]
        send(self._completer, Begin(flows))
        # Somebody may have submitted a script under a flow's tag.
        self._pool.hold([job for job in jobs if not job.is_flow])
        return len(jobs)

    def _look_ahead(self) -> None:
        """Set a timer for the next scheduled job; asked seldom, because a poll comes anyway."""
        now = monotonic()
        if now - self._due_asked < DUE_SECONDS:
            if not self._due_later:
                self._due_later = True
                send_after(DUE_SECONDS, self.actor_ref, Due(later=True))
            return
        self._due_asked = now
        try:
            seconds = self._session.run(lambda c: claims.next_due_seconds(c, [*self._tags, *self._flow_tags]))
        except StoreUnavailable:
            send_after(DUE_SECONDS, self.actor_ref, Due())
            return
        if seconds is not None and seconds < self._limits.poll_seconds:
            send_after(max(0.0, seconds) + 0.001, self.actor_ref, Due())

    def _poll_later(self) -> None:
        pause = self._limits.poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311  jitter
        send_after(pause, self.actor_ref, Poll())

    def _publish_credit(self, taken: int) -> None:
        """Tell the Completer what the next steps of flows find room for."""
        tags = () if self.stop_requested.is_set() or self._context.fenced.is_set() else self._tags
        self._context.credit.tell(tags, self._pool.appetite - self._pool.in_hand - taken)
