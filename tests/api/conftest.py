"""A server and a node over a database of their own, for each file of tests."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mill_actors.jobs.script import NO_OPTIONS, ScriptOptions, make_script
from mill_actors.store.access import new_token
from mill_actors.store.client import Client
from mill_actors.store.connection import Database
from mill_actors.store.jobs import JobResult
from tests.cli.conftest import Mill
from tests.fix_db import Server

HELLO = """
def main(name: str = "you"):
    print("to", name)
    return f"Hello {name}"
"""


@dataclass
class Api:
    """What a caller from outside has: an address and a token."""

    url: str
    token: str
    dsn: str
    client: httpx.Client
    store: Client

    def call(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        """Send a request below `/api`; a path that begins with `jobs/…` and the like is the workspace's."""
        where = path if path.startswith("/") else f"/w/default/{path}"
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        headers |= options.pop("headers", {})
        return self.client.request(method, f"{self.url}/api{where}", headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.call("POST", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.call("DELETE", path, **options)

    def wait(self, job: str) -> JobResult:
        """Wait for the end of a job."""
        with Client(self.dsn) as client:
            return client.wait(job, 30.0)

    def script(
        self, path: str, code: str = HELLO, language: str = "python3", options: ScriptOptions = NO_OPTIONS
    ) -> str:
        """Deploy a script past the API; return its hash."""
        script = make_script("default", path, language, code, options)
        self.store.deploy(script)
        return script.hash


@pytest.fixture(scope="module")
def api(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """`mill dev` over a database of the file's own."""
    with running(server, template, tmp_path_factory.mktemp("api")) as made:
        yield made


@contextmanager
def running(
    server: Server, template: str, folder: Path, *flags: str, environ: Mapping[str, str] | None = None
) -> Iterator[Api]:
    """Run `mill dev`, and end it in order."""
    with server.database(template) as dsn, Client(dsn) as store, httpx.Client(timeout=30.0) as client:
        mill = Mill(folder, {"DATABASE_URL": dsn, **(environ or {})})
        command = ("dev", "--json", "--processes", "2", "--port", "0", *flags)
        with mill.running(*command) as dev:
            told = json.loads(dev.until_out('"node"'))
            yield Api(told["url"], told["token"], dsn, client, store)
            dev.signal(signal.SIGTERM)
            dev.end()


def make_token(dsn: str, email: str = "admin@localhost", **options: Any) -> str:
    with Database(dsn).connect() as connection:
        return new_token(connection, email, **options)
