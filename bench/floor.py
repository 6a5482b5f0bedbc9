"""The floor: what PostgreSQL alone allows, on the same columns and indexes.

A fixed program: claim 500 by the flag, finish 500 by delete and insert, as plain as SQL says it. No
actors, no processes that run code, no logs, no back-pressure, no tiers of priority. Each connection
has a process of its own. Nothing here follows the engine: a floor that moves is none.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg

BATCH = 500

CLAIM = """
update mill.queue
set running = true, node = %(node)s, claim = %(claim)s, worker = 'floor', claimed_at = now()
where id in (
  select id from mill.queue
  where tag = %(tag)s and not running and admitted and scheduled_for <= now()
  order by priority desc, scheduled_for, id
  limit %(batch)s
  for update skip locked)
returning id, path, script, args::text
"""

FINISH = """
with done as (
  select * from unnest(%(ids)s::uuid[], %(results)s::text[]) as d (id, result)
), gone as (
  delete from mill.queue q using done d where q.id = d.id and q.claim = %(claim)s
  returning q.*, d.result
)
insert into mill.completed_job (
  id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, started_at,
  completed_at, duration_us, args, result, created_by, worker, attempt, rescues)
select id, workspace, path, script, tag, priority, 'success', submitted_at, scheduled_for, claimed_at,
  now(), 1, args, result::json, created_by, worker, attempt, rescues
from gone
"""


@contextmanager
def workers(dsn: str, connections: int, tag: str) -> Iterator[Callable[[], tuple[float, int]]]:
    """Start the connections; what is yielded releases them and returns (seconds, jobs)."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(connections + 1)
    results: Any = context.Queue()
    processes = [
        context.Process(target=work, args=(dsn, tag, barrier, results), daemon=True)
        for _ in range(connections)
    ]
    for process in processes:
        process.start()

    def release() -> tuple[float, int]:
        barrier.wait(60)
        began = time.monotonic()
        told = [results.get(timeout=600) for _ in processes]
        # A monotonic clock is the machine's, not the process's: when the last commit was answered.
        return max(ended for ended, _ in told) - began, sum(jobs for _, jobs in told)

    try:
        yield release
        # Their connections stay open until the CPU they used has been read.
        barrier.wait(60)
        for process in processes:
            process.join(30)
            assert process.exitcode == 0, f"a floor process ended with {process.exitcode}"
    finally:
        for process in processes:
            process.kill()


def work(dsn: str, tag: str, barrier: Any, results: Any) -> None:
    """Be one connection."""
    node = uuid4()
    with psycopg.connect(
        dsn, autocommit=True, application_name="mill floor", prepare_threshold=0
    ) as connection:
        barrier.wait(60)
        jobs = 0
        while True:
            claim = uuid4()
            claimed = connection.execute(
                CLAIM, {"node": node, "claim": claim, "tag": tag, "batch": BATCH}
            ).fetchall()
            if not claimed:
                break
            # The number is the only thing of the arguments that the no-op answers with.
            answers = [(str(row[0]), '{"ok":true,"number":' + row[3][10:19] + "}") for row in claimed]
            done = connection.execute(
                FINISH,
                {"ids": [a[0] for a in answers], "results": [a[1] for a in answers], "claim": claim},
            )
            jobs += done.rowcount
        results.put((time.monotonic(), jobs))
        barrier.wait(60)
