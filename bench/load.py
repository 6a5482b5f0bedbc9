"""Jobs into the queue, and the wait until they are out of it again, checked."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.node_process import NodeProcess
from bench.scripts import ARGS_BYTES, FIRST, RESULT_BYTES, submit_noops
from bench.server import Link
from mill_actors.jobs.script import Script
from mill_actors.store.client import Client

WARM_UP_JOBS = 4_000
WARM_UP_ROUNDS = 30
POLL_SECONDS = 0.02
#: Whatever is slower than this has stopped.
SLOWEST_JOBS_PER_SECOND = 100


def warm_up(client: Client, link: Link, node: NodeProcess, script: Script, first: int = 0) -> int:
    """Run no-ops until the node has every process it may have; return how many there were."""
    done = 0
    for _ in range(WARM_UP_ROUNDS):
        ids = submit_noops(client, script, WARM_UP_JOBS, first=first + done)
        done += len(ids)
        until_empty(link, ids[-1], len(ids), node.check)
        if len(node.languages()) >= node.processes:
            return done
    message = f"not all of its {node.processes} processes are warm after {done} jobs:\n{node.log_tail()}"
    raise AssertionError(message)


def settle_down(link: Link) -> None:
    """Begin alike: statistics fresh, no dead rows, nothing left to write."""
    link.execute("vacuum (analyze) mill.queue")
    link.execute("vacuum (analyze) mill.completed_job")
    link.execute("checkpoint")


def until_empty(link: Link, last: str, jobs: int, check: Callable[[], None] | None = None) -> float:
    """Wait until the queue is empty; return when that was seen.

    One id by its primary key, and only when that is gone the whole table: neither loads the server.
    """
    deadline = time.monotonic() + 30.0 + jobs / SLOWEST_JOBS_PER_SECOND
    while link.scalar("select exists (select from mill.queue where id = %s)", [last]):
        _hope(link, deadline, check)
        time.sleep(POLL_SECONDS)
    while link.scalar("select exists (select from mill.queue)"):
        _hope(link, deadline, check)
        time.sleep(POLL_SECONDS / 4)
    return time.monotonic()


def _hope(link: Link, deadline: float, check: Callable[[], None] | None) -> None:
    if check is not None:
        check()
    if time.monotonic() > deadline:
        rows = link.execute("select running, count(*) from mill.queue group by running").fetchall()
        message = f"the queue does not get empty: {dict(rows)} (running: jobs)"
        raise AssertionError(message)


def verify_noops(link: Link, script: Script, jobs: int) -> None:
    """Raise unless every job is in history once, a success, with its own result and its arguments."""
    row = link.execute(
        """
        select count(*), count(distinct id), count(distinct args->>'number'),
          count(*) filter (where status = 'success' and attempt = 1 and script = %(script)s),
          count(*) filter (where octet_length(args::text) = %(args)s),
          count(*) filter (where octet_length(result::text) = %(result)s
                             and result->>'number' = args->>'number'
                             and (args->>'number')::bigint between %(first)s and %(last)s),
          count(*) filter (where started_at is not null and duration_us is not null and worker is not null)
        from mill.completed_job where script = %(script)s
        """,
        {
            "script": script.hash,
            "args": ARGS_BYTES,
            "result": RESULT_BYTES,
            "first": FIRST,
            "last": FIRST + jobs - 1,
        },
    ).fetchone()
    assert row is not None
    names = ("rows", "ids", "numbers", "successes", "arguments", "results", "times")
    told = dict(zip(names, row, strict=True))
    assert all(count == jobs for count in row), f"{jobs} jobs should have come to as many of each: {told}"
