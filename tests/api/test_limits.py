"""What a server refuses: too much, too many, too late; and how it ends."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from mill_actors.jobs.script import make_script
from mill_actors.store.client import Client
from tests.api.conftest import Api, make_token, running
from tests.cli.conftest import Mill, open_gate
from tests.fix_db import Server

GATE = "def main(gate):\n    open(gate).read()\n    return 'through'\n"


@pytest.fixture(scope="module")
def api(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with small limits."""
    flags = ("--max-body-bytes", "10000", "--wait-seconds", "1")
    with running(server, template, tmp_path_factory.mktemp("api"), *flags) as made:
        made.script("f/a/hello")
        made.script("f/a/gate", GATE)
        yield made


def test_a_body_may_be_too_large(api: Api) -> None:
    answer = api.post("jobs/run/p/f/a/hello", json={"name": "x" * 20_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "request_entity_too_large")
    # … whoever promises one is not waited for.
    assert api.post("jobs/run/p/f/a/hello", json={"name": "x"}).status_code == 201


@pytest.mark.parametrize(
    "path", ["/w/default/jobs/run/p/f/a/hello", "/w/default/jobs/run/batch/p/f/a/hello", "/auth/login"]
)
def test_nothing_is_unpacked(api: Api, path: str) -> None:
    """What is a few bytes on its way could be gigabytes."""
    packed = gzip.compress(b"{}" + b" " * 1_000_000)
    for encoding in ("gzip", "deflate", "br", "zstd", "GZIP"):
        answer = api.post(path, content=packed, headers={"Content-Encoding": encoding})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    plain = api.post("jobs/run/p/f/a/hello", json={}, headers={"Content-Encoding": "identity"})
    assert plain.status_code == 201


def test_a_header_may_be_too_large(api: Api) -> None:
    answer = api.get("/version", headers={"X-Long": "x" * 100_000})
    assert 400 <= answer.status_code < 500


def test_garbage_is_no_request(api: Api) -> None:
    told = urlsplit(api.url)
    with socket.create_connection((told.hostname, told.port), 10) as own:
        own.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert own.recv(100).startswith(b"HTTP/1.0 400")


MALFORMED = (
    b"GET /?token=PRECIOUS HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer PRECIOUS\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nCookie: token=PRECIOUS" + b"x" * 9000 + b"\r\n\r\n",
)


def test_no_log_has_what_was_sent(server: Server, template: str, tmp_path: Path) -> None:
    """… even if it is no request: who forgot to strip a line's end has sent a token that is good."""
    with server.database(template) as dsn:
        mill = Mill(tmp_path, {"DATABASE_URL": dsn})
        with mill.running("server", "--json") as api:
            told = urlsplit(json.loads(api.until_out("url"))["url"])
            said = ""
            for request in MALFORMED:
                with socket.create_connection((told.hostname, told.port), 10) as own:
                    own.sendall(request)
                    assert b"400 Bad Request" in own.recv(1000)
                said += api.until_err("127.0.0.1")
            api.signal(signal.SIGTERM)
            assert "PRECIOUS" not in said + api.end(0).err
            assert "BadStatusLine" in said


def test_a_wait_has_an_end_and_the_job_has_none_by_that(api: Api, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    answer = api.post("jobs/run_wait_result/p/f/a/gate", json={"gate": str(gate)})
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    open_gate(gate)
    assert api.wait(answer.json()["job"]).value == "through"


def test_requests_beyond_the_limit_are_told_to_come_again(
    server: Server, template: str, tmp_path: Path
) -> None:
    """… until one of the others is over: here they hang up, and their jobs go with them."""
    with server.database(template) as dsn, Client(dsn) as client, httpx.Client(timeout=30.0) as web:
        client.deploy(make_script("default", "f/a/hello", "python3", "def main(): pass"))
        token = make_token(dsn)
        mill = Mill(tmp_path, {"DATABASE_URL": dsn})
        with mill.running("server", "--json", "--max-requests", "3") as api:
            url = json.loads(api.until_out("url"))["url"]
            told = urlsplit(url)
            request = (
                "POST /api/w/default/jobs/run_wait_result/p/f/a/hello HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
            )
            with ExitStack() as stack:
                for _ in range(3):
                    own = stack.enter_context(socket.create_connection((told.hostname, told.port), 10))
                    own.sendall(request.encode())
                while len(client.list("queued")) < 3:
                    pass
                refused = web.get(f"{url}/api/version")
                assert (refused.status_code, refused.json()["code"]) == (503, "busy")
                assert refused.headers["Retry-After"] == "1"
            while web.get(f"{url}/api/version").status_code != 200:
                pass
            while client.list("queued"):
                pass
            assert {job.status for job in client.list()} == {"cancelled"}
            api.signal(signal.SIGTERM)
            api.end(0)


def test_a_server_lets_requests_end(server: Server, template: str, tmp_path: Path) -> None:
    """SIGTERM while somebody waits: nothing new is taken, who waits is answered, and it exits with 0."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with server.database(template) as dsn, Client(dsn) as client:
        client.deploy(make_script("default", "f/a/gate", "python3", GATE))
        token = make_token(dsn)
        mill = Mill(tmp_path, {"DATABASE_URL": dsn})
        with mill.running("worker", "--json") as worker, mill.running("server", "--json") as api:
            url = json.loads(api.until_out("url"))["url"]
            worker.until_out('"node"')

            def wait() -> httpx.Response:
                headers = {"Authorization": f"Bearer {token}"}
                route = "/api/w/default/jobs/run_wait_result/p/f/a/gate"
                return httpx.post(url + route, json={"gate": str(gate)}, headers=headers, timeout=30.0)

            with ThreadPoolExecutor(1) as threads:
                waits = threads.submit(wait)
                while not client.list("running"):
                    assert not waits.done(), waits.result().text
                api.signal(signal.SIGTERM)
                api.until_err("finishing what runs")
                open_gate(gate)
                answer = waits.result()
            assert (answer.status_code, answer.json()) == (200, "through")
            api.end(0)
            worker.signal(signal.SIGTERM)
            worker.end(0)


def test_a_database_that_is_away_is_a_503(tmp_path: Path) -> None:
    mill = Mill(tmp_path, {})
    done = mill("server", "--database-url", "host=/nowhere", code=2)
    assert "cannot be reached" in done.err
