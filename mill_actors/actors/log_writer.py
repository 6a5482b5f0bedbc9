"""The LogWriter: what running jobs print, batched; the last of it travels with the outcome.

An outage makes it wait, never grow without bound: beyond 64 MB it forgets the newest lines, and
says so in the log of the node.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import assert_never

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import Printed
from mill_actors.store.connection import Connection, Session, is_outage
from mill_actors.store.logs import LogChunk, write_logs, write_what_goes
from supervisors import Process, Reason

logger = logging.getLogger(__name__)

MAX_WAITING_CHARACTERS = 64 * 1024 * 1024


class LogWriter(Process):
    """Writes when nothing more is coming in."""

    idle_every = 100

    def init(self, context: NodeContext) -> None:
        self._session = Session(context.database, "mill log writer")
        self._waiting: list[LogChunk] = []
        self._characters = 0

    def handle(self, message: Printed) -> None:
        match message:
            case Printed(chunks):
                if self._characters > MAX_WAITING_CHARACTERS:
                    logger.error("logs of %d jobs are lost: the database is too slow", len(chunks))
                    return
                self._waiting.extend(chunks)
                self._characters += sum(len(chunk.text) for chunk in chunks)
            case _:
                assert_never(message)

    def idle(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._characters = 0
        if waiting:
            self._session.insist(partial(_write, waiting), self.stop_requested, "logs")

    def terminate(self, reason: Reason) -> None:
        self._session.close()


def _write(chunks: Sequence[LogChunk], connection: Connection, _: int) -> None:
    try:
        write_logs(connection, chunks)
    except Exception as error:
        if is_outage(error):
            raise
        # One piece that Postgres refuses costs neither the others nor this actor.
        write_what_goes(connection, chunks)
