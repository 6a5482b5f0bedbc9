"""How a server begins and ends: ports that are taken, signals, and who is still there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from mill_actors.jobs.script import make_script
from mill_actors.store.client import Client
from tests.api.a_server import WAIT, a_server, until
from tests.api.conftest import make_token
from tests.cli.conftest import Mill, Running, open_gate


@pytest.fixture
def mill(tmp_path: Path, dsn: str) -> Mill:
    return Mill(tmp_path, {"DATABASE_URL": dsn})


@pytest.mark.parametrize("command", ["server", "dev"])
def test_a_port_that_is_taken_is_one_line(mill: Mill, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = mill(command, "--port", str(port), code=2)
    (line,) = done.err.splitlines()
    assert line.startswith(f"mill: the API cannot listen on 127.0.0.1, port {port}: ")


@contextmanager
def served(mill: Mill, dsn: str, *flags: str) -> Iterator[tuple[Running, str, str]]:
    with Client(dsn) as client:
        client.deploy(make_script("default", "f/a/hello", "python3", "def main(): pass"))
    with mill.running("server", "--json", *flags) as server:
        yield server, json.loads(server.until_out("url"))["url"], make_token(dsn)


def waiting(url: str, token: str) -> socket.socket:
    told = urlsplit(url)
    own = socket.create_connection((told.hostname, told.port), 20)
    text = f"POST {WAIT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    own.sendall(text.encode())
    return own


def listens(url: str) -> bool:
    try:
        httpx.get(f"{url}/api/version")
    except httpx.TransportError:
        return False
    return True


def answer(own: socket.socket) -> tuple[int, Any]:
    text = b""
    while piece := own.recv(1 << 16):
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("signals", [1, 2])
def test_whoever_still_waits_at_the_end_is_told_and_his_job_goes_on(
    mill: Mill, dsn: str, signals: int
) -> None:
    drain = "0.3" if signals == 1 else "1000"
    with served(mill, dsn, "--drain-seconds", drain) as (server, url, token), Client(dsn) as client:
        told = urlsplit(url)
        with waiting(url, token) as own, socket.create_connection((told.hostname, told.port), 20) as upload:
            upload.sendall(f"POST {WAIT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n".encode())
            upload.sendall(b"Content-Length: 10\r\n\r\n{")
            while not client.list("queued"):
                pass
            began = monotonic()
            server.signal(signal.SIGTERM)
            server.until_err("finishing what runs")
            while listens(url):
                pass
            if signals == 2:
                server.signal(signal.SIGINT)
            (job,) = client.list("queued")
            status, told_body = answer(own)
            assert (status, told_body["code"], told_body["job"]) == (503, "stopping", job.id)
            done = server.end(0)
            assert monotonic() - began < 6
        assert "Traceback" not in done.err
        assert [job.status for job in client.list()] == ["queued"]
        # The port is free again.
        with socket.create_server((told.hostname, told.port)):
            pass


def test_who_waits_at_a_dev_that_ends_gets_what_runs(mill: Mill, dsn: str, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    os.mkfifo(gate)
    code = f"def main():\n  open({str(begun)!r}, 'w')\n  open({str(gate)!r}).read()\n  return 1"
    with Client(dsn) as client, mill.running("dev", "--json", "--processes", "1") as dev:
        client.deploy(make_script("default", "f/a/gate", "python3", code))
        told = json.loads(dev.until_out('"node"'))
        with waiting_at(told["url"], told["token"], "f/a/gate") as own:
            while not begun.exists():
                pass
            dev.signal(signal.SIGTERM)
            dev.until_err("finishing what runs")
            open_gate(gate)
            assert answer(own) == (200, 1)
        dev.end(0)


def waiting_at(url: str, token: str, path: str) -> socket.socket:
    told = urlsplit(url)
    own = socket.create_connection((told.hostname, told.port), 20)
    route = f"/api/w/default/jobs/run_wait_result/p/{path}"
    text = f"POST {route} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n"
    own.sendall(f"{text}Connection: close\r\n\r\n".encode())
    return own


def test_nobody_is_waited_for_longer_than_the_drain_lasts(dsn: str) -> None:
    """Streams, uploads and those who wait: none of them holds the end up."""

    async def main() -> None:
        async with asyncio.timeout(10):
            async with a_server(dsn, drain_seconds=0.2) as place:
                job = place.client.submit("f/a/hello")
                path = f"/api/w/default/jobs_u/getupdate_sse/{job}"
                heads = [
                    place.head("GET", path),
                    place.head("POST", WAIT, "Content-Length: 0"),
                    place.head("POST", WAIT, "Content-Length: 10") + b"{",
                    b"GET /api/ver",
                    b"",
                ]
                writers = []
                for head in heads:
                    _, writer = await place.connect()
                    writer.write(head)
                    writers.append(writer)
                await until(lambda: len(place.client.list("queued")) == 2, "both jobs are there")
                await until(lambda: place.services.watcher.watched, "one is watched")
                await until(lambda: place.server.gate.under_way == 3, "three are under way")
            for writer in writers:
                writer.close()

    asyncio.run(main())
