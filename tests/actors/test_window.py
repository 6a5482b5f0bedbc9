"""How many jobs a Runner may have in hand follows from how long they take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.actors.window import WIDEST, Window


def test_nothing_known_is_one_job() -> None:
    assert Window(0.02).width == 1


@pytest.mark.parametrize(
    ("microseconds", "width"), [(1, WIDEST), (100, 185), (1_000, 19), (19_000, 1), (60_000_000, 1)]
)
def test_the_width_is_a_matter_of_time(microseconds: int, width: int) -> None:
    window = Window(0.02)
    window.observe(1, microseconds)
    assert window.width == width


def test_a_long_job_narrows_it_at_once() -> None:
    window = Window(0.02)
    window.observe(500, 500)
    window.observe(1, 10_000_000)
    assert window.width == 1


def test_it_widens_again() -> None:
    window = Window(0.02)
    window.observe(1, 1_000_000)
    for _ in range(40):
        window.observe(1, 100)
    assert window.width > 100


def test_no_jobs_teach_nothing() -> None:
    window = Window(0.02)
    window.observe(0, 1_000_000)
    assert window.average_us is None


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 10**12))), st.floats(1e-6, 10))
def test_it_is_never_empty_and_never_huge(batches: list[tuple[int, int]], seconds: float) -> None:
    window = Window(seconds)
    for jobs, spent in batches:
        window.observe(jobs, spent)
        assert 1 <= window.width <= WIDEST


@given(st.integers(1, 10**7), st.integers(1, 50))
def test_steady_work_is_hoarded_for_no_longer_than_the_time_allowed(each: int, batches: int) -> None:
    window = Window(0.02)
    for _ in range(batches):
        window.observe(10, 10 * each)
    assert window.width == 1 or window.width * each <= 20_000
