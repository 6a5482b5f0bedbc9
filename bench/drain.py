"""drain: no-op jobs that are queued already, until the last result is committed.

A run is one fresh database a language. The node starts and runs a few thousand jobs, until each of
its language processes is warm; then it is stopped with SIGSTOP, the jobs are queued, the table is
vacuumed and a checkpoint made (so that every run begins alike, and pays for full page writes), and
SIGCONT releases the node. The clock runs from just before SIGCONT until the bench sees that no row
is left in `mill.queue`.
"""

from __future__ import annotations

import time
from contextlib import closing

from msgspec import Struct

from bench import floor
from bench.counters import Mark, dead_tuples
from bench.cpu import Meter, Spent, per_job
from bench.load import settle_down, until_empty, verify_noops, warm_up
from bench.node_process import NodeProcess
from bench.report import Run, console
from bench.sampling import Sampler, Waits
from bench.scripts import LANGUAGES, noop, submit_noops
from bench.server import Link, Server, work_folder
from mill_actors.store.client import Client

JOBS = 200_000
QUICK_JOBS = 10_000
#: Claims and commits of one are two fsyncs a job: fewer of them measure the same.
BATCH1_SHARE = 40
BATCH1_LEAST = 200


class Drained(Struct, frozen=True):
    """What one drain came to."""

    jobs: int
    seconds: float
    wal_bytes: int
    commits: int
    dead_tuples_per_job: float
    cpu: Spent

    @property
    def jobs_per_second(self) -> float:
        return self.jobs / self.seconds


def run(server: Server, jobs: int, *, profile: bool = False) -> Run:
    """Measure once: both languages, the floor, batches of one."""
    drained = {language: drain(server, language, jobs, profile=profile) for language in LANGUAGES}
    batch1 = drain(server, "python", max(BATCH1_LEAST, jobs // BATCH1_SHARE), batch1=True)
    assert 1.9 <= batch1.commits / batch1.jobs <= 2.2, f"batch1 batched: {batch1.commits} commits"
    floors = [floor_drain(server, connections, jobs) for connections in (1, 2)]
    best = max(floors, key=lambda told: told.jobs_per_second)
    for name, told in [*drained.items(), ("batch1", batch1), ("floor", best)]:
        show_cpu(name, told)
    slowest = min(told.jobs_per_second for told in drained.values())
    python = drained["python"]
    return {
        "python_jobs_per_second": (python.jobs_per_second, "jobs/s"),
        "bun_jobs_per_second": (drained["bun"].jobs_per_second, "jobs/s"),
        "floor_jobs_per_second": (best.jobs_per_second, "jobs/s"),
        "ratio_to_floor": (slowest / best.jobs_per_second, "ratio"),
        "batch1_jobs_per_second": (batch1.jobs_per_second, "jobs/s"),
        "wal_bytes_per_job": (python.wal_bytes / jobs, "B/job"),
        "commits_per_job": (python.commits / jobs, "commits/job"),
        "dead_tuples_per_job": (python.dead_tuples_per_job, "tuples/job"),
        "python_cpu_us_per_job": (sum(per_job(python.cpu, jobs).values()), "µs/job"),
        "bun_cpu_us_per_job": (sum(per_job(drained["bun"].cpu, jobs).values()), "µs/job"),
        "floor_1_connection_jobs_per_second": (floors[0].jobs_per_second, "jobs/s"),
        "floor_2_connections_jobs_per_second": (floors[1].jobs_per_second, "jobs/s"),
        "floor_wal_bytes_per_job": (best.wal_bytes / jobs, "B/job"),
        "floor_cpu_us_per_job": (sum(per_job(best.cpu, jobs).values()), "µs/job"),
    }


def drain(
    server: Server, language: str, jobs: int, *, batch1: bool = False, profile: bool = False
) -> Drained:
    """Drain a fresh database with one node."""
    script = noop(language)
    with (
        work_folder("node") as folder,
        server.database() as dsn,
        Client(dsn) as client,
        closing(Link(dsn)) as link,
    ):
        client.deploy(script)
        node = NodeProcess(dsn, folder, batch1=batch1)
        try:
            with console.status(f"{language}: warming up"):
                warm = warm_up(client, link, node, script)
            processes = {process.pid for process in node.languages()}
            node.suspend()
            with console.status(f"{language}: queueing {jobs:,} jobs"):
                ids = submit_noops(client, script, jobs, first=warm)
                settle_down(link)
            samplers: list[Sampler | Waits] = []
            if profile:
                samplers = [Sampler(node.pid, language), Waits(dsn)]
            meter = Meter(server, link, node)
            meter.start()
            mark = Mark(link)
            began = time.monotonic()
            node.resume()
            with console.status(f"{language}: draining {jobs:,} jobs"):
                ended = until_empty(link, ids[-1], jobs, node.check)
            wal_bytes, commits = mark.since()
            cpu = meter.stop()
            for sampler in samplers:
                sampler.show()
            after = {process.pid for process in node.languages()}
            assert processes, "there was no warm process to measure"
            assert after <= processes, "a language process was started under way: they were not warm"
            verify_noops(link, script, warm + jobs)
            node.stop()
            dead = dead_tuples(link) / (warm + jobs)
            assert dead >= 1.0, f"a drain makes dead rows, but {dead:.2f} a job were counted"
        finally:
            node.kill()
    return Drained(jobs, ended - began, wal_bytes, commits, dead, cpu)


def floor_drain(server: Server, connections: int, jobs: int) -> Drained:
    """The same with the fixed program in the engine's place."""
    script = noop("python")
    with server.database() as dsn, Client(dsn) as client, closing(Link(dsn)) as link:
        client.deploy(script)
        with console.status(f"floor: queueing {jobs:,} jobs"):
            submit_noops(client, script, jobs)
            settle_down(link)
        with floor.workers(dsn, connections, script.tag) as release:
            meter = Meter(server, link, None)
            meter.start()
            mark = Mark(link)
            with console.status(f"floor: draining {jobs:,} jobs over {connections} connection(s)"):
                seconds, done = release()
            wal_bytes, commits = mark.since()
            cpu = meter.stop()
        assert done == jobs, f"the floor finished {done} of {jobs} jobs"
        verify_noops(link, script, jobs)
        return Drained(jobs, seconds, wal_bytes, commits, dead_tuples(link) / jobs, cpu)


def show_cpu(name: str, told: Drained) -> None:
    """Print where the CPU time of a job went."""
    spent = per_job(told.cpu, told.jobs)
    parts = "  ".join(f"{kind} {used:.1f}" for kind, used in spent.items() if used >= 0.05)
    console.print(
        f"[bold]{name}[/] {told.jobs_per_second:,.0f} jobs/s in {told.seconds:.2f} s, "
        f"{sum(told.cpu.values()) / told.seconds:.2f} cores; µs CPU a job: {parts}",
        highlight=False,
        soft_wrap=True,
    )
