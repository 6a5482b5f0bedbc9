"""Jobs as server-sent events; and how those that wait are woken, and let go."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from mill_actors.api import job_events, watcher
from mill_actors.api.server import serving
from mill_actors.api.services import Services
from mill_actors.config import Config, ServerConfig
from mill_actors.ids import new_id
from mill_actors.jobs.script import make_script
from mill_actors.store.access import new_token
from mill_actors.store.client import Client
from mill_actors.store.connection import Database
from mill_actors.store.watching import job_marks
from tests.api.conftest import Api, make_token
from tests.cli.conftest import open_gate

GATE = """
def main(gate, words="", more=""):
    print(words, flush=True)
    open(gate).close()
    print(more, flush=True)
    return "through"
"""


@pytest.fixture(scope="module", autouse=True)
def scripts(api: Api) -> None:
    api.script("f/a/hello")
    api.script("f/a/gate", GATE)
    api.script("f/a/fails", "def main():\n    raise ValueError('no')\n")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


@contextmanager
def events(api: Api, path: str, method: str = "GET", **options: Any) -> Iterator[Iterator[dict[str, Any]]]:
    headers = {"Authorization": f"Bearer {api.token}"}
    url = f"{api.url}/api/w/default/{path}"
    with httpx.stream(method, url, headers=headers, timeout=30.0, **options) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Accel-Buffering"] == "no"
        yield (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line)


def test_a_stream_tells_what_comes_and_ends_with_the_job(api: Api, gate: Path) -> None:
    job = api.post("jobs/run/p/f/a/gate", json={"gate": str(gate), "words": "é😀", "more": "ü"}).text
    log, told = "", []
    with events(api, f"jobs_u/getupdate_sse/{job}") as stream:
        for event in stream:
            told.append(event)
            if event["type"] != "update":
                continue
            log += event.get("new_logs", "")
            if log == "é😀\n" and gate.exists():
                open_gate(gate)
                gate.unlink()
    assert log == "é😀\nü\n"
    assert told[0]["type"] == "update"
    assert (told[0]["completed"], told[-1]["completed"], told[-1]["running"]) == (False, True, False)
    assert told[-1]["log_offset"] == 6
    assert (told[-1]["job"]["type"], told[-1]["job"]["result"]) == ("CompletedJob", "through")
    assert "logs" not in told[-1]["job"]


def test_a_stream_may_go_on_where_another_ended(api: Api) -> None:
    job = api.post("jobs/run/p/f/a/hello", json={"name": "Ada"}).text
    api.wait(job)
    with events(api, f"jobs_u/getupdate_sse/{job}") as stream:
        (whole,) = stream
    assert (whole["new_logs"], whole["log_offset"]) == ("to Ada\n", 7)
    with events(api, f"jobs_u/getupdate_sse/{job}", params={"log_offset": 3}) as stream:
        (rest,) = stream
    assert (rest["new_logs"], rest["log_offset"]) == ("Ada\n", 7)


def test_a_stream_may_end_with_the_result_alone(api: Api) -> None:
    job = api.post("jobs/run/p/f/a/fails", json={}).text
    params = {"only_result": "true", "no_logs": "true"}
    with events(api, f"jobs_u/getupdate_sse/{job}", params=params) as stream:
        last = list(stream)[-1]
    assert last["only_result"]["error"]["name"] == "ValueError"
    assert {"job", "new_logs", "log_offset"}.isdisjoint(last)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_job_is_run_and_streamed(api: Api, method: str) -> None:
    given: dict[str, Any] = {"json": {"name": "Ada"}} if method == "POST" else {"params": {"payload": "e30"}}
    with events(api, "jobs/run_and_stream/p/f/a/hello", method, **given) as stream:
        told = list(stream)
    who = "Ada" if method == "POST" else "you"
    assert told[-1]["job"]["result"] == f"Hello {who}"
    assert "".join(event.get("new_logs", "") for event in told) == f"to {who}\n"


def test_a_flows_stream_tells_where_it_is(api: Api, gate: Path) -> None:
    step = {
        "id": "a",
        "value": {
            "type": "script", "path": "f/a/gate",
            "input_transforms": {"gate": {"type": "static", "value": str(gate)}},
        },
    }  # fmt: skip
    body = {"path": "f/a/flow", "summary": "", "value": {"modules": [step]}}
    assert api.post("flows/create", json=body).status_code == 201
    seen: list[str] = []
    with events(api, "jobs/run_and_stream/f/f/a/flow", "POST", json={}) as stream:
        for event in stream:
            status = event.get("flow_status")
            if status is not None:
                seen.append(status["modules"][0]["type"])
                if seen[-1] == "InProgress" and gate.exists():
                    open_gate(gate)
                    gate.unlink()
    assert seen[-1] == "Success"
    assert "InProgress" in seen
    assert len(seen) == len(list(dict.fromkeys(seen)))


def test_what_cannot_be_streamed(api: Api) -> None:
    with events(api, f"jobs_u/getupdate_sse/{new_id()}") as stream:
        assert list(stream) == [{"type": "notfound"}]
    for path, status in (
        ("jobs_u/getupdate_sse/x", 400),
        (f"jobs_u/getupdate_sse/{new_id()}?log_offset=-1", 400),
        ("jobs/run_and_stream/p/f/a/nope", 404),
        ("jobs/run_and_stream/h/0123456789abcdef", 404),
        ("jobs/run_and_stream/fv/0123456789abcdef", 404),
    ):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_a_stranger_sees_nothing(api: Api) -> None:
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.account (email) values ('bob@localhost')")
        connection.execute(
            "insert into mill.member (workspace, username, email) values ('default', 'bob', 'bob@localhost')"
        )
    job = api.post("jobs/run/p/f/a/hello", json={}).text
    answer = api.get(f"jobs_u/getupdate_sse/{job}", token=make_token(api.dsn, "bob@localhost"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


# -- a server without a node: nothing happens unless a test does it ---------------------


class Place:
    """A server inside of the test, and a job that waits."""

    def __init__(self, services: Services, session: aiohttp.ClientSession, job: str) -> None:
        self.services = services
        self.session = session
        self.job = job
        self.looks = 0

    async def stream(self) -> aiohttp.ClientResponse:
        answer = await self.session.get(f"/api/w/default/jobs_u/getupdate_sse/{self.job}")
        assert answer.status == 200
        await self.event(answer)
        return answer

    @staticmethod
    async def event(answer: aiohttp.ClientResponse) -> dict[str, Any]:
        line = await answer.content.readline()
        await answer.content.readline()
        told: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
        return told

    async def until(self, watched: int) -> None:
        async with asyncio.timeout(10):
            while self.services.watcher.watched != watched:  # noqa: ASYNC110  nobody signals it
                await asyncio.sleep(0)


@asynccontextmanager
async def a_place(dsn: str) -> AsyncIterator[Place]:
    database = Database(dsn)
    with database.connect() as connection:
        token = new_token(connection, "admin@localhost")
    with Client(dsn) as client:
        client.deploy(make_script("default", "f/a/hello", "python3", "def main(): pass"))
        job = client.submit("f/a/hello", {})
    async with serving(Config(server=ServerConfig(port=0)), database) as server:
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(server.url, headers=headers) as session:
            yield Place(server.services, session, job)


def counted(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many jobs each look asks for."""
    looks: list[int] = []

    def look(connection: Any, jobs: list[str]) -> dict[str, str]:
        looks.append(len(jobs))
        return job_marks(connection, jobs)

    monkeypatch.setattr(watcher, "job_marks", look)
    return looks


