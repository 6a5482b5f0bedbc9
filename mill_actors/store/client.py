"""`Client`: submit jobs, wait for them, look at them. Thread-safe; one connection, one waiter.

Inside a transaction of your own, pass its connection: `client.submit("f/a/b", {…},
connection=conn)` is then part of that transaction, and the job exists exactly if it commits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from mill_actors.errors import JobNotFound
from mill_actors.ids import new_id
from mill_actors.jobs.script import Script
from mill_actors.store import jobs, logs, nodes, scripts, submission
from mill_actors.store.connection import AnyConnection, Connection, Database, Session, lent
from mill_actors.store.flow_client import FlowCalls
from mill_actors.store.jobs import JobResult
from mill_actors.store.notify import DEPLOY, notify, ring_queue
from mill_actors.store.runnables import Runnable, runnable_by_path
from mill_actors.store.submission import Receipt, Submission
from mill_actors.store.waiter import Waiter

T = TypeVar("T")


class Client(FlowCalls):
    """Speaks to the database and to nothing else: no node needs to run to submit."""

    def __init__(self, database: Database | str, workspace: str = "default", user: str = "u/admin") -> None:
        self.database = Database(database) if isinstance(database, str) else database
        self.workspace = workspace
        self.user = user
        self._session = Session(self.database, "mill client")
        self._lock = threading.Lock()
        self._waiter: Waiter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; futures that still wait are cancelled."""
        if self._waiter is not None:
            self._waiter.close()
        with self._lock:
            self._session.close()

    # -- submitting ----------------------------------------------------------------

    def submit(
        self,
        path: str,
        args: Mapping[str, object] | None = None,
        *,
        connection: AnyConnection | None = None,
        **options: Any,
    ) -> str:
        """Submit one job and return its id; `options` are the fields of `Submission`.

        Durable when it returns (with `connection`: when your transaction commits).
        """
        told = Submission(
            path=path, args=args or {}, **{"workspace": self.workspace, "created_by": self.user, **options}
        )
        return self.submit_many([told], connection=connection)[0].id

    def submit_many(
        self, submissions: Sequence[Submission], *, connection: AnyConnection | None = None
    ) -> list[Receipt]:
        """Submit all of them, or none; receipts come in the same order."""
        if connection is not None:
            with lent(connection) as theirs:
                done = submission.submit(theirs, submissions, inside=True)
                ring_queue(theirs, done.tags)
            return done.receipts

        def work(own: Connection) -> list[Receipt]:
            done = submission.submit(own, submissions)
            ring_queue(own, done.tags)
            return done.receipts

        return self._run(work)

    def start(
        self, path: str, args: Mapping[str, object] | None = None, **options: Any
    ) -> tuple[str, Future[JobResult]]:
        """Submit one job; return its id and the Future of its result."""
        waiter = self._waiting()
        if options.get("key") is not None or options.get("id") is not None:
            job = self.submit(path, args, **options)
            return job, self.expect(job)
        job = new_id()
        future = waiter.expect(job)
        told = Submission(
            path=path,
            args=args or {},
            awaited=True,
            **{"workspace": self.workspace, "created_by": self.user, **options},
        )

        def work(own: Connection) -> None:
            done = submission.submit(own, [told], ids=[job])
            ring_queue(own, done.tags)

        try:
            self._run(work)
        except BaseException:
            future.cancel()
            raise
        return job, future

    def run(
        self,
        path: str,
        args: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        **options: Any,
    ) -> JobResult:
        """Submit one job and wait for its end; TimeoutError does not cancel it."""
        _, future = self.start(path, args, **options)
        return future.result(timeout)

    # -- waiting -------------------------------------------------------------------

    def expect(self, job: str) -> Future[JobResult]:
        """Return the Future of any job's result; raise `JobNotFound` for an unknown one."""
        waiter = self._waiting()
        found = self.job(job)
        return self._run(lambda own: waiter.watch([found.id], own))[0]

    def wait(self, job: str, timeout: float | None = None) -> JobResult:
        """Wait for the end of a job."""
        return self.expect(job).result(timeout)

    # -- looking -------------------------------------------------------------------

    def job(self, job: str) -> jobs.Job:
        """Return one job; raise `JobNotFound`."""
        return self._run(lambda own: jobs.get_job(own, self.workspace, job))

    def attempts(self, job: str) -> list[jobs.Attempt]:
        """Return the attempts before the last one."""
        return self._run(lambda own: jobs.job_attempts(own, self.workspace, job))

    def logs(self, job: str, after: tuple[int, int] = (0, -1)) -> list[logs.LogChunk]:
        """Return what a job has printed so far, after (attempt, position)."""
        return self._run(lambda own: logs.read_logs(own, self.workspace, job, after))

    def list(
        self, status: str | None = None, path: str | None = None, limit: int = 30, *, steps: bool = False
    ) -> list[jobs.ListedJob]:
        """Return open jobs, then finished ones, newest first; those of flows' steps if asked for."""
        return self._run(
            lambda own: jobs.list_jobs(
                own, self.workspace, status=status, path=path, limit=limit, steps=steps
            )
        )

    def results(self, ids: Sequence[str]) -> Sequence[JobResult]:
        """Return the results of those of these jobs that are finished, in no order."""
        return self._run(lambda own: jobs.job_results(own, ids))

    def counts(self, within_seconds: float = 3600.0) -> dict[str, int]:
        """Count open jobs by state and recently finished ones by status."""
        return self._run(lambda own: jobs.count_jobs(own, self.workspace, within_seconds))

    def nodes(self) -> Sequence[nodes.ListedNode]:
        """Return every node with a row."""
        return self._run(nodes.list_nodes)

    def tags_served(self) -> frozenset[str]:
        """Return every tag that a living node serves: a job with another one waits for ever."""
        return self._run(nodes.tags_served)

    # -- changing ------------------------------------------------------------------

    def cancel(self, job: str, reason: str | None = None, *, force: bool = False) -> str:
        """Cancel a job: `cancelled`, `requested` (it is running), or the status it already ended with."""

        def work(own: Connection) -> str:
            try:
                return jobs.cancel_job(own, self.workspace, job, by=self.user, reason=reason, force=force)
            except JobNotFound:
                found = jobs.get_job(own, self.workspace, job)
                if not found.is_final:
                    raise
                return found.status

        return self._run(work)

    def deploy(self, script: Script) -> bool:
        """Make a version what its path means, from now on; False if it meant that already."""

        def work(own: Connection) -> bool:
            changed = scripts.deploy_script(own, script, self.user)
            if changed:
                notify(own, DEPLOY, f"{script.workspace}:{script.path}")
            return changed

        return self._run(work)

    def runnable(self, path: str) -> Runnable:
        """Return what a path means now, script or flow, as far as a submission needs to know.

        Raise `ScriptNotFound`, with similar paths if there are any.
        """
        return self._run(lambda own: runnable_by_path(own, self.workspace, path, None))

    def script(self, path: str) -> Script:
        """Return what a path means now; raise `ScriptNotFound`, with similar paths if there are any."""
        return self._run(lambda own: scripts.script_by_path(own, self.workspace, path))

    def scripts(self) -> Sequence[scripts.ListedScript]:
        """Return every script path of the workspace."""
        return self._run(lambda own: scripts.list_scripts(own, self.workspace))

    def _run(self, work: Callable[[Connection], T]) -> T:
        with self._lock:
            return self._session.run(work)

    def _waiting(self) -> Waiter:
        with self._lock:
            if self._waiter is None:
                self._waiter = Waiter(self.database)
        self._waiter.listen()
        return self._waiter
