"""Windmill's own clients against a `mill dev`: they judge, unmodified."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mill_actors.runtimes.bun import find_bun
from mill_actors.store.client import Client
from mill_actors.store.flow_versions import make_flow
from tests.api.conftest import Api, running
from tests.fix_db import Server

HERE = Path(__file__).parent


@dataclass
class Desk:
    """A server with scripts and flows, and the folder its node runs in."""

    api: Api
    folder: Path

    def flow(self, path: str, *modules: Any, **more: Any) -> None:
        """Deploy a flow past the API."""
        value = json.dumps({"modules": modules, **more}).encode()
        with Client(self.api.dsn) as client:
            client.deploy_flow(make_flow("default", path, value))

    def run(self, path: str, kind: str = "p", /, **args: Any) -> Any:
        """Run a script or a flow; return its result, and fail with its error if it failed."""
        answer = self.api.post(f"jobs/run_wait_result/{kind}/{path}", json=args)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def desk(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """`mill dev` over a database of the file's own; a job that waits for others needs them to have room."""
    folder = tmp_path_factory.mktemp("desk")
    with running(server, template, folder, "--processes", "4") as api:
        yield Desk(api, folder)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `node_modules`: Windmill's npm packages, as locked; without them all fails."""
    folder = tmp_path_factory.mktemp("npm")
    for file in (HERE / "npm").iterdir():
        shutil.copy(file, folder)
    done = subprocess.run(
        [find_bun(), "install", "--frozen-lockfile", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "node_modules"
