"""drain: no-op jobs that are queued already, until the last result is committed.

A run is one fresh database a language. The node starts and runs a few thousand jobs, until each of
its language processes is warm; then it is stopped with SIGSTOP, the jobs are queued, the table is
vacuumed and a checkpoint made (so that every run begins alike, and pays for full page writes), and
SIGCONT releases the node. The clock runs from just before SIGCONT until the bench sees that no row
is left in `mill.queue`. It looks for one id by primary key every 20 ms, and only when that is gone at
the whole table: neither loads the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from msgspec import Struct

from bench import floor
from bench.cpu import Meter, Spent, per_job
from bench.node_process import NodeProcess
from bench.report import Run, console
from bench.sampling import Sampler
from bench.scripts import ARGS_BYTES, FIRST, LANGUAGES, RESULT_BYTES, noop, submit_noops
from bench.server import Link, Server, work_folder
from mill_actors.jobs.script import Script
from mill_actors.store.client import Client

JOBS = 200_000
QUICK_JOBS = 10_000
#: Claims and commits of one are two fsyncs a job: fewer of them measure the same.
BATCH1_SHARE = 40
WARM_UP_JOBS = 4_000
WARM_UP_ROUNDS = 30
POLL_SECONDS = 0.02
#: Whatever is slower than this has stopped.
SLOWEST_JOBS_PER_SECOND = 100


class Drained(Struct, frozen=True):
    """What one drain came to."""

    jobs: int
    seconds: float
    wal_bytes: int
    commits: int
    dead_tuples: float
    cpu: Spent

    @property
    def jobs_per_second(self) -> float:
        return self.jobs / self.seconds


def run(server: Server, jobs: int, *, profile: bool = False) -> Run:
    """Measure once: both languages, the floor, batches of one."""
    drained = {language: drain(server, language, jobs, profile=profile) for language in LANGUAGES}
    batch1 = drain(server, "python", max(200, jobs // BATCH1_SHARE), batch1=True)
    assert 1.9 <= batch1.commits / batch1.jobs <= 2.2, f"batch1 batched: {batch1.commits} commits"  # noqa: PLR2004
    floors = [floor_drain(server, connections, jobs) for connections in (1, 2)]
    best = max(floors, key=lambda told: told.jobs_per_second)
    for name, told in [*drained.items(), ("batch1", batch1), ("floor", best)]:
        show_cpu(name, told)
    figures = {f"{name}_jobs_per_second": (told.jobs_per_second, "jobs/s") for name, told in drained.items()}
    figures["floor_jobs_per_second"] = (best.jobs_per_second, "jobs/s")
    slowest = min(told.jobs_per_second for told in drained.values())
    figures["ratio_to_floor"] = (slowest / best.jobs_per_second, "ratio")
    python = drained["python"]
    figures["wal_bytes_per_job"] = (python.wal_bytes / jobs, "B/job")
    figures["commits_per_job"] = (python.commits / jobs, "commits/job")
    figures["dead_tuples_per_job"] = (python.dead_tuples, "tuples/job")
    figures["batch1_jobs_per_second"] = (batch1.jobs_per_second, "jobs/s")
    figures["floor_1_connection_jobs_per_second"] = (floors[0].jobs_per_second, "jobs/s")
    figures["floor_2_connections_jobs_per_second"] = (floors[1].jobs_per_second, "jobs/s")
    figures["floor_wal_bytes_per_job"] = (best.wal_bytes / jobs, "B/job")
    for name, told in drained.items():
        figures[f"{name}_cpu_us_per_job"] = (sum(per_job(told.cpu, jobs).values()), "µs/job")
    return figures


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
            meter = Meter(server, link, node)
            meter.start()
            sampler = Sampler(node.pid, language) if profile else None
            mark = Mark(link)
            began = time.monotonic()
            node.resume()
            with console.status(f"{language}: draining"):
                ended = until_empty(link, ids[-1], jobs, node.check)
            wal, commits = mark.since()
            cpu = meter.stop()
            if sampler is not None:
                sampler.show()
            after = {process.pid for process in node.languages()}
            assert processes, "there was no warm process to measure"
            assert after <= processes, "a language process was started under way: they were not warm"
            verify(link, script, warm + jobs)
            node.stop()
            dead = dead_tuples(link) / (warm + jobs)
            assert dead >= 1.0, "the flag shape makes dead rows: they were not counted"
        finally:
            node.kill()
    return Drained(jobs, ended - began, wal, commits, dead, cpu)


def floor_drain(server: Server, connections: int, jobs: int) -> Drained:
    """The same with the fixed program in the engine's place."""
    script = noop("python")
    with server.database() as dsn, Client(dsn) as client, closing(Link(dsn)) as link:
        client.deploy(script)
        with console.status(f"floor: queueing {jobs:,} jobs"):
            submit_noops(client, script, jobs)
            settle_down(link)
        meter = Meter(server, link, None)
        with floor.workers(dsn, connections, script.tag) as release:
            meter.start()
            mark = Mark(link)
            with console.status(f"floor: draining over {connections} connection(s)"):
                seconds, done = release()
            wal, commits = mark.since()
            cpu = meter.stop()
        assert done == jobs, f"the floor finished {done} of {jobs} jobs"
        verify(link, script, jobs)
        return Drained(jobs, seconds, wal, commits, dead_tuples(link) / jobs, cpu)


