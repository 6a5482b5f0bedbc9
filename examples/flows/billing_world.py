"""A company with customers that are billed by usage, and what goes wrong with each of them.

Made of numbers alone: the same world for the same seed, on every machine.
"""

from __future__ import annotations

from random import Random
from typing import Any, Literal, NamedTuple

SEED = 20261122
PERIOD = "2026-10"

Trouble = Literal["", "busy", "hiccup", "broken", "unmetered", "slow bank", "no money"]

# What happens to how many of a thousand customers.
TROUBLES: tuple[tuple[Trouble, int], ...] = (
    ("busy", 60),  # metering says 429 once, and when to come back
    ("hiccup", 50),  # metering fails twice
    ("broken", 15),  # metering fails always
    ("unmetered", 15),  # metering does not know the customer
    ("slow bank", 20),  # the payment fails once
    ("no money", 10),  # the payment is declined
)
# Plan, weight, the calls that most of its customers make in a month.
PLANS = (("free", 45, 20_000), ("team", 40, 400_000), ("scale", 15, 6_000_000))
#: Calls beyond the first that a customer's trouble causes.
RETRIES: dict[Trouble, int] = {"busy": 1, "hiccup": 2, "broken": 2, "slow bank": 1}


class Account(NamedTuple):
    """A customer, what it used in a month, and its trouble."""

    customer: dict[str, Any]
    usage: dict[str, Any]
    trouble: Trouble


def make_world(count: int, seed: int = SEED) -> dict[str, Account]:
    """Return that many accounts, by the customer's id."""
    draw = Random(seed).random
    accounts = [_account(number, draw(), draw(), draw(), draw()) for number in range(1, count + 1)]
    # However few there are, each trouble is there once.
    for place, (trouble, _) in enumerate(TROUBLES, start=1):
        if place < len(accounts):
            accounts[place] = accounts[place]._replace(trouble=trouble)
    return {account.customer["id"]: account for account in accounts}


def _account(number: int, which: float, much: float, luck: float, discount: float) -> Account:
    plan, calls = _choose(which)
    used = {
        "api_calls": int(calls * (0.2 + 2.5 * much**3)),
        "gb_hours": int(calls * much / 2_000),
        "seats": 1 + int(much * 12),
    }
    customer = {
        "id": f"C{number:05}",
        "name": f"Customer {number}",
        "plan": plan,
        "discount_percent": 10 if discount > 0.9 else 0,
    }
    return Account(customer, used, _misfortune(luck))


def _choose(which: float) -> tuple[str, int]:
    left = which * sum(weight for _, weight, _ in PLANS)
    for plan, weight, calls in PLANS:
        left -= weight
        if left < 0:
            return plan, calls
    return PLANS[-1][0], PLANS[-1][2]


def _misfortune(luck: float) -> Trouble:
    left = luck * 1000
    for trouble, weight in TROUBLES:
        left -= weight
        if left < 0:
            return trouble
    return ""
