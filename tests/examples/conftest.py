"""The examples as `mill deploy` deploys them, and a `mill dev` that runs them as long as the tests do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mill_actors.store.client import Client
from tests.cli.conftest import ROOT, Mill
from tests.fix_db import Server
from tests.system.proxy import wait_until

FLOWS = ROOT / "examples" / "flows"
SECONDS = 50.0

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def live(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The database of a node that has every example."""
    with server.database(template) as dsn:
        mill = Mill(tmp_path_factory.mktemp("examples"), {"DATABASE_URL": dsn})
        mill("deploy", str(FLOWS))
        with mill.dev("--processes", "8", "--dedicated", "f/orders/process"):
            yield dsn


@pytest.fixture
def client(live: str) -> Iterator[Client]:
    with Client(live) as client:
        yield client


@pytest.fixture
def run(client: Client) -> Run:
    """Run a flow to its end, and return its status and its result."""

    def run(path: str, **args: Any) -> tuple[str, Any]:
        result = client.run(path, args, timeout=SECONDS)
        return result.status, result.value

    return run


def wait_for_approval(client: Client, flow: str) -> str:
    """Wait until a flow asks; return the step that may not start before the answer."""

    def asking() -> list[str]:
        modules = client.flow_status(flow)["modules"]
        return [module["id"] for module in modules if module["type"] == "WaitingForEvents"]

    wait_until(asking, f"{flow} asks for an approval", SECONDS)
    return asking()[0]
