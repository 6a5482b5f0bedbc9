"""A node as a process of its own, that says on its standard output what happens to it.

Started by `engine.py` with the settings as JSON; the database is in DATABASE_URL or in the file
mill.toml of its folder, as it would be for users.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path

from mill_actors.actors.life import Node, run_node
from mill_actors.cli.own_process import become_node
from mill_actors.config import load
from mill_actors.events import Events, Moved
from mill_actors.store.connection import Database

_lock = threading.Lock()


def say(**what: object) -> None:
    with _lock:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


class Said(logging.Handler):
    """Log records as lines."""

    def emit(self, record: logging.LogRecord) -> None:
        say(kind="log", level=record.levelname, text=self.format(record))


def main() -> None:
    flags = json.loads(sys.argv[1])
    config = load(flags, os.environ, Path.cwd())
    logging.basicConfig(level=logging.INFO, handlers=[Said()])
    become_node(config.node.name)
    events = Events()

    def moved(move: Moved) -> None:
        say(kind="moved", action=move.action.value, jobs=list(move.jobs))

    def started(node: Node) -> None:
        say(kind="up", node=node.id)

    events.subscribe(moved)
    assert config.database_url is not None
    code = run_node(config, Database(config.database_url), events, started)
    say(kind="over", code=code)
    if code:
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
