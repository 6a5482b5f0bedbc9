"""NOTIFY: the doorbells, and what they carry. Losing one costs only latency.

It takes a database-wide lock at commit, so it follows the commit it tells of, in a transaction of
its own. Only a `Client` inside its caller's own transaction sends it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql

#: payload: tags with work, separated by newlines; empty: look yourself
QUEUE = "mill_queue"
#: What stands before a tag whose work is only a look: a flow under way was woken, or rests until a time.
WOKEN = "~"
#: payload: ids of settled jobs somebody waits for, separated by commas
SETTLED = "mill_settled"
#: payload: the id of a running job whose cancel was asked for
CANCEL = "mill_cancel"
#: payload: `workspace:path` of a script that means another version now
DEPLOY = "mill_deploy"

#: Postgres refuses payloads of 8,000 bytes and more.
MAX_PAYLOAD_BYTES = 7900


def notify(connection: Connection, channel: str, payload: str = "") -> None:
    """Ring once."""
    connection.execute(sql.notify, {"channel": channel, "payload": payload})


def ring_queue(connection: Connection, tags: Iterable[str]) -> None:
    """Tell the Pullers that these tags have work."""
    told = "\n".join(sorted(tags))
    if told:
        notify(connection, QUEUE, told if len(told.encode()) <= MAX_PAYLOAD_BYTES else "")


def ring_settled(connection: Connection, ids: Iterable[str]) -> None:
    """Tell those who wait that these jobs are settled."""
    for payload in _batches(ids):
        notify(connection, SETTLED, payload)


def _batches(ids: Iterable[str]) -> Iterator[str]:
    batch: list[str] = []
    for job in ids:
        batch.append(job)
        if len(batch) * 37 + 37 > MAX_PAYLOAD_BYTES:
            yield ",".join(batch)
            batch = []
    if batch:
        yield ",".join(batch)
