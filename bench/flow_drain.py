"""Flows that are queued already, until the last result is committed: as `drain`, with steps for jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing

import psutil
from msgspec import Struct

from bench.counters import Mark
from bench.cpu import Meter, Spent, per_job
from bench.flow_check import settle_flows, verify_chains, verify_rest
from bench.flow_scripts import TEN, arguments_of
from bench.load import until_empty
from bench.node_process import NodeProcess
from bench.report import console
from bench.server import Link, Server, work_folder
from examples.demo.expected import expected_of_enrich, totals_of_enrich
from examples.demo.orders import make_orders
from mill_actors.store.client import Client
from mill_actors.store.flow_versions import FlowText
from mill_actors.store.submission import Submission

WARM_UP_FLOWS = 300
WARM_UP_ROUNDS = 20
START_SECONDS = 60.0
CHUNK = 5_000

Arguments = Callable[[int], dict[str, object]]


class Flowed(Struct, frozen=True):
    """What one drain of flows came to."""

    steps: int
    seconds: float
    wal_bytes: int
    commits: int
    cpu: Spent
    #: language processes that were started while the clock ran: beside those of dedicated steps there
    #: are as many as there are cores, and steps of which much waits get them
    started: int = 0

    @property
    def steps_per_second(self) -> float:
        return self.steps / self.seconds


def drain_chains(server: Server, flow: FlowText, flows: int) -> Flowed:
    """Drain a fresh database of flows of ten no-op steps, and look whether all is as it should be."""
    return _drain(server, flow, flows, TEN, arguments_of, verify_chains)


def drain_orders(server: Server, flow: FlowText, flows: int) -> Flowed:
    """The same with the example that prices orders: three steps in two languages."""
    orders = list(make_orders(flows))

    def verify(link: Link, told: FlowText, done: int) -> None:
        rows = link.execute(
            "select id::text, args->'order'->>'order_id', result from mill.completed_job "
            "where path = %s and script = %s and is_flow",
            [told.path, told.hash],
        ).fetchall()
        assert len(rows) == len({row[0] for row in rows}) == done, f"{len(rows)} rows of {done} orders"
        assert all(order == result["order_id"] for _, order, result in rows), "a result in a wrong row"
        # Warm-up has priced the first of them before.
        expected = expected_of_enrich([orders[place % flows] for place in range(done)])
        assert totals_of_enrich(row[2] for row in rows) == expected, "the money is wrong"
        steps = link.execute(
            "select count(*), count(distinct c.id), count(distinct (c.parent_job, c.step)) "
            "from mill.completed_job c join mill.completed_job f on f.id = c.parent_job and f.path = %s",
            [told.path],
        ).fetchone()
        assert steps == (done * 3,) * 3, f"{done} orders should have three steps each: {steps}"
        verify_rest(link)

    return _drain(server, flow, flows, 3, lambda place: {"order": orders[place % flows]}, verify)


def submit_flows(
    client: Client, flow: FlowText, places: Sequence[int], args: Arguments = arguments_of
) -> list[str]:
    """Queue flows, and return their ids in the order of the claim."""
    ids: list[str] = []
    for start in range(0, len(places), CHUNK):
        told = [Submission(path=flow.path, args=args(place)) for place in places[start : start + CHUNK]]
        ids += [receipt.id for receipt in client.submit_many(told)]
    return ids


def _drain(
    server: Server,
    flow: FlowText,
    flows: int,
    steps: int,
    args: Arguments,
    verify: Callable[[Link, FlowText, int], None],
) -> Flowed:
    is_dedicated = flow.options.dedicated
    name = flow.path.rpartition("/")[2]
    with (
        work_folder("node") as folder,
        server.database() as dsn,
        Client(dsn) as client,
        closing(Link(dsn)) as link,
    ):
        client.deploy_flow(flow)
        # Through the queue, a process for each step; with dedicated ones, they are beside the others.
        node = NodeProcess(dsn, folder, dedicated=is_dedicated, processes=None if is_dedicated else steps)
        try:
            with console.status(f"{name}: warming up"):
                pinned = await_processes(node, steps) if is_dedicated else frozenset()
                warm = warm_up(client, link, node, flow, steps, args)
            processes = {process.pid for process in node.languages()}
            node.suspend()
            with console.status(f"{name}: queueing {flows:,} flows"):
                ids = submit_flows(client, flow, range(warm, warm + flows), args)
                settle_flows(link)
            meter = Meter(server, link, node)
            meter.start()
            mark = Mark(link)
            began = time.monotonic()
            node.resume()
            with console.status(f"{name}: running {flows:,} flows"):
                ended = until_empty(link, ids[-1], flows * steps, node.check)
            wal_bytes, commits = mark.since()
            cpu = meter.stop()
            after = {process.pid for process in node.languages()}
            assert pinned <= after, "a process that was warm, and is a step's own, has gone"
            started = len(after - processes)
            assert started <= node.processes, f"{started} processes were started under way: it was not warm"
            verify(link, flow, warm + flows)
            node.stop()
            verify_way(link, warm + flows, steps, is_dedicated=is_dedicated)
        finally:
            node.kill()
    return Flowed(flows * steps, ended - began, wal_bytes, commits, cpu, started)


def verify_way(link: Link, flows: int, steps: int, *, is_dedicated: bool) -> None:
    """Raise unless the steps went the way they should: past the queue, or through it.

    Backends report when they leave, so the node must have ended; the client may have reported less.
    """
    rows = link.scalar("select n_tup_ins from pg_stat_user_tables where relid = 'mill.queue'::regclass")
    if is_dedicated:
        assert rows <= flows, f"{rows} rows were put into the queue for {flows} flows held whole"
    else:
        assert rows >= flows * steps, f"only {rows} rows were put into the queue for {flows} × {steps} steps"


def await_processes(node: NodeProcess, steps: int) -> frozenset[int]:
    """Wait until each dedicated step has its process; return them."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        # The one that reaps orphans is none of them.
        found = frozenset(p.pid for p in node.languages() if "supervisors-reaper" not in command(p))
        if len(found) >= steps:
            return found
        node.check()
        assert time.monotonic() < deadline, f"{len(found)} of {steps} processes are up:\n{node.log_tail()}"
        time.sleep(0.02)


