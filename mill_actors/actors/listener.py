"""The Listener: one LISTEN connection for the whole node, off the pooler.

States: CONNECTING (backoff, in the actor) → LISTENING. Losing a ring costs only latency, so after
each connect everybody is told to look once.
"""

from __future__ import annotations

import logging
import random
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import CancelRequested, Deployed, Listen, Wake
from mill_actors.errors import StoreUnavailable
from mill_actors.store.connection import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from mill_actors.store.doorbell import Doorbell
from mill_actors.store.notify import CANCEL, DEPLOY, QUEUE
from supervisors import Process, Reason, send, send_after

logger = logging.getLogger(__name__)

#: How long the thread is away from its inbox. Nothing but a stop waits there.
PATIENCE_SECONDS = 0.25


class Listener(Process):
    """Turns rings into messages to the Pullers."""

    def init(self, context: NodeContext, pullers: tuple[str, ...]) -> None:
        self._context = context
        self._pullers = pullers
        self._doorbell = Doorbell(context.database)
        self._pause = FIRST_PAUSE_SECONDS
        self.actor_ref.tell(Listen())

    def handle(self, message: Listen) -> None:
        match message:
            case Listen():
                delay = self._listen()
            case _:
                assert_never(message)
        if delay:
            send_after(delay, self.actor_ref, Listen())
        else:
            self.actor_ref.tell(Listen())

    def terminate(self, reason: Reason) -> None:
        self._doorbell.close()

    def _listen(self) -> float:
        try:
            if not self._doorbell.is_connected:
                self._doorbell.connect()
                self._pause = FIRST_PAUSE_SECONDS
                self.info = {"state": "listening"}
                self._tell(Wake())
                self._tell(Deployed(""))
            for channel, payload in self._doorbell.rings(PATIENCE_SECONDS):
                self._ring(channel, payload)
        except StoreUnavailable as error:
            logger.warning("the doorbell is away, polling goes on: %s", error.__cause__ or error)
            self.info = {"state": "connecting"}
            pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311  jitter, no secret
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            return pause
        return 0.0

    def _ring(self, channel: str, payload: str) -> None:
        if channel == QUEUE:
            self._tell(Wake(frozenset(payload.split("\n")) if payload else None))
        elif channel == CANCEL:
            self._tell(CancelRequested(frozenset(payload.split(","))))
        elif channel == DEPLOY:
            self._tell(Deployed(payload))

    def _tell(self, message: object) -> None:
        for puller in self._pullers:
            send(puller, message)
