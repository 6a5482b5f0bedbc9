"""The database is away, comes back, says nothing, or loses a reply, while requests are under way."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg_pool.base
import pytest

from mill_actors.api import job_events
from mill_actors.ids import new_id
from mill_actors.store import pool, waiter
from tests.api.a_server import RUN, WAIT, Place, a_server, until
from tests.system.proxy import Proxy


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory() as name, Proxy(dsn, Path(name)) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that gives up, and tries again, in no time."""
    monkeypatch.setattr(pool, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(pool, "RECONNECT_SECONDS", 0.2)
    monkeypatch.setattr(psycopg_pool.base.AttemptWithBackoff, "INITIAL_DELAY", 0.02)
    monkeypatch.setattr(waiter, "RECHECK_SECONDS", 0.1)
    monkeypatch.setattr(waiter, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(job_events, "AGAIN_SECONDS", 0.02)


async def status(place: Place, path: str, method: str = "GET", **options: Any) -> int:
    async with place.session.request(method, path, **options) as answer:
        if answer.status == 503:
            assert answer.headers["Retry-After"] == "1"
            assert (await answer.json())["code"] == "unavailable"
        return answer.status


async def works(place: Place) -> None:
    async with asyncio.timeout(10):
        while await status(place, RUN, "POST", json={}) != 201:
            pass


def test_everybody_is_told_and_it_works_again_by_itself(dsn: str, proxy: Proxy) -> None:
    async def main() -> None:
        async with a_server(dsn, proxy.dsn) as place:
            await works(place)
            proxy.shut()
            requests = [("/api/ready", "GET"), ("/api/health", "GET"), ("/api/w/default/jobs/list", "GET")]
            requests += [(RUN, "POST")] * 50 + [(WAIT, "POST")] * 50
            async with asyncio.timeout(5):
                told = await asyncio.gather(*(status(place, *request) for request in requests))
            assert set(told) == {503}
            proxy.open()
            await works(place)
            assert await status(place, "/api/ready") == 200
            assert place.services.waiter._awaited() == []

    asyncio.run(main())


def test_after_a_long_outage_it_does_not_sleep_as_long_again(
    dsn: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first failure is followed by the pause that others come to in an hour.
    monkeypatch.setattr(psycopg_pool.base.AttemptWithBackoff, "INITIAL_DELAY", 3600.0)

    async def main() -> None:
        async with a_server(dsn, proxy.dsn, connections=1) as place:
            await works(place)
            proxy.shut()
            for _ in range(3):
                assert await status(place, "/api/ready") == 503
            proxy.open()
            await works(place)

    asyncio.run(main())


def test_who_waits_gets_his_result_after_the_outage(dsn: str, proxy: Proxy) -> None:
    async def main() -> None:
        async with a_server(dsn, proxy.dsn) as place:
            waits = [asyncio.create_task(status(place, WAIT, "POST", json={})) for _ in range(20)]
            await until(lambda: len(place.client.list("queued")) == 20, "all wait")
            proxy.shut()
            for job in place.client.list("queued"):
                place.client.cancel(job.id)
            proxy.open()
            async with asyncio.timeout(10):
                assert await asyncio.gather(*waits) == [422] * 20

    asyncio.run(main())


def test_a_ring_that_is_lost_delays_and_no_more(
    dsn: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "SETTLED", "nobody rings here")

    async def main() -> None:
        async with a_server(dsn, proxy.dsn) as place:
            wait = asyncio.create_task(status(place, WAIT, "POST", json={}))
            await until(lambda: place.client.list("queued"), "it waits")
            place.client.cancel(place.client.list("queued")[0].id)
            async with asyncio.timeout(10):
                assert await wait == 422

    asyncio.run(main())


async def event(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    line = await answer.content.readline()
    await answer.content.readline()
    told: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    return told


def test_a_stream_goes_on(dsn: str, proxy: Proxy) -> None:
    async def main() -> None:
        async with a_server(dsn, proxy.dsn) as place:
            job = place.client.submit("f/a/hello")
            stream = await place.session.get(f"/api/w/default/jobs_u/getupdate_sse/{job}")
            assert (await event(stream))["completed"] is False
            await until(lambda: place.services.watcher.watched, "it is watched")
            proxy.shut()
            place.services.watcher._watched[job].ring()
            assert await event(stream) == {"type": "ping"}
            place.client.cancel(job)
            proxy.open()
            async with asyncio.timeout(20):
                while (told := await event(stream))["type"] == "ping":
                    pass
            assert (told["completed"], told["job"]["status"]) == (True, "canceled")

    asyncio.run(main())


@pytest.mark.parametrize("chosen", ["key", "id"])
def test_a_lost_reply_is_a_503_and_a_repeat_answers_the_job(dsn: str, proxy: Proxy, chosen: str) -> None:
    async def main() -> None:
        async with a_server(dsn, proxy.dsn) as place:
            await works(place)
            told: dict[str, Any] = {"json": {"n": 1}}
            if chosen == "key":
                told["headers"] = {"Idempotency-Key": "mine"}
            else:
                told["params"] = {"job_id": new_id()}
            lost = proxy.lose_reply("mill server", b"COMMIT")
            assert await status(place, RUN, "POST", **told) == 503
            assert lost.is_set()
            # The other one is that of `works`.
            known = {job.id for job in place.client.list("queued")}
            assert len(known) == 2
            async with place.session.post(RUN, **told) as answer:
                assert answer.status == 201
                assert await answer.text() in known
            assert len(place.client.list("queued")) == 2

    asyncio.run(main())


def test_a_database_that_says_nothing_is_given_up(
    dsn: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "STALLED_SECONDS", 0.3)

    async def main() -> None:
        async with a_server(dsn, proxy.dsn) as place:
            await works(place)
            proxy.stall()
            async with asyncio.timeout(5):
                told = await asyncio.gather(
                    *(status(place, path, "POST", json={}) for path in [RUN, WAIT] * 10),
                    status(place, "/api/ready"),
                )
            assert set(told) == {503}
            proxy.go_on()
            await works(place)

    asyncio.run(main())


def test_without_rings_nobody_is_held_up_by_those_who_wait_for_them(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that hears of results cannot be made: that stops nobody else."""
    monkeypatch.setattr(waiter, "LISTEN_SECONDS", 0.5)
    monkeypatch.setattr(waiter.Waiter, "_work", lambda self: self._stop.wait())

    async def main() -> None:
        async with a_server(dsn) as place:
            waits = [asyncio.create_task(status(place, WAIT, "POST", json={})) for _ in range(100)]
            await asyncio.wait(waits, timeout=0.1)
            async with asyncio.timeout(0.4):
                assert await status(place, "/api/version") == 200
            async with asyncio.timeout(2):
                assert set(await asyncio.gather(*waits)) == {503}

    asyncio.run(main())