def warm_up(
    client: Client, link: Link, node: NodeProcess, flow: FlowText, steps: int, args: Arguments
) -> int:
    """Run flows until the node has a process for every step, and starts no more; return how many."""
    done, known = 0, frozenset[int]()
    for _ in range(WARM_UP_ROUNDS):
        ids = submit_flows(client, flow, range(done, done + WARM_UP_FLOWS), args)
        done += len(ids)
        until_empty(link, ids[-1], len(ids) * steps, node.check)
        before, known = known, frozenset(process.pid for process in node.languages())
        if len(known) >= steps and known == before:
            break
    assert len(known) >= steps, f"{len(known)} processes for {steps} steps are warm:\n{node.log_tail()}"
    return done


def command(process: psutil.Process) -> list[str]:
    """Return a process's command; nothing if it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def show(name: str, told: Flowed) -> None:
    """Print where the CPU time of a step went."""
    spent = per_job(told.cpu, told.steps)
    parts = "  ".join(f"{kind} {used:.1f}" for kind, used in spent.items() if used >= 0.05)
    started = f", {told.started} processes started meanwhile" if told.started else ""
    console.print(
        f"[bold]{name}[/] {told.steps_per_second:,.0f} steps/s in {told.seconds:.2f} s, "
        f"{sum(told.cpu.values()) / told.seconds:.2f} cores, {told.commits / told.steps:.3f} commits and "
        f"{told.wal_bytes / told.steps:,.0f} B of WAL a step{started}; µs CPU a step: {parts}",
        highlight=False,
        soft_wrap=True,
    )
