"""A server inside of the test, without a node: nothing happens unless a test does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from msgspec.structs import replace

from mill_actors.api.server import Serving, serving
from mill_actors.api.services import Services
from mill_actors.config import Config
from mill_actors.jobs.script import make_script
from mill_actors.store.access import new_token
from mill_actors.store.client import Client
from mill_actors.store.connection import Database

RUN = "/api/w/default/jobs/run/p/f/a/hello"
WAIT = "/api/w/default/jobs/run_wait_result/p/f/a/hello"


@dataclass
class Place:
    """What a test sees of it."""

    server: Serving
    session: aiohttp.ClientSession
    token: str
    #: straight to the database, whatever the server's way is
    client: Client

    @property
    def services(self) -> Services:
        return self.server.services

    @property
    def address(self) -> tuple[str, int]:
        told = urlsplit(self.server.url)
        assert told.hostname is not None
        assert told.port is not None
        return told.hostname, told.port

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """Return a request up to its body."""
        told = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}", *lines]
        return "\r\n".join([*told, "", ""]).encode()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)


@asynccontextmanager
async def a_server(dsn: str, way: str | None = None, **settings: Any) -> AsyncIterator[Place]:
    """Serve; `way` is how the server reaches the database."""
    config = Config()
    config = replace(config, server=replace(config.server, port=0, **settings))
    with Database(dsn).connect() as connection:
        token = new_token(connection, "admin@localhost")
    with Client(dsn) as client:
        client.deploy(make_script("default", "f/a/hello", "python3", "def main(**_): pass"))
        async with serving(config, Database(way or dsn)) as server:
            headers = {"Authorization": f"Bearer {token}"}
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(server.url, headers=headers, connector=connector) as session:
                yield Place(server, session, token, client)


async def until(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Look again and again, for what sends no signal."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.002)
    except TimeoutError:
        message = f"not within {seconds:g} s: {what}"
        raise AssertionError(message) from None
