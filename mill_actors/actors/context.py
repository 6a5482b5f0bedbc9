"""What all actors of one node share: where the database is, who we are, what we were told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from mill_actors.actors.credit import Credit
from mill_actors.config import Config
from mill_actors.events import Counters, Events, log
from mill_actors.store.claims import Holder
from mill_actors.store.connection import Database
from mill_actors.store.nodes import token_keys


class NodeContext:
    """One life of a node. Everything here is read-only after the start or thread-safe.

    `hurry` is set by the second interrupt: whoever waits for running jobs stops waiting.
    `fence` is called when our row is gone: the node was declared dead and must start over.
    """

    def __init__(
        self,
        node: str,
        config: Config,
        database: Database,
        keys: Mapping[str, bytes],
        fence: Callable[[], None],
        events: Events | None = None,
    ) -> None:
        self.node = node
        self.name = config.node.name
        self.config = config
        self.database = database
        self._token_keys = dict(keys)
        self.fence = fence
        self.hurry = threading.Event()
        self.fenced = threading.Event()
        self.events = events or Events()
        self.counters = Counters()
        self.credit = Credit()
        self._subscriptions = [self.events.subscribe(self.counters), self.events.subscribe(log)]

    def close(self) -> None:
        """End this life's part in the events, which may outlive it."""
        for unsubscribe in self._subscriptions:
            unsubscribe()

    def token_key(self, workspace: str) -> bytes:
        """Return the key that signs a workspace's tokens; blocks once for one made after our start."""
        key = self._token_keys.get(workspace)
        if key is None:
            with self.database.connect() as connection:
                self._token_keys = token_keys(connection)
            key = self._token_keys[workspace]
        return key

    def holder(self, worker: str) -> Holder:
        """Return how a worker's claims are signed."""
        return Holder(self.node, f"{self.name}/{worker}")

    def address(self, name: str) -> str:
        """Return an actor's name in the registry: nodes of one program don't collide."""
        return f"{self.node}/{name}"