def test_those_that_watch_one_job_share_one_look(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with a_place(dsn) as place:
            looks = counted(place, monkeypatch)
            streams = [await place.stream() for _ in range(20)]
            assert place.services.watcher.watched == 1
            with Database(dsn).connect() as connection:
                connection.execute("update mill.queue set begun = true")
            for stream in streams:
                assert (await place.event(stream))["running"] is True
            assert set(looks) == {1}
            for stream in streams:
                stream.close()
            await place.until(0)

    asyncio.run(main())


def test_whoever_hangs_up_is_forgotten_and_nothing_is_asked_for_nobody(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with a_place(dsn) as place:
            stream = await place.stream()
            await place.until(1)
            stream.close()
            await place.until(0)
            looks = counted(place, monkeypatch)
            if place.services.watcher._looking is not None:
                await asyncio.wait_for(place.services.watcher._looking, 10)
            assert looks == []
            async with asyncio.timeout(10):
                while place.services.waiter._awaited():  # noqa: ASYNC110  nobody signals it
                    await asyncio.sleep(0)

    asyncio.run(main())


def test_a_stream_pings_and_ends_after_its_time(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "PING_SECONDS", 0.02)
    monkeypatch.setattr(job_events, "STREAM_SECONDS", 0.2)

    async def main() -> None:
        async with a_place(dsn) as place:
            stream = await place.stream()
            told = [json.loads(line[6:])["type"] async for line in stream.content if line.strip()]
            assert told[-1] == "timeout"
            assert set(told[:-1]) == {"ping"}

    asyncio.run(main())


def test_a_server_that_drains_sends_those_that_watch_home(dsn: str) -> None:
    async def main() -> None:
        async with a_place(dsn) as place:
            stream = await place.stream()
            place.services.watcher.close()
            assert (await place.event(stream))["type"] == "timeout"
            assert await stream.content.read() == b""

    asyncio.run(main())


def test_an_end_is_told_at_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bell of the waiter: no look is needed for it."""
    monkeypatch.setattr(watcher, "LOOK_SECONDS", 3600.0)

    async def main() -> None:
        async with a_place(dsn) as place:
            stream = await place.stream()
            await place.until(1)
            async with asyncio.timeout(20):
                # Nobody is told that it is awaited; so until it is.
                with Database(dsn).connect() as connection:
                    while connection.execute("select from mill.queue where awaited").fetchone() is None:  # noqa: ASYNC110
                        await asyncio.sleep(0)
                with Client(dsn) as client:
                    client.cancel(place.job)
                told = await place.event(stream)
            assert (told["completed"], told["job"]["status"]) == (True, "canceled")

    asyncio.run(main())
