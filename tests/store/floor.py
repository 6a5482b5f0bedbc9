"""The floor of the mill for tests of the store: a database, connections, hands, rivals.

A `Hand` is a worker's: it claims and settles. A `Rival` does something in another thread, and says
when it waits for a lock, so that two transactions can be interleaved without a sleep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import psycopg

from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome, Verdict
from mill_actors.jobs.script import Script, ScriptOptions, make_script
from mill_actors.store import claims, nodes, settlement
from mill_actors.store.connection import Connection, Database
from mill_actors.store.holder import Holder
from mill_actors.store.jobs import Job, get_job
from mill_actors.store.scripts import deploy_script
from mill_actors.store.settlement import Retrial, Settled
from mill_actors.store.submission import Receipt, Submission, submit

T = TypeVar("T")
TAG = "python3"
PATIENCE_SECONDS = 20.0


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so that nobody signals, with a deadline."""
    deadline = monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert monotonic() < deadline, "it does not become so"
        time.sleep(0.001)


class Floor:
    """One database, and what a test does with it."""

    def __init__(self, dsn: str, database: Database | None = None) -> None:
        self.dsn = dsn
        self.database = database or Database(dsn)
        self._closing = ExitStack()
        self.connection = self.connect()
        self._observer = self.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def connect(self) -> Connection:
        """Open a connection as the engine does; it is closed after the test."""
        connection = self.database.connect(name="mill test")
        self._closing.callback(connection.close)
        return connection

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode(), values).fetchall()

    def row(self, query: str, *values: object) -> tuple[Any, ...]:
        (row,) = self.rows(query, *values)
        return row

    def value(self, query: str, *values: object) -> Any:
        return self.row(query, *values)[0]

    def do(self, statement: str, *values: object) -> int:
        return self.connection.execute(statement.encode(), values).rowcount

    def clear(self) -> None:
        """Remove everything but the scripts f/a/b (plain) and f/a/one (one at a time)."""
        for table in (
            "queue", "concurrency_key", "concurrency_slot", "submission_key", "completed_job", "job_attempt",
            "job_log", "node",
        ):  # fmt: skip
            self.do(f"delete from mill.{table}")
        self.do("delete from mill.script_path")
        self.do("delete from mill.script")
        self.do("delete from mill.workspace where id <> 'default'")
        self.deploy("f/a/b")
        self.deploy("f/a/one", concurrency_limit=1)

    # -- scripts and jobs ----------------------------------------------------------

    def deploy(self, path: str, workspace: str = "default", content: str = "", **options: Any) -> Script:
        script = make_script(workspace, path, "python3", content or f"# {path}", ScriptOptions(**options))
        deploy_script(self.connection, script, "u/admin")
        return script

    def workspace(self, name: str) -> str:
        """Make a workspace that has f/a/b too."""
        self.do("insert into mill.workspace (id) values (%s)", name)
        self.deploy("f/a/b", name)
        return name

    def submit(self, args: Mapping[str, object] | None = None, path: str = "f/a/b", **options: Any) -> str:
        return self.receipt(args, path, **options).id

    def receipt(
        self, args: Mapping[str, object] | None = None, path: str = "f/a/b", **options: Any
    ) -> Receipt:
        (receipt,) = self.receipts([Submission(path=path, args=args or {}, **options)])
        return receipt

    def receipts(self, submissions: Sequence[Submission]) -> list[Receipt]:
        return submit(self.connection, submissions).receipts

    def submit_many(self, count: int, path: str = "f/a/b", **options: Any) -> list[str]:
        told = [Submission(path=path, args={"n": n}, **options) for n in range(count)]
        return [receipt.id for receipt in self.receipts(told)]

    def job(self, job: str, workspace: str = "default") -> Job:
        return get_job(self.connection, workspace, job)

    def status(self, job: str) -> str:
        return self.job(job).status

    def result(self, job: str) -> str | None:
        return self.job(job).result

    def admitted(self) -> set[str]:
        """Return the ids of open jobs that have their place."""
        return {row[0] for row in self.rows("select id::text from mill.queue where admitted")}

    def slots(self) -> set[str]:
        return {row[0] for row in self.rows("select job::text from mill.concurrency_slot")}

    def heard(self, connection: Connection) -> list[tuple[str, str]]:
        """Return what rang on a listening connection so far: (channel, payload)."""
        connection.execute("select 1")
        return [(ring.channel, ring.payload) for ring in connection.notifies(timeout=0)]

    def listen(self, *channels: str) -> Connection:
        connection = self.connect()
        for channel in channels:
            connection.execute(f"listen {channel}".encode())
        return connection

    # -- workers -------------------------------------------------------------------

    def hand(self, node: str | None = None, worker: str = "w1") -> Hand:
        return Hand(self.connect(), Holder(node or new_id(), worker))

    def living_hand(self) -> Hand:
        """Return a hand whose node has a row."""
        hand = self.hand()
        nodes.register_node(self.connection, hand.holder.node, "n", [TAG], [])
        return hand

    # -- two at once ---------------------------------------------------------------

    def rival(self, work: Callable[[Connection], T]) -> Rival[T]:
        """Do `work` in a thread, with a connection of its own."""
        return Rival(self, work)

    def waiting(self) -> set[int]:
        """Return the process ids of those in this database that wait for a lock."""
        # A connection of its own: within a transaction pg_stat_activity does not move.
        rows = self._observer.execute(
            "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchall()
        return {row[0] for row in rows}


class Hand:
    """A worker of a node, with a connection of its own."""

    def __init__(self, connection: Connection, holder: Holder) -> None:
        self.connection = connection
        self.holder = holder

    @property
    def node(self) -> str:
        return self.holder.node

    def claim(
        self, limit: int = 1000, tags: Sequence[str] = (TAG,), claim: str | None = None
    ) -> list[ClaimedJob]:
        return claims.claim_jobs(self.connection, self.holder, claim or new_id(), tags, limit)

    def claim_one(self) -> ClaimedJob:
        (job,) = self.claim(1)
        return job

    def ids(self, limit: int = 1000, tags: Sequence[str] = (TAG,)) -> list[str]:
        return [job.id for job in self.claim(limit, tags)]

    def finish(
        self, *jobs: ClaimedJob, verdict: Verdict = Verdict.SUCCESS, result: bytes = b"null"
    ) -> Settled:
        return settlement.settle(self.connection, [outcome(job, verdict, result) for job in jobs])

    def retry(self, *jobs: ClaimedJob, delay: float = 0.0, result: bytes = b'{"error":1}') -> Settled:
        told = [Retrial(outcome(job, Verdict.FAILURE, result), delay) for job in jobs]
        return settlement.settle(self.connection, [], told)

    def release(self, *jobs: ClaimedJob) -> set[str]:
        return {job for job, _ in claims.release_jobs(self.connection, [(j.id, j.claim) for j in jobs])}

    def held(self) -> dict[str, str]:
        return claims.held_jobs(self.connection, self.holder)


def outcome(
    job: ClaimedJob, verdict: Verdict = Verdict.SUCCESS, result: bytes = b"null", duration_us: int = 5
) -> Outcome:
    return Outcome(job, verdict, result, duration_us, monotonic())


class Rival(Generic[T]):
    """Work in another thread. `result` gives what it returned, or raises what it raised."""

    def __init__(self, floor: Floor, work: Callable[[Connection], T]) -> None:
        self._floor = floor
        self._connection = floor.connect()
        self._done: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name="rival")
        self._thread.start()

    def _run(self, work: Callable[[Connection], T]) -> None:
        try:
            self._done.append(work(self._connection))
        except BaseException as error:  # noqa: BLE001  handed to whoever asks for the result
            self._error = error

    def waits(self, *, itself: bool = False) -> bool:
        """Whether it waits for a lock now; False: it has ended without one.

        Its work may use another connection, a hand's; `itself`: it uses the one that it got.
        """
        deadline = monotonic() + PATIENCE_SECONDS
        while self._thread.is_alive():
            waiting = self._floor.waiting()
            if self._connection.info.backend_pid in waiting if itself else waiting:
                return True
            assert monotonic() < deadline, "it neither ends nor waits for a lock"
            time.sleep(0.001)
        return False

    def result(self) -> T:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "it does not end"
        if self._error is not None:
            raise self._error
        return self._done[0]

    def error(self, kind: type[BaseException] = psycopg.Error) -> BaseException:
        """Return what it raised."""
        self._thread.join(PATIENCE_SECONDS)
        assert isinstance(self._error, kind), f"{self._error!r} instead of {kind.__name__}"
        return self._error
