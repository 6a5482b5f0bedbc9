"""The client for event loops: the same store, on psycopg's asynchronous connections."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg
import pytest

from mill_actors import AsyncClient, Client
from mill_actors.errors import JobNotFound, ScriptNotFound, StoreUnavailable, SubmissionConflict
from mill_actors.jobs.script import make_script
from mill_actors.store.submission import Submission

T = TypeVar("T")


@pytest.fixture
def path(dsn: str) -> str:
    with Client(dsn) as client:
        client.deploy(make_script("default", "f/a/b", "python3", "def main(**_): pass"))
    return "f/a/b"


def go(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_it_submits_and_looks(dsn: str, path: str) -> None:
    async def work() -> tuple[str, str]:
        async with AsyncClient(dsn) as client:
            job = await client.submit(path, {"n": 1})
            return (await client.job(job)).args, await client.cancel(job)

    assert go(work()) == ('{"n":1}', "cancelled")


def test_a_bulk_is_copied(dsn: str, path: str) -> None:
    async def work() -> int:
        async with AsyncClient(dsn) as client:
            receipts = await client.submit_many([Submission(path=path, args={"n": n}) for n in range(1000)])
            return len({receipt.id for receipt in receipts})

    assert go(work()) == 1000


@pytest.mark.parametrize("commits", [True, False])
def test_a_job_exists_exactly_if_the_callers_transaction_commits(dsn: str, path: str, commits: bool) -> None:
    async def work() -> bool:
        own = await psycopg.AsyncConnection.connect(dsn, row_factory=psycopg.rows.dict_row)
        async with AsyncClient(dsn) as client, own:
            async with own.transaction(force_rollback=not commits):
                job = await client.submit(path, {}, connection=own)
                row = await (await own.execute("select 1 as one")).fetchone()
                assert row == {"one": 1}
            try:
                return (await client.job(job)).id == job
            except JobNotFound:
                return False

    assert go(work()) is commits


def test_what_a_loop_waits_for_does_not_stop_it(dsn: str, path: str) -> None:
    """Two statements are under way at once, on connections of their own."""

    async def work() -> list[str]:
        async with AsyncClient(dsn) as client:
            return await asyncio.gather(*[client.submit(path, {"n": n}) for n in range(50)])

    assert len(set(go(work()))) == 50


def test_errors_are_those_of_the_other_client(dsn: str, path: str) -> None:
    async def work() -> None:
        async with AsyncClient(dsn) as client:
            with pytest.raises(ScriptNotFound):
                await client.submit("f/no/where")
            with pytest.raises(JobNotFound):
                await client.wait("01890000-0000-7000-8000-000000000000")
            await client.submit(path, {"n": 1}, key="k")
            with pytest.raises(SubmissionConflict):
                await client.submit(path, {"n": 2}, key="k")
            # … and the connection is good for the next one.
            assert await client.submit(path, {"n": 1})

    go(work())


def test_a_cancelled_caller_leaves_a_connection_that_works(dsn: str, path: str) -> None:
    async def work() -> None:
        async with AsyncClient(dsn, connections=1) as client:
            with psycopg.connect(dsn) as blocker:
                blocker.execute("lock table mill.queue in access exclusive mode")
                task = asyncio.create_task(client.submit(path, {"n": 1}))
                while not await asyncio.to_thread(_waits, dsn):
                    pass
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await client.submit(path, {"n": 2})

    go(work())


def _waits(dsn: str) -> bool:
    with psycopg.connect(dsn) as look:
        row = look.execute(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database())"
        ).fetchone()
    return row == (True,)


def test_nowhere_is_unavailable() -> None:
    async def work() -> None:
        async with AsyncClient("host=/nowhere") as client:
            client._pool._pool.timeout = 0.2
            with pytest.raises(StoreUnavailable):
                await client.submit("f/a/b")

    go(work())
