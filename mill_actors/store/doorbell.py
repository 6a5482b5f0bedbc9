"""The LISTEN connection of a node: off the pooler, opened anew after an outage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import psycopg

from mill_actors.errors import StoreUnavailable
from mill_actors.store.connection import Connection, Database

# LISTEN takes no parameter, so each channel has its statement.
_LISTEN: tuple[LiteralString, ...] = ("listen mill_queue", "listen mill_cancel", "listen mill_deploy")


class Doorbell:
    """Used from one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None

    @property
    def is_connected(self) -> bool:
        """Whether rings are heard; what rang while they were not is lost."""
        return self._connection is not None

    def connect(self) -> None:
        """Hear every channel a node needs; raise `StoreUnavailable`."""
        connection = self._database.connect(direct=True, name="mill listener")
        try:
            for statement in _LISTEN:
                connection.execute(statement)
        except psycopg.Error as error:
            connection.close()
            raise StoreUnavailable from error
        self._connection = connection

    def rings(self, patience_seconds: float) -> Iterator[tuple[str, str]]:
        """Yield (channel, payload) of what rings within that time; raise `StoreUnavailable`."""
        if self._connection is None:
            return
        try:
            for ring in self._connection.notifies(timeout=patience_seconds):
                yield ring.channel, ring.payload
        except psycopg.Error as error:
            self.close()
            raise StoreUnavailable from error

    def close(self) -> None:
        """Hear nothing more; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
