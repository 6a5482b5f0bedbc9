"""The floor of flows: what PostgreSQL alone allows on the same tables, as plain as SQL says it.

A fixed program over one connection: a transaction a step for 500 flows, which inserts a row of history
for each and updates the one row that each flow's state is. No processes that run code, no queue, no
expressions. Nothing here follows the engine: a floor that moves is none.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg

from bench.counters import Mark
from bench.cpu import Meter
from bench.flow_check import settle_flows
from bench.flow_drain import Flowed
from bench.flow_scripts import TEN, arguments_of, number_of
from bench.report import console
from bench.server import Link, Server

BATCH = 500

STATE = """
insert into mill.flow_run (id, root, workspace, flow, body, chain, depth, overlay, state, started_at)
select f, f, 'default', '0123456789abcdef', '', '{}', 0, '{}', '{"step":0}', now()
from unnest(%s::uuid[]) as f
"""

STEP = """
insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at,
  scheduled_for, started_at, completed_at, duration_us, args, result, created_by, worker, attempt, rescues,
  parent_job, step)
select s.id, 'default', 'f/bench/ten/s', '0123456789abcdef', 'python3', 0, 'success', now(), now(), now(),
  now(), 1, s.args::json, s.result::json, 'u/admin', 'floor', 1, 0, s.flow, %(step)s
from unnest(%(ids)s::uuid[], %(flows)s::uuid[], %(args)s::text[], %(results)s::text[])
  as s (id, flow, args, result)
"""

MOVE = "update mill.flow_run set state = %(state)s where id = any (%(flows)s::uuid[])"


def drain(server: Server, flows: int) -> Flowed:
    """Let the fixed program write as many flows, and look whether all of it is there."""
    with server.database() as dsn, closing(Link(dsn)) as link:
        ids = [uuid4() for _ in range(flows)]
        link.execute(STATE, [ids])
        settle_flows(link)
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(2)
        results: Any = context.Queue()
        process = context.Process(target=work, args=(dsn, ids, barrier, results), daemon=True)
        process.start()
        try:
            with console.status(f"floor: {flows:,} flows"):
                barrier.wait(60)
                meter = Meter(server, link, None)
                meter.start()
                mark = Mark(link)
                barrier.wait(60)
                seconds = results.get(timeout=600)
                wal_bytes, commits = mark.since()
                cpu = meter.stop()
            # Its connection stays open until the CPU it used has been read.
            barrier.wait(60)
            process.join(30)
            assert process.exitcode == 0, f"the floor ended with {process.exitcode}"
        finally:
            process.kill()
        row = link.execute(
            "select count(*), count(distinct id), count(distinct (parent_job, step)), "
            "count(distinct result->>'number'), "
            "(select count(*) * %s from mill.flow_run where state::text = %s) from mill.completed_job",
            [TEN, state(TEN - 1)],
        ).fetchone()
        assert row == (flows * TEN,) * 5, f"the floor should have written {flows * TEN} steps: {row}"
        return Flowed(flows * TEN, seconds, wal_bytes, commits, cpu)


def work(dsn: str, flows: list[UUID], barrier: Any, results: Any) -> None:
    """Be the one connection."""
    with psycopg.connect(
        dsn, autocommit=True, application_name="mill floor", prepare_threshold=0
    ) as connection:
        barrier.wait(60)
        barrier.wait(60)
        began = time.monotonic()
        for start in range(0, len(flows), BATCH):
            batch = flows[start : start + BATCH]
            numbers = [number_of(place) for place in range(start, start + len(batch))]
            told = [orjson.dumps({"before": arguments_of(start + n)}).decode() for n in range(len(batch))]
            for step in range(TEN):
                answers = [f'{{"ok":true,"number":{number + step + 1}}}' for number in numbers]
                with connection.transaction():
                    connection.execute(
                        STEP,
                        {
                            "step": f"s{step}",
                            "ids": [uuid4() for _ in batch],
                            "flows": batch,
                            "args": told,
                            "results": answers,
                        },
                    )
                    connection.execute(MOVE, {"state": state(step), "flows": batch})
                told = [f'{{"before":{answer}}}' for answer in answers]
        results.put(time.monotonic() - began)
        barrier.wait(60)


def state(step: int) -> str:
    """Return what the floor keeps of a flow after a step."""
    return f'{{"step":{step + 1}}}'