def warm_up(client: Client, link: Link, node: NodeProcess, script: Script) -> int:
    """Run jobs until every process that the node may have is warm; return how many jobs it took."""
    done = 0
    for _ in range(WARM_UP_ROUNDS):
        ids = submit_noops(client, script, WARM_UP_JOBS, first=done)
        done += len(ids)
        until_empty(link, ids[-1], len(ids), node.check)
        wanted, ready = runners(node)
        if ready >= wanted:
            return done
    message = f"after {done} jobs {ready} of {wanted} processes are warm:\n{node.log_tail()}"
    raise AssertionError(message)


def runners(node: NodeProcess) -> tuple[int, int]:
    """Return how many Runners the node may have, and how many are up."""
    limit = 1 if node.batch1 else len(node.process.cpu_affinity())
    return limit, len(node.languages())


def settle_down(link: Link) -> None:
    """Begin alike: statistics fresh, no dead rows, nothing left to write."""
    link.execute("vacuum (analyze) mill.queue")
    link.execute("vacuum (analyze) mill.completed_job")
    link.execute("checkpoint")


def until_empty(link: Link, last: str, jobs: int, check: Callable[[], None] | None = None) -> float:
    """Wait until the queue is empty; return when that was seen."""
    deadline = time.monotonic() + 30.0 + jobs / SLOWEST_JOBS_PER_SECOND
    while link.scalar("select exists (select from mill.queue where id = %s)", [last]):
        if check is not None:
            check()
        assert time.monotonic() < deadline, f"{link.scalar('select count(*) from mill.queue')} jobs are left"
        time.sleep(POLL_SECONDS)
    while link.scalar("select exists (select from mill.queue)"):
        assert time.monotonic() < deadline, f"{link.scalar('select count(*) from mill.queue')} jobs are left"
        time.sleep(POLL_SECONDS / 4)
    return time.monotonic()


class Mark:
    """WAL and commits from here on. A commit counts if it wrote: it then has a transaction id."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._before = self._look()

    def since(self) -> tuple[int, int]:
        before, now = self._before, self._look()
        return now[0] - before[0], now[1] - before[1]

    def _look(self) -> tuple[int, int]:
        row = self._link.execute(
            "select (pg_current_wal_insert_lsn() - '0/0')::bigint, "
            "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        ).fetchone()
        assert row is not None
        return row[0], row[1]


def dead_tuples(link: Link) -> float:
    """Return the dead row versions made so far: one an update, one a delete.

    Backends report on leaving, so the node must have stopped.
    """
    link.execute("select pg_stat_clear_snapshot()")
    return float(
        link.scalar("select sum(n_tup_upd + n_tup_del) from pg_stat_all_tables where schemaname = 'mill'")
    )


def verify(link: Link, script: Script, jobs: int) -> None:
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
        from mill.completed_job
        """,
        {
            "script": script.hash, "args": ARGS_BYTES, "result": RESULT_BYTES, "first": FIRST,
            "last": FIRST + jobs - 1,
        },
    ).fetchone()  # fmt: skip
    names = ("rows", "ids", "numbers", "successes", "arguments", "results", "times")
    assert row is not None
    told = dict(zip(names, row, strict=True))
    assert all(count == jobs for count in row), f"{jobs} jobs should have come to as many of each: {told}"


def show_cpu(name: str, told: Drained) -> None:
    """Print where the CPU time of a job went."""
    parts = "  ".join(f"{kind} {used:.1f}" for kind, used in per_job(told.cpu, told.jobs).items() if used >= 0.05)  # noqa: PLR2004
    total = sum(told.cpu.values())
    console.print(
        f"[bold]{name}[/] {told.jobs_per_second:,.0f} jobs/s in {told.seconds:.2f} s; "
        f"{total / told.seconds:.2f} cores; µs CPU a job: {parts}",
        highlight=False,
    )


