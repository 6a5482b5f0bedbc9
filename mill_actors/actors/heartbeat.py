"""The Heartbeat: one row a node, one statement a beat, however many jobs are in hand.

The same statement reads what the Rescuer needs, and the cancels whose ring was lost: an idle node
costs half a query a second. No row of ours any more: we were declared dead, our jobs are somebody
else's, and the node starts over.
"""

from __future__ import annotations

import logging
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import Beat, Beats, CancelRequested
from mill_actors.errors import StoreUnavailable
from mill_actors.store import nodes
from mill_actors.store.connection import Session
from supervisors import Process, Reason, send, send_after

logger = logging.getLogger(__name__)


class Heartbeat(Process):
    """Says that this node lives."""

    def init(self, context: NodeContext, rescuer: str, pullers: tuple[str, ...]) -> None:
        self._context = context
        self._rescuer = rescuer
        self._pullers = pullers
        self._session = Session(context.database, "mill heartbeat")
        self.actor_ref.tell(Beat())

    def handle(self, message: Beat) -> None:
        match message:
            case Beat():
                self._beat()
            case _:
                assert_never(message)

    def terminate(self, reason: Reason) -> None:
        self._session.close()

    def _beat(self) -> None:
        if self._context.fenced.is_set():
            return  # this life is over; its tree is being stopped
        send_after(self._context.config.node.beat_seconds, self.actor_ref, Beat())
        try:
            told = self._session.run(lambda connection: nodes.beat(connection, self._context.node))
        except StoreUnavailable as error:
            logger.warning("no beat, the database is away: %s", error.__cause__)
            self.info = {"state": "outage"}
            send(self._rescuer, Beats(None))
            return
        if not told.alive:
            logger.error("this node was declared dead; its jobs are rescued, it starts over")
            self._context.fence()
            return
        self.info = {"state": "alive", "nodes": len(told.beats)}
        send(self._rescuer, Beats(told.beats, told.admissions_wait, told.expiries_wait))
        if told.cancels:
            for puller in self._pullers:
                send(puller, CancelRequested(frozenset(told.cancels)))
