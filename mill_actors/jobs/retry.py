"""When a failed attempt is tried again: Windmill's retry policy, with jitter and caps.

Constant tries come first, then exponential ones, as in OpenFlow: the exponent counts the constant
tries too, and `random_factor` spreads a delay by that many percent either way. Pure: randomness is
handed in.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

#: No policy waits longer between two attempts than a day, however steep its exponent.
LONGEST_DELAY_SECONDS = 86_400.0


class ConstantRetry(Struct, frozen=True, forbid_unknown_fields=True):
    """The same delay each time."""

    attempts: Annotated[int, Meta(ge=0, le=1000)] = 0
    seconds: Annotated[float, Meta(ge=0, le=LONGEST_DELAY_SECONDS)] = 0.0


class ExponentialRetry(Struct, frozen=True, forbid_unknown_fields=True):
    """`multiplier * seconds ** n` for the n-th try, capped."""

    attempts: Annotated[int, Meta(ge=0, le=1000)] = 0
    multiplier: Annotated[float, Meta(ge=0)] = 1.0
    seconds: Annotated[float, Meta(ge=0)] = 1.0
    random_factor: Annotated[float, Meta(ge=0, le=100)] = 0.0
    max_seconds: Annotated[float, Meta(gt=0, le=LONGEST_DELAY_SECONDS)] = LONGEST_DELAY_SECONDS


class RetryPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """How often and how late a job is tried again. The default never retries."""

    constant: ConstantRetry = ConstantRetry()
    exponential: ExponentialRetry = ExponentialRetry()

    def delay_seconds(self, failed_attempts: int, spread: float) -> float | None:
        """Return how long to wait after `failed_attempts` (≥ 1) failures; None: no further try.

        `spread` is a random number in [-1, 1].

        >>> policy = RetryPolicy(ConstantRetry(1, 5.0), ExponentialRetry(2, 1.0, 3.0))
        >>> [policy.delay_seconds(n, 0.0) for n in (1, 2, 3, 4)]
        [5.0, 9.0, 27.0, None]
        """
        if failed_attempts <= self.constant.attempts:
            return self.constant.seconds
        curve = self.exponential
        if failed_attempts > self.constant.attempts + curve.attempts:
            return None
        try:
            delay = curve.multiplier * curve.seconds**failed_attempts
        except OverflowError:
            delay = curve.max_seconds
        delay = min(delay, curve.max_seconds)
        return min(max(0.0, delay * (1 + spread * curve.random_factor / 100)), curve.max_seconds)


NO_RETRY = RetryPolicy()
