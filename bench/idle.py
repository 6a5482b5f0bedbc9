"""idle: what a node costs that has worked and now waits.

Queries are the transactions that PostgreSQL counts in the node's database, read from another one, so
that the reading is not among them. Autovacuum's would be: in a server of the bench's own it rests
while the node is watched, and only then; in the server of DATABASE_URL it is counted too, some 0.5/s.
A backend reports what it did up to 10 s later, which is why the node first idles longer than that.
CPU and memory are the node's own process; its language processes are shown beside it.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import closing

import psutil
from psycopg import conninfo

from bench.load import settle_down, verify_noops, warm_up
from bench.node_process import NodeProcess
from bench.report import Run, console
from bench.scripts import LANGUAGES, noop
from bench.server import Link, Server, work_folder
from mill_actors.store.client import Client

SECONDS = 40.0
QUICK_SECONDS = 12.0
#: Longer than PostgreSQL's backends keep their counts to themselves, and than the longest poll.
QUIET_SECONDS = 12.0
MEGABYTE = 1_000_000


def run(server: Server, seconds: float) -> Run:
    """Measure once."""
    with work_folder("node") as folder, server.database() as dsn:
        node = NodeProcess(dsn, folder)
        try:
            _work(dsn, node)
            server.let_autovacuum(rest=True)
            with console.status("letting the node come to rest"):
                time.sleep(QUIET_SECONDS)
            beat = _beat(dsn)
            languages = node.languages()
            queries = _queries(server.link, dsn)
            spent, spent_languages = _cpu([node.process]), _cpu(languages)
            began = time.monotonic()
            with console.status(f"watching it idle for {seconds:.0f} s"):
                time.sleep(seconds)
            elapsed = time.monotonic() - began
            queries = _queries(server.link, dsn) - queries
            spent, spent_languages = _cpu([node.process]) - spent, _cpu(languages) - spent_languages
            memory = node.process.memory_info().rss
            node.check()
            assert queries > 0, "not even a beat was counted"
            assert _beat(dsn) > beat, "the node did not beat: it was no living node that idled"
            figures: Run = {
                "queries_per_second": (queries / elapsed, "queries/s"),
                "cpu_percent": (100.0 * spent / elapsed, "% of a core"),
                "rss_mb": (memory / MEGABYTE, "MB"),
                "languages_cpu_percent": (100.0 * spent_languages / elapsed, "% of a core"),
                "languages_rss_mb": (sum(_memory(p) for p in languages) / MEGABYTE, "MB"),
                "seconds": (elapsed, "s"),
            }
            node.stop()
        finally:
            server.let_autovacuum(rest=False)
            node.kill()
    return figures


def _work(dsn: str, node: NodeProcess) -> None:
    """Run jobs of both languages; leave nothing for autovacuum to find."""
    with Client(dsn) as client, closing(Link(dsn)) as link:
        for language in LANGUAGES:
            script = noop(language)
            client.deploy(script)
            verify_noops(link, script, warm_up(client, link, node, script))
        settle_down(link)
        link.execute("vacuum (analyze)")


def _queries(link: Link, dsn: str) -> int:
    return int(
        link.scalar(
            "select xact_commit + xact_rollback from pg_stat_database where datname = %s",
            [conninfo.conninfo_to_dict(dsn)["dbname"]],
        )
    )


def _beat(dsn: str) -> int:
    with closing(Link(dsn)) as link:
        return int(link.scalar("select beat from mill.node"))


def _cpu(processes: list[psutil.Process]) -> float:
    spent = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent += times.user + times.system
    return spent


def _memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0
