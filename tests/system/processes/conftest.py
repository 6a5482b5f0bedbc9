"""A fleet for each test: a database of its own, and no node yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.nodes import Fleet, fleet_of


@pytest.fixture
def fleet(dsn: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_of(dsn, tmp_path) as fleet:
        yield fleet
