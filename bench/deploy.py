"""deploy: ten new versions of a script while its jobs stream; each job runs the version it was meant for.

Two threads submit and a third deploys: version 0 is there first, 1 to 10 replace it one after the
other. Each submission notes which version its path could mean: at least the last one whose deployment
was answered before, at most the last one whose deployment had begun when it returned. A job is wrong
if its row names a version outside of that, or its result tells of another version than its row.

Load is full: the submitters keep thousands of jobs waiting, and a deployment that finds none waiting
fails the bench.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from msgspec import Struct

from bench.load import SLOWEST_JOBS_PER_SECOND, until_empty, warm_up
from bench.node_process import NodeProcess
from bench.report import Run, console
from bench.scripts import noop, versioned
from bench.server import Link, Server, work_folder
from mill_actors.jobs.script import Script
from mill_actors.store.client import Client
from mill_actors.store.submission import Submission

VERSIONS = 10
JOBS = 110_000
QUICK_JOBS = 33_000
SUBMITTERS = 2
CHUNK = 250
#: So many chunks of each submitter wait, so that there is always work for every process.
AHEAD = 12
POLL_SECONDS = 0.005


class Told(Struct, frozen=True):
    """The jobs of one submission, and the versions that their path could mean."""

    ids: list[str]
    oldest: int
    newest: int


def run(server: Server, jobs: int) -> Run:
    """Measure once."""
    with (
        work_folder("node") as folder,
        server.database() as dsn,
        Client(dsn) as client,
        closing(Link(dsn)) as link,
    ):
        scripts = [versioned(version) for version in range(VERSIONS + 1)]
        client.deploy(scripts[0])
        client.deploy(noop("python"))
        node = NodeProcess(dsn, folder)
        try:
            warm_up(client, link, node, noop("python"))
            stream = _Stream(dsn, scripts, jobs)
            with console.status(f"{jobs:,} jobs, {VERSIONS} deployments"):
                began = time.monotonic()
                told, waiting = stream.run()
                ended = until_empty(link, told[-1].ids[-1], jobs, node.check)
            figures = _count(link, scripts, told)
            node.stop()
        finally:
            node.kill()
    assert min(waiting) > 0, f"a deployment found nothing waiting: {waiting}"
    figures["least_waiting"] = (min(waiting), "jobs")
    figures["jobs_per_second"] = (figures["jobs"][0] / (ended - began), "jobs/s")
    return figures


class _Stream:
    """The submitters and the deployer."""

    def __init__(self, dsn: str, scripts: list[Script], jobs: int) -> None:
        self._dsn = dsn
        self._scripts = scripts
        self._jobs = jobs
        self._begun = 0
        self._answered = 0
        self._submitted = 0
        self._lock = threading.Lock()
        self._over = threading.Event()

    def run(self) -> tuple[list[Told], list[int]]:
        """Return what was submitted, and how many jobs waited at each deployment."""
        with ThreadPoolExecutor(SUBMITTERS + 1) as pool:
            deployer = pool.submit(self._deploy)
            submitters = [pool.submit(self._submit) for _ in range(SUBMITTERS)]
        return [one for submitter in submitters for one in submitter.result()], deployer.result()

    def _submit(self) -> list[Told]:
        told: list[Told] = []
        try:
            with Client(self._dsn) as client, closing(Link(self._dsn)) as link:
                while not self._over.is_set():
                    if len(told) >= AHEAD:
                        self._await(link, told[-AHEAD].ids[-1])
                    with self._lock:
                        first, self._submitted = self._submitted, self._submitted + CHUNK
                    oldest = self._answered
                    jobs = [
                        Submission(path=self._scripts[0].path, args={"number": first + place})
                        for place in range(CHUNK)
                    ]
                    ids = [receipt.id for receipt in client.submit_many(jobs)]
                    told.append(Told(ids, oldest, self._begun))
        finally:
            self._over.set()  # nobody goes on where one has failed
        return told

    def _deploy(self) -> list[int]:
        waiting: list[int] = []
        share = self._jobs // (VERSIONS + 1)
        try:
            with Client(self._dsn) as client, closing(Link(self._dsn)) as link:
                self._await_share(share)
                for version in range(1, VERSIONS + 1):
                    waiting.append(link.scalar("select count(*) from mill.queue where not running"))
                    self._begun = version
                    client.deploy(self._scripts[version])
                    self._answered = version
                    self._await_share(share)
        finally:
            self._over.set()
        return waiting

    def _await_share(self, share: int) -> None:
        until = self._submitted + share
        while self._submitted < until and not self._over.wait(POLL_SECONDS):
            pass

    def _await(self, link: Link, job: str) -> None:
        deadline = time.monotonic() + 30.0 + CHUNK * AHEAD * SUBMITTERS / SLOWEST_JOBS_PER_SECOND
        while link.scalar("select exists (select from mill.queue where id = %s)", [job]):
            assert time.monotonic() < deadline, "the jobs are not worked off"
            if self._over.wait(POLL_SECONDS):
                return


def _count(link: Link, scripts: list[Script], told: list[Told]) -> dict[str, tuple[float, str]]:
    """Compare history with what was submitted."""
    row = link.execute(
        """
        with meant as (
          select * from unnest(%(ids)s::uuid[], %(oldest)s::int[], %(newest)s::int[])
            as m (id, oldest, newest)
        ), version as (
          select * from unnest(%(hashes)s::text[], %(numbers)s::int[]) as v (hash, number)
        )
        select count(c.id), count(distinct c.id), count(distinct v.number),
          count(c.id) filter (where c.status <> 'success'
                              or c.result->>'number' is distinct from c.args->>'number'),
          count(c.id) filter (where v.number is null or v.number not between m.oldest and m.newest
                              or (c.result->>'version')::int is distinct from v.number),
          count(c.id) filter (where m.oldest = m.newest)
        from meant m
        left join mill.completed_job c on c.id = m.id
        left join version v on v.hash = c.script
        """,
        {
            "ids": [job for one in told for job in one.ids],
            "oldest": [one.oldest for one in told for _ in one.ids],
            "newest": [one.newest for one in told for _ in one.ids],
            "hashes": [script.hash for script in scripts],
            "numbers": list(range(len(scripts))),
        },
    ).fetchone()
    assert row is not None
    rows, ids, versions, failed, wrong, certain = row
    jobs = sum(len(one.ids) for one in told)
    lost = jobs - ids
    assert failed == 0, f"{failed} of {jobs} jobs did not end with their own result"
    assert rows == ids, f"{rows - ids} jobs are in history twice"
    assert versions == len(scripts), f"only {versions} of {len(scripts)} versions ran at all"
    assert certain > jobs // 2, f"for only {certain} of {jobs} jobs it is certain which version was meant"
    assert lost == 0, f"{lost} acknowledged jobs are not in history"
    assert wrong == 0, f"{wrong} jobs ran a version that their path did not mean"
    return {
        "versions": (versions - 1, "deployments"),
        "jobs": (jobs, "jobs"),
        "lost": (lost, "jobs"),
        "wrong_version": (wrong, "jobs"),
    }
