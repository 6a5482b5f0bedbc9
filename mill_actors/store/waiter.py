"""Waiting for results: one LISTEN connection for all that wait, no poll of their own.

`mill_settled` rings when an awaited job is settled; a lost ring costs latency only, because every
2 s, and on each reconnect, one query asks for all that are awaited.
"""

from __future__ import annotations

import itertools
import logging
import math
import select
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from time import monotonic

import psycopg

from mill_actors.errors import StoreUnavailable
from mill_actors.store.connection import Connection, Database, Session
from mill_actors.store.jobs import JobResult, await_jobs, job_results
from mill_actors.store.notify import SETTLED

logger = logging.getLogger(__name__)

RECHECK_SECONDS = 2.0
LISTEN_SECONDS = 5.0
#: How long the thread sleeps while nothing rings.
PATIENCE_SECONDS = 0.5


class Waiter:
    """A thread that completes a Future for each job that ends. Start it before you submit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session = Session(database, "mill waiter")
        self._futures: dict[str, list[Future[JobResult]]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._listening = threading.Event()
        # So that `close` need not wait for the patience of a select.
        self._wakes, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._work, name="mill-waiter", daemon=True)
        self._thread.start()

    @property
    def is_listening(self) -> bool:
        """Whether `expect` returns at once."""
        return self._listening.is_set()

    def listen(self) -> None:
        """Wait, a few seconds at most, until rings are heard: without them results come by the recheck."""
        self._listening.wait(LISTEN_SECONDS)

    def expect(self, job: str) -> Future[JobResult]:
        """Return the Future of a job whose row says `awaited` (as it is submitted); `listen` first.

        Whoever waits no longer cancels it.
        """
        future: Future[JobResult] = Future()
        with self._lock:
            self._futures.setdefault(job, []).append(future)
        return future

    def watch(self, jobs: Iterable[str], connection: Connection) -> list[Future[JobResult]]:
        """Return the Futures of jobs that were submitted before, finished or not; `listen` first."""
        wanted = list(jobs)
        futures = [self.expect(job) for job in wanted]
        try:
            await_jobs(connection, wanted)
            self._complete(job_results(connection, wanted))
        except BaseException:
            # Whoever asked has none of them, and cannot cancel it.
            for future in futures:
                future.cancel()
            raise
        return futures

    def close(self) -> None:
        """Stop; what still waits is cancelled."""
        self._stop.set()
        self._wakes.close()
        self._thread.join(5.0)
        self._woken.close()
        with self._lock:
            for future in itertools.chain.from_iterable(self._futures.values()):
                future.cancel()

    def _awaited(self) -> list[str]:
        """Return the jobs somebody still waits for, and forget those whose futures were cancelled."""
        with self._lock:
            self._futures = {
                job: left
                for job, futures in self._futures.items()
                if (left := [future for future in futures if not future.cancelled()])
            }
            return list(self._futures)

    def _complete(self, results: Iterable[JobResult]) -> None:
        for result in results:
            with self._lock:
                futures = self._futures.pop(result.id, [])
            for future in futures:
                # False: whoever waited has given up.
                if future.set_running_or_notify_cancel():
                    future.set_result(result)

    def _work(self) -> None:
        pause = 0.1
        while not self._stop.is_set():
            try:
                with self._database.connect(direct=True, name="mill waiter") as connection:
                    connection.execute("listen mill_settled")
                    self._listening.set()
                    pause = 0.1
                    self._listen(connection)
            except (psycopg.Error, StoreUnavailable) as error:
                logger.warning("waiting for results: the database is away: %s", error)
                self._stop.wait(pause)
                pause = min(pause * 2, 5.0)
        self._session.close()

    def _listen(self, connection: Connection) -> None:
        checked = -math.inf
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(self._woken.fileno(), select.POLLIN)
        while not self._stop.is_set():
            if monotonic() - checked > RECHECK_SECONDS:
                checked = monotonic()
                self._look(self._awaited())
            for ring in connection.notifies(timeout=0):
                if ring.channel == SETTLED:
                    rung = [job for job in ring.payload.split(",") if job in self._futures]
                    self._look(rung)
            poll.poll(PATIENCE_SECONDS * 1000)

    def _look(self, jobs: list[str]) -> None:
        if jobs:
            self._complete(self._session.run(lambda connection: job_results(connection, jobs)))
