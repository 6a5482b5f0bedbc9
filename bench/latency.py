"""latency: one job at a time on an idle node, from `Client.run` to the result it returns.

The client is in the bench's process and the node in its own; the processes are warm. Beside it the
floor: what the same three commits (submit, claim, finish) and one NOTIFY, heard on another
connection, cost in plain SQL.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any
from uuid import uuid4

import orjson
import psycopg

from bench.load import settle_down, verify_noops, warm_up
from bench.node_process import NodeProcess
from bench.report import Run, console
from bench.scripts import FIRST, LANGUAGES, arguments, noop
from bench.server import Link, Server, work_folder
from mill_actors.jobs.script import Script
from mill_actors.store.client import Client

JOBS = 1_000
QUICK_JOBS = 200
WARM_UP_JOBS = 100
RUN_SECONDS = 10.0


def run(server: Server, jobs: int) -> Run:
    """Measure once: the floor, then both languages, each on an idle database of its own."""
    p50, p99, longest = {}, {}, {}
    for language in LANGUAGES:
        times = latencies(server, language, jobs)
        p50[language], p99[language] = percentile(times, 50), percentile(times, 99)
        longest[language] = times[-1]
    floor = floor_latencies(server, jobs)
    return {
        "p50_ms": (p50["python"], "ms"),
        "p99_ms": (p99["python"], "ms"),
        "max_ms": (longest["python"], "ms"),
        "bun_p50_ms": (p50["bun"], "ms"),
        "bun_p99_ms": (p99["bun"], "ms"),
        "bun_max_ms": (longest["bun"], "ms"),
        "floor_p50_ms": (percentile(floor, 50), "ms"),
        "floor_p99_ms": (percentile(floor, 99), "ms"),
        "jobs": (jobs, "jobs"),
    }


def latencies(server: Server, language: str, jobs: int) -> list[float]:
    """Return the milliseconds of `jobs` runs in sequence, sorted."""
    script = noop(language)
    with (
        work_folder("node") as folder,
        server.database() as dsn,
        Client(dsn) as client,
        closing(Link(dsn)) as link,
    ):
        client.deploy(script)
        node = NodeProcess(dsn, folder)
        try:
            with console.status(f"{language}: warming up"):
                warm = warm_up(client, link, node, script)
                settle_down(link)
                for place in range(WARM_UP_JOBS):
                    _run(client, script, warm + place)
            warm += WARM_UP_JOBS
            processes = {process.pid for process in node.languages()}
            with console.status(f"{language}: {jobs:,} jobs, one after the other"):
                times = sorted(_run(client, script, warm + place) for place in range(jobs))
            after = {process.pid for process in node.languages()}
            assert after == processes, "the processes were not the warm ones"
            verify_noops(link, script, warm + jobs)
            node.stop()
        finally:
            node.kill()
    return times


def _run(client: Client, script: Script, place: int) -> float:
    args = arguments(place)
    began = time.perf_counter()
    result = client.run(script.path, args, timeout=RUN_SECONDS)
    spent = time.perf_counter() - began
    assert result.value == {"ok": True, "number": FIRST + place}, f"not its result: {result}"
    return spent * 1000.0


def floor_latencies(server: Server, jobs: int) -> list[float]:
    """Return the milliseconds of three plain commits and a NOTIFY, sorted."""
    with server.database() as dsn, closing(Link(dsn)) as link:
        with (
            psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection,
            psycopg.connect(dsn, autocommit=True) as listening,
        ):
            listening.execute("listen mill_bench")
            for _ in range(WARM_UP_JOBS):
                _plain(connection, listening)
            times = sorted(_plain(connection, listening) for _ in range(jobs))
        rows = link.scalar("select count(*) from mill.completed_job where status = 'success'")
        assert rows == jobs + WARM_UP_JOBS, f"the floor finished {rows} jobs"
    return times


def _plain(connection: psycopg.Connection[Any], listening: psycopg.Connection[Any]) -> float:
    job, claim = uuid4(), uuid4()
    args, result = orjson.dumps(arguments(0)).decode(), f'{{"ok":true,"number":{FIRST}}}'
    told = {"id": job, "claim": claim, "args": args, "result": result}
    execute: Callable[..., object] = connection.execute
    began = time.perf_counter()
    execute(
        "insert into mill.queue (id, workspace, path, script, tag, args, args_bytes, created_by) "
        "values (%(id)s, 'default', 'f/bench/noop', '0123456789abcdef', 'python3', %(args)s, 100, 'u/admin')",
        told,
    )
    execute(
        "update mill.queue set running = true, claim = %(claim)s, node = %(claim)s, worker = 'floor', "
        "claimed_at = now() where id = %(id)s",
        told,
    )
    execute(
        "with gone as (delete from mill.queue where id = %(id)s and claim = %(claim)s returning *) "
        "insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at, "
        "scheduled_for, started_at, completed_at, duration_us, args, result, created_by, worker, attempt, "
        "rescues) select id, workspace, path, script, tag, priority, 'success', submitted_at, scheduled_for, "
        "claimed_at, now(), 1, args, %(result)s::json, created_by, worker, attempt, rescues from gone",
        told,
    )
    execute("select pg_notify('mill_bench', %(id)s::text)", told)
    heard = [ring.payload for ring in listening.notifies(timeout=RUN_SECONDS, stop_after=1)]
    spent = time.perf_counter() - began
    assert heard == [str(job)], f"heard {heard} of {job}"
    return spent * 1000.0


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the values do not exceed.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50), percentile([1.0, 2.0, 3.0, 4.0], 99)
    (2.0, 4.0)
    """
    return ordered[max(0, math.ceil(len(ordered) * percent / 100.0) - 1)]
