"""A clock that moves only when the test says so."""

from __future__ import annotations

import pytest

from mill_actors.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at 1,000 s, so that nothing can take 0 for "never"."""
    return ManualClock(1000.0)
