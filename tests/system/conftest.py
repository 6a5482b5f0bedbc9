"""The whole engine, one for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.engine import Engine
from tests.system.proxy import Proxy


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, which everybody may enter: jobs run as other users too."""
    with tempfile.TemporaryDirectory(prefix="mill-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def engine(dsn: str, folder: Path) -> Iterator[Engine]:
    """A database, a client, and nodes as the test wants them."""
    with Engine(dsn, folder) as engine:
        yield engine


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    """A door in front of the test's database."""
    with tempfile.TemporaryDirectory() as name, Proxy(dsn, Path(name)) as proxy:
        yield proxy
