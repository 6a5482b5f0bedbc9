"""api: what the HTTP API carries, with server, load, node and PostgreSQL on the same cores.

Every submission is durable before it is answered; afterwards the rows are counted. What waits for a
result gets its own: each answer is checked.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
from msgspec import Struct

from bench.api_load import body_of
from bench.latency import percentile
from bench.node_process import NodeProcess
from bench.report import Run, console
from bench.scripts import noop
from bench.server import Link, Server, work_folder
from bench.server_process import ServerProcess, load, told_by
from mill_actors.store.access import new_token
from mill_actors.store.client import Client
from mill_actors.store.connection import Database

CLIENTS = 64
RATE = 1_000.0
PATH = "f/bench/noop"
WAIT_SECONDS = 120.0


class Sizes(Struct, frozen=True):
    """How much of what."""

    submits: int = 40_000
    bulk: int = 400_000
    single: int = 1_000
    steady: int = 10_000
    waiting: int = 10_000
    listed: int = 1_000_000
    lists: int = 300


QUICK = Sizes(submits=4_000, bulk=40_000, single=200, steady=1_000, waiting=500, listed=20_000, lists=60)


class Bench(Struct, frozen=True):
    """A server, and who speaks to it."""

    dsn: str
    link: Link
    api: ServerProcess
    token: str
    folder: Path

    def route(self, path: str) -> str:
        return f"/api/w/default/{path}"


def run(server: Server, sizes: Sizes) -> Run:
    """Measure once."""
    with (
        work_folder("api") as folder,
        server.database() as dsn,
        Client(dsn) as client,
        closing(Link(dsn)) as link,
    ):
        client.deploy(noop("python"))
        with Database(dsn).connect() as connection:
            token = new_token(connection, "admin@localhost")
        with ServerProcess(dsn, folder) as api:
            bench = Bench(dsn, link, api, token, folder)
            submits = _timed("submits", lambda: _submits(bench, sizes))
            bulk = _timed("bulk", lambda: _bulk(bench, sizes))
            waits = _timed("waits", lambda: _waits(bench, sizes))
            lists = _timed("lists", lambda: _lists(bench, sizes))
    return {**submits, **bulk, **waits, **lists}


def _submits(bench: Bench, sizes: Sizes) -> Run:
    route = bench.route(f"jobs/run/p/{PATH}")
    options = {"token": bench.token, "connections": CLIENTS}
    told_by(load("closed", bench.api.url, route, requests=sizes.submits // 10, **options))
    _empty(bench)
    told = told_by(load("closed", bench.api.url, route, requests=sizes.submits, **options))
    assert _queued(bench) == sizes.submits, "not every submission that was answered is there"
    _empty(bench)
    return {
        "submits_per_second": (sizes.submits / told["seconds"], "jobs/s"),
        "submit_p50_ms": (percentile(told["ms"], 50), "ms"),
        "submit_p99_ms": (percentile(told["ms"], 99), "ms"),
    }


def _bulk(bench: Bench, sizes: Sizes) -> Run:
    with tempfile.TemporaryFile(dir=bench.folder) as file:
        file.write("".join(f"{body_of(number)}\n" for number in range(sizes.bulk)).encode())
        file.seek(0)
        headers = {"Authorization": f"Bearer {bench.token}", "Content-Type": "application/x-ndjson"}
        url = bench.api.url + bench.route(f"jobs/run/batch/p/{PATH}")
        began = time.perf_counter()
        answer = httpx.post(url, content=file, headers=headers, timeout=600.0)
        seconds = time.perf_counter() - began
    answer.raise_for_status()
    assert len(set(answer.text.split())) == sizes.bulk, "not as many ids as lines"
    assert _queued(bench) == sizes.bulk, "not every job that was answered is there"
    _empty(bench)
    return {"bulk_jobs_per_second": (sizes.bulk / seconds, "jobs/s")}


def _waits(bench: Bench, sizes: Sizes) -> Run:
    route = bench.route(f"jobs/run_wait_result/p/{PATH}")
    held = load("hold", bench.api.url, route, token=bench.token, connections=sizes.waiting)
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    _until(lambda: _queued(bench) == sizes.waiting, "all that wait have been submitted")
    node = NodeProcess(bench.dsn, bench.folder)
    try:
        released = told_by(held)
        assert len(released["ms"]) == sizes.waiting
        options = {"token": bench.token}
        told_by(load("closed", bench.api.url, route, requests=100, connections=1, **options))
        single = told_by(
            load("closed", bench.api.url, route, requests=sizes.single, connections=1, **options)
        )
        steady = told_by(
            load(
                "open", bench.api.url, route, requests=sizes.steady, rate=RATE, connections=CLIENTS, **options
            )
        )
        node.stop()
    finally:
        node.kill()
    return {
        "run_wait_result_p50_ms": (percentile(single["ms"], 50), "ms"),
        "run_wait_result_p99_ms": (percentile(single["ms"], 99), "ms"),
        "run_wait_result_1000s_p50_ms": (percentile(steady["ms"], 50), "ms"),
        "run_wait_result_1000s_p99_ms": (percentile(steady["ms"], 99), "ms"),
        "waiting_connections": (sizes.waiting, "connections"),
        "waiting_released_seconds": (released["seconds"], "s"),
    }


_LISTS = (
    "jobs/list?per_page=30",
    "jobs/list?per_page=30&script_path_exact=f/bench/p7",
    "jobs/list?per_page=30&success=false",
    "jobs/completed/list?per_page=100",
    "jobs/list?per_page=30&created_by=nobody",
    "jobs/list?per_page=30&args=%7B%22number%22%3A%207%7D",
)


def _lists(bench: Bench, sizes: Sizes) -> Run:
    bench.link.execute(_HISTORY, {"jobs": sizes.listed})
    bench.link.execute("vacuum (analyze) mill.completed_job")
    times = []
    slowest = {}
    headers = {"Authorization": f"Bearer {bench.token}"}
    with httpx.Client(base_url=bench.api.url, headers=headers, timeout=60.0) as client:
        for route in _LISTS:
            own = []
            for _ in range(sizes.lists // len(_LISTS)):
                began = time.perf_counter()
                client.get(bench.route(route)).raise_for_status()
                own.append((time.perf_counter() - began) * 1000.0)
            times += own
            slowest[route] = percentile(sorted(own), 50)
    for route, median in slowest.items():
        console.print(f"[dim]api: {median:6.1f} ms  {route}[/]", highlight=False)
    times.sort()
    return {"list_p50_ms": (percentile(times, 50), "ms"), "list_p99_ms": (percentile(times, 99), "ms")}


_HISTORY = """
insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at,
  scheduled_for, started_at, completed_at, duration_us, args, result, created_by, worker, attempt, rescues)
select gen_random_uuid(), 'default', 'f/bench/p' || i %% 1000, '0123456789abcdef', 'python3', 0,
  case when i %% 100 = 0 then 'failure' else 'success' end, t.at, t.at, t.at, t.at, 1000,
  json_build_object('number', i), '{"ok": true}', 'u/admin', 'w', 1, 0
from generate_series(1, %(jobs)s) i
cross join lateral (select now() - make_interval(secs => i * 0.05) as at) t
"""


def _queued(bench: Bench) -> int:
    return int(bench.link.scalar("select count(*) from mill.queue"))


def _empty(bench: Bench) -> None:
    bench.link.execute("truncate mill.queue")


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:.0f} s: {what}"
        time.sleep(0.05)


def _timed(name: str, measure: Callable[[], Run]) -> Run:
    began = time.monotonic()
    figures = measure()
    console.print(f"[dim]api: {name} took {time.monotonic() - began:.0f} s[/]", highlight=False)
    return figures
