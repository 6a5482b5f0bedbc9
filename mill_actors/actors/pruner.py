"""The Pruner: partitions ahead, history behind, expired keys. Safe on every node at once.

Small and resumable: each round does a bounded piece, first one minute after the start.
"""

from __future__ import annotations

import logging
import random
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import Prune
from mill_actors.errors import StoreUnavailable
from mill_actors.store.connection import Session
from mill_actors.store.maintenance import prune
from supervisors import Process, Reason, send_after

logger = logging.getLogger(__name__)

FIRST_SECONDS = 60.0
ROUND_SECONDS = 3600.0


class Pruner(Process):
    """One round an hour."""

    def init(self, context: NodeContext) -> None:
        self._retention = context.config.retention
        self._session = Session(context.database, "mill pruner")
        send_after(FIRST_SECONDS * random.uniform(0.5, 1.0), self.actor_ref, Prune())  # noqa: S311  jitter

    def handle(self, message: Prune) -> None:
        match message:
            case Prune():
                send_after(ROUND_SECONDS * random.uniform(0.8, 1.2), self.actor_ref, Prune())  # noqa: S311  jitter
                try:
                    pruned = self._session.run(
                        lambda connection: prune(
                            connection, int(self._retention.completed_days), int(self._retention.logs_days)
                        )
                    )
                except StoreUnavailable as error:
                    logger.warning("not pruned, the database is away: %s", error.__cause__)
                else:
                    logger.info("pruned: %s", pruned)
            case _:
                assert_never(message)

    def terminate(self, reason: Reason) -> None:
        self._session.close()
