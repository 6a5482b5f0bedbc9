"""Callers who go at any moment, who are slow, or who are many: they leave nothing behind, and hold nobody up."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import suppress
from typing import Any

import psutil
import pytest

from mill_actors.api import authentication, dispatch, server
from mill_actors.api.problems import Problem, problem_of
from mill_actors.store import submitter, waiter
from mill_actors.store.connection import Database
from mill_actors.store.submission import Submission
from tests.api.a_server import RUN, WAIT, Place, a_server, until


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiter, "RECHECK_SECONDS", 0.05)
    monkeypatch.setattr(waiter, "PATIENCE_SECONDS", 0.02)


async def nothing_is_left(place: Place) -> None:
    """Nobody's request, watch, wait or connection."""
    services = place.services

    def is_idle() -> bool:
        stats = services.pool._pool.get_stats()
        return (
            place.server.gate.under_way == 0
            and services.watcher.watched == 0
            and not services.waiter._awaited()
            and not services._held
            and stats["pool_available"] == stats["pool_size"]
            and not stats.get("requests_waiting")
        )

    await until(is_idle, "nothing is left")


def test_a_caller_may_go_at_any_moment(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """After each number of turns of the loop: in the head, the body, a statement, a wait, a stream."""

    async def main() -> None:
        async with a_server(dsn, connections=2) as place:
            body = b'{"a": 1}'
            waits = place.head("POST", WAIT, "Content-Length: 8") + body
            keyed = place.head("POST", WAIT + "?tag=x", "Content-Length: 8", "Idempotency-Key: {}") + body
            streamed = place.client.submit("f/a/hello")
            path = f"/api/w/default/jobs_u/getupdate_sse/{streamed}"
            batch = place.head("POST", "/api/w/default/jobs/run/batch/p/f/a/hello", "Content-Length: 900")
            requests = [waits, keyed, place.head("GET", path), batch + b'{"a": 1}\n' * 100]
            requests.append(place.head("GET", "/api/w/default/jobs/list"))
            for request in requests:
                for turns in range(60):
                    place.services.authenticator.forget()
                    _, writer = await place.connect()
                    writer.write(
                        request.replace(b"{}", str(turns).encode(), 1) if request is keyed else request
                    )
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    writer.transport.abort()
            await nothing_is_left(place)
            tasks = [task for task in asyncio.all_tasks() if "handle" in repr(task)]
            assert tasks == []
            # What nobody can ask for again does not run.
            with Database(dsn).connect() as connection:
                left = connection.execute(
                    "select id::text from mill.queue where awaited and tag <> 'x'"
                ).fetchall()
            assert set(left) <= {(streamed,)}
            assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    asyncio.run(main())


def test_what_is_refused_is_not_waited_for(dsn: str) -> None:
    async def main() -> None:
        async with a_server(dsn) as place:
            for path, status in ((WAIT + "x", 404), (WAIT, 400)):
                async with place.session.post(path, data=b"{") as answer:
                    assert answer.status in {status, 400}
            await nothing_is_left(place)

    asyncio.run(main())


def test_a_key_outlives_whoever_waited(dsn: str) -> None:
    """He can ask again, and so his job goes on."""

    async def main() -> None:
        async with a_server(dsn) as place:
            _, writer = await place.connect()
            writer.write(place.head("POST", WAIT, "Content-Length: 0", "Idempotency-Key: mine"))
            await until(lambda: place.client.list("queued"), "it is there")
            await until(lambda: place.services._held, "he waits")
            writer.transport.abort()
            await nothing_is_left(place)
            assert len(place.client.list("queued")) == 1

    asyncio.run(main())


def test_one_of_many_with_one_token_asks_what_it_means(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    look_up = authentication._look_up

    def counted(connection: Any, token: str, workspace: str) -> Any:
        asked.append(token)
        return look_up(connection, token, workspace)

    monkeypatch.setattr(authentication, "_look_up", counted)

    async def main() -> None:
        async with a_server(dsn) as place:
            authenticator = place.services.authenticator
            first = asyncio.create_task(authenticator.of_token(place.token, "default"))
            others = [asyncio.create_task(authenticator.of_token(place.token, "default")) for _ in range(99)]
            await asyncio.sleep(0)
            first.cancel()
            found = await asyncio.gather(*others)
            assert len(set(map(id, found))) == 1
            assert len(asked) == 1
            authenticator.forget()
            late = asyncio.create_task(authenticator.of_token(place.token, "default"))
            await asyncio.sleep(0)
            authenticator.forget()
            await authenticator.of_token(place.token, "default")
            await late
            assert len(asked) == 3
            wrong = [asyncio.create_task(authenticator.of_token("wrong", "default")) for _ in range(9)]
            refused = await asyncio.gather(*wrong, return_exceptions=True)
            assert {problem_of(error).status for error in refused if isinstance(error, Problem)} == {401}

    asyncio.run(main())


# -- slow ones -----------------------------------------------------------------------------


def test_a_head_that_never_ends_is_not_waited_for(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEEPALIVE_SECONDS", 0.2)

    async def main() -> None:
        async with a_server(dsn) as place, asyncio.timeout(5):
            first = place.head("GET", "/api/version")
            for begin in (b"", b"GET /api/version HTTP/1.1\r\nX: ", first, first + b"GET /"):
                reader, writer = await place.connect()
                writer.write(begin)

                async def trickle(writer: asyncio.StreamWriter = writer) -> None:
                    while True:
                        writer.write(b"x")
                        await asyncio.sleep(0.02)

                trickling = asyncio.create_task(trickle()) if begin else None
                with suppress(ConnectionResetError):
                    await reader.read()
                if trickling is not None:
                    trickling.cancel()
                writer.close()

    asyncio.run(main())


def test_a_body_that_trickles_has_its_time(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BODY_SECONDS", 0.1)

    async def main() -> None:
        async with a_server(dsn) as place, asyncio.timeout(5):
            reader, writer = await place.connect()
            writer.write(place.head("POST", RUN, "Content-Length: 1000") + b"{")
            assert b" 408 " in await reader.readline()
            writer.close()

    asyncio.run(main())


def test_whoever_does_not_read_is_cut_off(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALLED_SECONDS", 0.1)

    async def main() -> None:
        async with a_server(dsn) as place, asyncio.timeout(20):
            job = place.client.submit("f/a/hello", {"a": "x" * 30_000_000})
            _, writer = await place.connect()
            transport = writer.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            writer.write(place.head("GET", f"/api/w/default/jobs_u/get_args/{job}"))
            await until(lambda: place.server.gate.under_way, "it is answered")
            await nothing_is_left(place)
            writer.close()

    asyncio.run(main())


# -- submissions -----------------------------------------------------------------------------


POISON: list[tuple[bytes, dict[str, Any]]] = [
    (b'{"a": ' + b"[" * 1015 + b"]" * 1015 + b"}", {"key": "k"}),
    (b'{"a": NaN}', {}),
    (b"[]", {}),
    (b"{}", {"tag": "\0"}),
    (b"{}", {"tag": "\ud800"}),
    (b"{}", {"created_by": "\0"}),
    (b"{}", {"scheduled_in_seconds": 1e300}),
    (b"{}", {"parent_job": "x"}),
    (b"{}", {"priority": 101}),
    (b"{}", {"path": "f/a/nope"}),
    (b'{"a": "' + b"x" * (70 << 20) + b'"}', {}),
]


def test_one_that_is_refused_is_refused_alone(dsn: str) -> None:
    async def main() -> None:
        async with a_server(dsn) as place:
            told = []
            for number in range(300):
                args, more = POISON[number // 27 % len(POISON)] if number % 27 == 0 else (b"{}", {})
                told.append(
                    Submission(**{"path": "f/a/hello", "args": args, "awaited": number % 2 == 0, **more})
                )
            submit = place.services.submitter.submit
            done = await asyncio.gather(*(submit(one) for one in told), return_exceptions=True)
            for number, one in enumerate(done):
                if number % 27:
                    assert not isinstance(one, BaseException), one
                else:
                    assert isinstance(one, Exception)
                    assert problem_of(one).status in {400, 404}, one

    asyncio.run(main())


def test_a_batch_is_not_larger_than_a_statement_may_be(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitter, "MAX_BATCH_BYTES", 1000)
    sizes = []
    submit_each = submitter._submit_each

    def counted(connection: Any, batch: Any) -> Any:
        sizes.append(sum(asked.size for asked in batch))
        return submit_each(connection, batch)

    monkeypatch.setattr(submitter, "_submit_each", counted)

    async def main() -> None:
        async with a_server(dsn) as place:
            args = json.dumps({"a": "x" * 400}).encode()
            one = Submission(path="f/a/hello", args=args)
            await asyncio.gather(*(place.services.submitter.submit(one) for _ in range(20)))

    asyncio.run(main())
    assert max(sizes) <= 1000
    assert len(sizes) >= 10


def test_more_than_it_takes_is_told_so(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitter, "MAX_WAITING", 0)

    async def main() -> None:
        async with a_server(dsn) as place, place.session.post(RUN, json={}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "busy")
            assert answer.headers["Retry-After"] == "1"

    asyncio.run(main())


def test_a_key_in_somebodys_open_transaction_holds_up_no_other(dsn: str) -> None:
    async def main() -> None:
        async with a_server(dsn) as place:
            with Database(dsn).connect() as connection, connection.transaction(force_rollback=True):
                place.client.submit("f/a/hello", key="mine", connection=connection)
                held = asyncio.create_task(place.session.post(RUN, headers={"Idempotency-Key": "mine"}))
                async with asyncio.timeout(5):
                    for _ in range(5):
                        async with place.session.post(RUN, json={}) as answer:
                            assert answer.status == 201
                assert not held.done()
            async with await held as answer:
                assert answer.status == 201

    asyncio.run(main())


@pytest.mark.slow
def test_many_wait(dsn: str) -> None:
    """Two thousand in one process with their callers: what one costs is bounded, and each is answered."""

    async def main() -> None:
        async with a_server(dsn) as place, asyncio.timeout(50):
            gc.collect()
            before = psutil.Process().memory_info().rss
            waits = [asyncio.create_task(place.session.post(WAIT)) for _ in range(2000)]
            await until(lambda: len(place.services._held) == 2000, "all wait", 40)
            each = (psutil.Process().memory_info().rss - before) / 2000
            assert each < 200_000, each
            with Database(dsn).connect() as connection:
                ids = [row[0] for row in connection.execute("select id::text from mill.queue").fetchall()]
            for job in ids[:50]:
                place.client.cancel(job)
            done, _ = await asyncio.wait(waits, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            assert done
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    asyncio.run(main())
