"""The Rescuer: brings back the jobs of dead nodes, admits who waits for a place, expires the late.

No leader: it is safe on every node at once, because the dead node's row is locked and its jobs are
taken with SKIP LOCKED. It reads nothing by itself: the Heartbeat's statement brings what it needs.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.death_watch import DeathWatch
from mill_actors.actors.messages import Admit, Beats, FindDead, FindOrphans
from mill_actors.errors import StoreUnavailable
from mill_actors.events import Moved
from mill_actors.jobs.lifecycle import Action, State, move
from mill_actors.store import jobs, nodes
from mill_actors.store.concurrency import admit_waiting
from mill_actors.store.connection import Session
from mill_actors.store.notify import ring_queue
from supervisors import Process, Reason, send_after

logger = logging.getLogger(__name__)

ADMIT_SECONDS = 0.5
ORPHANS_SECONDS = 60.0


class Rescuer(Process):
    """Watches the beats of all nodes."""

    def init(self, context: NodeContext) -> None:
        self._context = context
        self._session = Session(context.database, "mill rescuer")
        node = context.config.node
        self._watch = DeathWatch(node.lease_seconds, 2.5 * node.beat_seconds)
        self._admitting = False
        send_after(ORPHANS_SECONDS, self.actor_ref, FindOrphans())

    def handle(self, message: Beats | FindDead | Admit | FindOrphans) -> None:
        try:
            match message:
                case Beats():
                    self._look(message)
                case FindDead():
                    self._rescue_dead(monotonic())
                case Admit():
                    self._admit()
                case FindOrphans():
                    send_after(ORPHANS_SECONDS, self.actor_ref, FindOrphans())
                    for node in self._session.run(nodes.orphaned_nodes):
                        self._rescue(node, None)
                case _:
                    assert_never(message)
        except StoreUnavailable as error:
            logger.warning("no rescue, the database is away: %s", error.__cause__)
            self._watch.miss()
            self._admitting = False

    def terminate(self, reason: Reason) -> None:
        self._session.close()

    def _look(self, seen: Beats) -> None:
        if seen.beats is None:
            self._watch.miss()
            return
        now = monotonic()
        self._watch.observe(seen.beats, now)
        self._rescue_dead(now)
        due = self._watch.next_death()
        if due is not None and now < due < now + self._context.config.node.beat_seconds:
            # The lease ends before the next read: look then, not up to a beat later.
            send_after(due - now + 0.001, self.actor_ref, FindDead())
        if seen.expiries_wait:
            late = self._session.run(jobs.expire_jobs)
            self._publish(Action.EXPIRE, late, State.QUEUED)
        if seen.admissions_wait and not self._admitting:
            self._admitting = True
            self._admit()

    def _rescue_dead(self, now: float) -> None:
        for node, beat in self._watch.dead(now).items():
            if node != self._context.node:
                self._rescue(node, beat)

    def _rescue(self, node: str, beat: int | None) -> None:
        rescue = self._session.run(lambda connection: nodes.rescue_node(connection, node, beat))
        if rescue is None:
            return
        logger.warning(
            "node %s is dead: %d jobs back in the queue, %d lost, %d cancelled",
            node,
            len(rescue.requeued),
            len(rescue.lost),
            len(rescue.cancelled),
        )
        self._publish(Action.RESCUE, rescue.requeued)
        self._publish(Action.LOSE, rescue.lost)
        self._publish(Action.CANCEL, rescue.cancelled)

    def _admit(self) -> None:
        tags = self._session.run(admit_waiting)
        if tags:
            self._session.run(lambda connection: ring_queue(connection, tags))
        # Those that still wait are looked at again, until a beat says that nobody does.
        self._admitting = self._session.run(nodes.admissions_wait)
        if self._admitting:
            send_after(ADMIT_SECONDS, self.actor_ref, Admit())

    def _publish(
        self, action: Action, ids: list[str] | tuple[str, ...], before: State = State.RUNNING
    ) -> None:
        self._context.events.publish(Moved(action, before, move(before, action), ids))
