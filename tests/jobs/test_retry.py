from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.jobs.retry import (
    LONGEST_DELAY_SECONDS,
    NO_RETRY,
    ConstantRetry,
    ExponentialRetry,
    RetryPolicy,
)

DELAYS = st.floats(0, LONGEST_DELAY_SECONDS)
NUMBERS = st.floats(0, 1e300)
POLICIES = st.builds(
    RetryPolicy,
    st.builds(ConstantRetry, st.integers(0, 20), DELAYS),
    st.builds(
        ExponentialRetry,
        st.integers(0, 20),
        NUMBERS,
        NUMBERS,
        st.floats(0, 100),
        DELAYS.filter(lambda d: d > 0),
    ),
)
SPREADS = st.floats(-1, 1)


def delays(policy: RetryPolicy, spread: float = 0.0) -> list[float]:
    """Return every delay until there is none."""
    found: list[float] = []
    while (delay := policy.delay_seconds(len(found) + 1, spread)) is not None:
        found.append(delay)
        assert len(found) <= 2000
    return found


def test_the_default_never_retries() -> None:
    assert delays(NO_RETRY) == delays(RetryPolicy()) == []


def test_constant_tries_come_first_and_count_for_the_exponent() -> None:
    policy = RetryPolicy(ConstantRetry(2, 5.0), ExponentialRetry(3, 2.0, 3.0))
    assert delays(policy) == [5.0, 5.0, 2 * 3.0**3, 2 * 3.0**4, 2 * 3.0**5]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (RetryPolicy(ConstantRetry(3)), [0.0] * 3),
        (RetryPolicy(exponential=ExponentialRetry(3)), [1.0] * 3),
        (RetryPolicy(exponential=ExponentialRetry(3, seconds=0.0)), [0.0] * 3),
        (RetryPolicy(exponential=ExponentialRetry(3, multiplier=0.0, seconds=9.0)), [0.0] * 3),
        (RetryPolicy(exponential=ExponentialRetry(5, 1.0, 10.0, max_seconds=500.0)), [10.0, 100.0, 500.0, 500.0, 500.0]),
    ],
)  # fmt: skip
def test_delays(policy: RetryPolicy, wanted: list[float]) -> None:
    assert delays(policy) == wanted


def test_jitter_spreads_by_so_many_percent_either_way() -> None:
    policy = RetryPolicy(exponential=ExponentialRetry(1, seconds=100.0, random_factor=20.0))
    found = [round(delays(policy, spread)[0], 6) for spread in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert found == [80.0, 90.0, 100.0, 110.0, 120.0]


@given(POLICIES, SPREADS)
def test_there_are_as_many_retries_as_the_policy_says(policy: RetryPolicy, spread: float) -> None:
    assert len(delays(policy, spread)) == policy.constant.attempts + policy.exponential.attempts


@given(POLICIES, SPREADS)
def test_no_delay_is_negative_or_above_its_cap(policy: RetryPolicy, spread: float) -> None:
    """The cap is what users count on: jitter does not go beyond it."""
    constant = policy.constant.attempts
    for number, delay in enumerate(delays(policy, spread), 1):
        cap = policy.constant.seconds if number <= constant else policy.exponential.max_seconds
        assert 0 <= delay <= cap <= LONGEST_DELAY_SECONDS


@given(POLICIES, st.integers(1, 50), SPREADS, SPREADS)
def test_more_spread_is_more_delay(policy: RetryPolicy, failed: int, one: float, other: float) -> None:
    low, high = (policy.delay_seconds(failed, spread) for spread in sorted((one, other)))
    assert (low is None) == (high is None)
    assert low is None or high is None or low <= high


@given(st.floats(1, 1e6), st.floats(0, 100), st.integers(2, 20))
def test_delays_never_shrink_without_jitter(seconds: float, multiplier: float, attempts: int) -> None:
    found = delays(RetryPolicy(exponential=ExponentialRetry(attempts, multiplier, seconds)))
    assert found == sorted(found)


def test_the_steepest_exponent_overflows_into_the_cap() -> None:
    policy = RetryPolicy(exponential=ExponentialRetry(1000, 1e300, 1e300, 100.0))
    assert set(delays(policy, 1.0)) == {LONGEST_DELAY_SECONDS}


@given(POLICIES)
def test_a_policy_survives_the_database(policy: RetryPolicy) -> None:
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(policy)), RetryPolicy) == policy


@pytest.mark.parametrize(
    "told",
    [
        {"constant": {"attempts": -1}},
        {"constant": {"attempts": 1001}},
        {"constant": {"seconds": -1}},
        {"constant": {"seconds": LONGEST_DELAY_SECONDS + 1}},
        {"exponential": {"random_factor": 101}},
        {"exponential": {"max_seconds": 0}},
        {"exponential": {"multiplier": -1}},
        {"linear": {}},
        {"constant": {"attempt": 1}},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(told, RetryPolicy)
