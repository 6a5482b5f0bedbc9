from __future__ import annotations

import pytest

from mill_actors.clock import Clock, ManualClock, SystemClock


def test_a_manual_clock_moves_only_when_told(clock: ManualClock) -> None:
    before = clock.monotonic()
    assert clock.monotonic() == before
    clock.advance(2.5)
    assert clock.monotonic() == before + 2.5


def test_a_manual_clock_does_not_go_back(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_both_clocks_are_clocks() -> None:
    clocks: list[Clock] = [SystemClock(), ManualClock()]
    assert all(clock.monotonic() <= clock.monotonic() for clock in clocks)
