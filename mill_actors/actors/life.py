"""A node from start to stop: its row, its keys, its tree; and again, if it was declared dead.

`Node` is for programs (the demo, the benches, tests); `run_node` is the command: signals, exit
code. One OS process may hold several nodes.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from types import FrameType, TracebackType
from typing import Literal, Self

from pykka import ActorRef
from pykka.debug import log_thread_tracebacks

from mill_actors.actors.context import NodeContext
from mill_actors.actors.node import start_tree
from mill_actors.actors.tree_socket import TreeSocket
from mill_actors.config import Config
from mill_actors.errors import StoreUnavailable
from mill_actors.events import Events
from mill_actors.ids import new_id
from mill_actors.runtimes.preflight import check_runtimes
from mill_actors.store import nodes
from mill_actors.store.connection import Connection, Database, Session
from supervisors import SHUTDOWN, Down, Supervisor, request_stop, stop, unwatch, watch

logger = logging.getLogger(__name__)

#: Beyond the grace, for the last commit; then the tree is abandoned and the Rescuer of another
#: node (or our own next start) brings back what we held.
STOP_SECONDS = 30.0
#: After having been declared dead, a start that finds no database is tried again this often.
START_SECONDS = 1.0

End = Literal["stopped", "fenced", "gave up"]


class Node:
    """One life of a node. `start` blocks until the whole tree is up."""

    def __init__(self, config: Config, database: Database, events: Events | None = None) -> None:
        self.config = config
        self.database = database
        self.id = new_id()
        self.ends: SimpleQueue[End | int] = SimpleQueue()
        self._events = events
        self._session = Session(database, "mill node")
        self._tree: ActorRef[Supervisor] | None = None
        self._socket: TreeSocket | None = None
        self._is_stopping = False
        self.context: NodeContext

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Write the row, read the keys, start the tree. Raises what fails first."""
        worker = self.config.worker
        check_runtimes(self.config)

        def register(connection: Connection) -> dict[str, bytes]:
            nodes.register_node(
                connection,
                self.id,
                self.config.node.name,
                worker.tags,
                [{"name": "worker", "processes": worker.processes, "memory_mb": worker.memory_mb}],
            )
            return nodes.token_keys(connection)

        try:
            keys = self._session.run(register)
        except BaseException:
            self._session.close()
            raise
        self.context = NodeContext(self.id, self.config, self.database, keys, self._fence, self._events)
        try:
            self._tree = start_tree(self.context)
        except BaseException:
            self._close()
            raise
        watch(self._tree, self, self._ended)
        self._socket = TreeSocket.open(self.context, self._tree)

    @property
    def tree(self) -> ActorRef[Supervisor]:
        """The root supervisor."""
        if self._tree is None:
            message = "the node has not been started"
            raise RuntimeError(message)
        return self._tree

    def ask_to_stop(self) -> None:
        """Begin an ordered stop; `ends` tells when it is done."""
        self._is_stopping = True
        try:
            self._session.run(lambda connection: nodes.stop_node(connection, self.id))
        except StoreUnavailable:
            logger.warning("stopping without the database")
        request_stop(self.tree, SHUTDOWN)

    def hurry(self) -> None:
        """Stop waiting for running jobs: they go back to the queue."""
        self.context.hurry.set()

    def stop(self) -> None:
        """Stop in order, and wait: claims end, running jobs get the grace, the rest goes back."""
        if self._tree is None:
            return
        tree, self._tree = self._tree, None
        unwatch(tree, self)
        try:
            self._session.run(lambda connection: nodes.stop_node(connection, self.id))
        except StoreUnavailable:
            logger.warning("stopping without the database")
        stop(tree, SHUTDOWN, self.config.node.grace_seconds + STOP_SECONDS)
        self._close()

    def close_after_end(self) -> None:
        """Clean up behind a tree that has ended by itself or after `ask_to_stop`."""
        self._tree = None
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        try:
            self._session.run(lambda connection: nodes.forget_node(connection, self.id))
        except StoreUnavailable:
            logger.warning("the database is away: this node's row is left to the others")
        self._session.close()
        self.context.close()

    def _fence(self) -> None:
        if not self.context.fenced.is_set():
            self.context.fenced.set()
            self.context.hurry.set()
            self.ends.put("fenced")

    def _ended(self, _: Down) -> None:
        # The reason does not tell: a supervisor that gives up ends with SHUTDOWN too.
        if not self.context.fenced.is_set():
            self.ends.put("stopped" if self._is_stopping else "gave up")


def run_node(
    config: Config,
    database: Database,
    events: Events | None = None,
    started: Callable[[Node], None] | None = None,
) -> int:
    """Run until told to stop; return the exit code. Main thread only.

    SIGTERM and SIGINT: ordered stop, 0. A second one: running jobs go back at once, 0. A third: out,
    1. A tree that gives up: 1. Declared dead by others: start over as a new node. SIGUSR1 logs the
    stack of every thread. `started` is called whenever a node is up.
    """
    signals: SimpleQueue[End | int] = SimpleQueue()

    def on_signal(number: int, _: FrameType | None) -> None:
        signals.put(number)

    handled = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, on_signal) for number in handled}
    previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, log_thread_tracebacks)
    lives = 0
    try:
        while True:
            node = Node(config, database, events)
            node.ends = signals
            try:
                node.start()
            except StoreUnavailable:
                # Whoever starts us is told at once; a life later the outage is waited for.
                if not lives:
                    raise
                logger.warning("not started over yet, the database is away")
                if _was_signalled(signals, START_SECONDS):
                    return 0
                continue
            lives += 1
            logger.info("node %s (%s) is up", node.config.node.name, node.id)
            if started is not None:
                started(node)
            end = _until_end(node, signals)
            if end != "fenced":
                return 0 if end == "stopped" else 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _was_signalled(signals: SimpleQueue[End | int], seconds: float) -> bool:
    try:
        return isinstance(signals.get(timeout=seconds), int)
    except Empty:
        return False


def _until_end(node: Node, signals: SimpleQueue[End | int]) -> End:
    asked = 0
    stopped_at = monotonic()
    while True:
        told = signals.get()
        if isinstance(told, int):
            asked += 1
            if asked == 1:
                logger.info("%s: finishing what runs (again to give it back)", signal.Signals(told).name)
                stopped_at = monotonic()
                node.ask_to_stop()
            elif asked == 2:
                logger.info("giving running jobs back")
                node.hurry()
            else:
                logger.error(
                    "out, after %.1f s: the node's jobs are left to the others", monotonic() - stopped_at
                )
                return "gave up"
        elif told == "fenced":
            node.stop()
            return "stopped" if asked else told
        else:
            node.close_after_end()
            return told
