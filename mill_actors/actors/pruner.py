"""The Pruner: partitions ahead, history behind, expired keys. Safe on every node at once.

Small and resumable: each round does a bounded piece, first one minute after the start.
"""

from __future__ import annotations

import logging
import random
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import DeleteDue, Prune
from mill_actors.errors import StoreUnavailable
from mill_actors.runtimes.warm import shared_folders
from mill_actors.store.connection import Session
from mill_actors.store.maintenance import delete_due, open_flows, prune
from supervisors import Process, Reason, send_after

logger = logging.getLogger(__name__)

FIRST_SECONDS = 60.0
ROUND_SECONDS = 3600.0
#: How often it is looked for arguments and results that are to be deleted.
DELETE_SECONDS = 30.0


class Pruner(Process):
    """One round an hour."""

    def init(self, context: NodeContext) -> None:
        self._retention = context.config.retention
        self._session = Session(context.database, "mill pruner")
        self._folders = shared_folders(context.config)
        send_after(FIRST_SECONDS * random.uniform(0.5, 1.0), self.actor_ref, Prune())  # noqa: S311  jitter
        send_after(DELETE_SECONDS * random.uniform(0.5, 1.0), self.actor_ref, DeleteDue())  # noqa: S311  jitter

    def handle(self, message: Prune | DeleteDue) -> None:
        match message:
            case DeleteDue():
                self._delete_due()
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
                    self._sweep_shared()
            case _:
                assert_never(message)

    def _sweep_shared(self) -> None:
        """Remove folders that flows shared whose worker died before it could."""
        try:
            alive = self._session.run(open_flows)
        except StoreUnavailable:
            return
        self._folders.sweep(alive)

    def _delete_due(self) -> None:
        try:
            wait = self._session.run(delete_due)
        except StoreUnavailable as error:
            logger.warning("nothing is deleted, the database is away: %s", error.__cause__)
            wait = None
        pause = DELETE_SECONDS if wait is None else min(DELETE_SECONDS, max(1.0, wait))
        send_after(pause, self.actor_ref, DeleteDue())

    def terminate(self, reason: Reason) -> None:
        self._session.close()
