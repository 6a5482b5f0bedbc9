"""The floor: the same jobs claimed and finished by plain SQL, with their real arguments and results.

No actors, no processes: what PostgreSQL alone takes for them on this machine.
`python -m bench drain` measures it thoroughly; the statements are the bench's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic
from uuid import uuid4

import psycopg

from bench.floor import BATCH, CLAIM, FINISH
from mill_actors.store.client import Client
from mill_actors.store.submission import Submission

_FORGET_QUEUED = "delete from mill.queue where tag = %(tag)s"
# By the index on (workspace, completed_at): the history may be long.
_FORGET_COMPLETED = """
delete from mill.completed_job
where workspace = %(workspace)s and completed_at >= now() - interval '5 minutes' and tag = %(tag)s
"""


def measure_floor(client: Client, events: Sequence[Submission], results: Sequence[str]) -> float:
    """Return jobs a second, the better of one and two connections; each gets half of the events.

    `results` are the events' own, as text. The rows are removed again.
    """
    half = len(events) // 2
    return max(
        _measure(client, events[:half], results[:half], connections=1),
        _measure(client, events[half:], results[half:], connections=2),
    )


def _measure(
    client: Client, events: Sequence[Submission], results: Sequence[str], *, connections: int
) -> float:
    tag = f"demo-floor-{os.getpid()}"  # which no worker serves
    with ExitStack() as stack:
        links = [
            stack.enter_context(psycopg.connect(client.database.dsn, autocommit=True, prepare_threshold=0))
            for _ in range(connections)
        ]
        stack.callback(_forget, links[0], {"tag": tag, "workspace": client.workspace})
        receipts = client.submit_many(
            [Submission(path=e.path, args=e.args, workspace=e.workspace, tag=tag) for e in events]
        )
        answers = {receipt.id: result for receipt, result in zip(receipts, results, strict=True)}
        threads = stack.enter_context(ThreadPoolExecutor(connections))
        began = monotonic()
        done = [threads.submit(_work_off, link, tag, answers) for link in links]
        assert sum(each.result() for each in done) == len(events)
        return len(events) / (monotonic() - began)


def _work_off(link: psycopg.Connection, tag: str, answers: Mapping[str, str]) -> int:
    """Claim and finish until nothing is left; return how many."""
    node = uuid4()
    jobs = 0
    while True:
        claim = uuid4()
        claimed = link.execute(CLAIM, {"node": node, "claim": claim, "tag": tag, "batch": BATCH}).fetchall()
        if not claimed:
            return jobs
        ids = [str(row[0]) for row in claimed]
        done = link.execute(FINISH, {"ids": ids, "results": [answers[job] for job in ids], "claim": claim})
        jobs += done.rowcount


def _forget(link: psycopg.Connection, of: Mapping[str, str]) -> None:
    link.execute(_FORGET_QUEUED, of)
    link.execute(_FORGET_COMPLETED, of)
