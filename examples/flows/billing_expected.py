"""What a billing run must come to: computed from the world alone, another way than the flow does it.

The flow works with whole numbers, tier by tier; this works with decimals and a price list.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from examples.flows.billing_world import RETRIES, Account

# Cents: a month, a seat, and a call after so many.
MONTH = {"free": 0, "team": 2_900, "scale": 49_900}
SEAT = {"free": 0, "team": 900, "scale": 700}
CALLS = ((10_000, "0.12"), (100_000, "0.08"), (1_000_000, "0.03"))
GB_HOUR = "0.9"


class Expected(NamedTuple):
    """Amounts in cents by customer; why those failed that must."""

    invoices: dict[str, int]
    not_invoiced: dict[str, str]
    charged: dict[str, int]
    not_charged: dict[str, str]
    retried: int

    @property
    def total(self) -> int:
        return sum(self.charged.values())


def expect(world: Mapping[str, Account]) -> Expected:
    """Return what becomes of every customer of a world."""
    not_invoiced = {
        name: {"broken": "HTTPError", "unmetered": "NotMetered"}[account.trouble]
        for name, account in world.items()
        if account.trouble in {"broken", "unmetered"}
    }
    invoices = {name: amount(account) for name, account in world.items() if name not in not_invoiced}
    due = {name: cents for name, cents in invoices.items() if cents}
    not_charged = {name: "Declined" for name in due if world[name].trouble == "no money"}
    return Expected(
        invoices=invoices,
        not_invoiced=not_invoiced,
        charged={name: cents for name, cents in due.items() if name not in not_charged},
        not_charged=not_charged,
        # Nobody is charged for nothing, so a slow bank shows with those alone who owe.
        retried=sum(
            RETRIES.get(account.trouble, 0)
            for name, account in world.items()
            if account.trouble != "slow bank" or name in due
        ),
    )


def amount(account: Account) -> int:
    """Return a customer's invoice in cents."""
    customer, usage = account.customer, account.usage
    cents = Decimal(MONTH[customer["plan"]] + SEAT[customer["plan"]] * usage["seats"])
    cents += usage["gb_hours"] * Decimal(GB_HOUR)
    ends = [start for start, _ in CALLS[1:]] + [usage["api_calls"]]
    for (start, price), end in zip(CALLS, ends, strict=True):
        cents += max(0, min(usage["api_calls"], end) - start) * Decimal(price)
    cents *= 1 - Decimal(customer["discount_percent"]) / 100
    return int(cents.quantize(Decimal(1), ROUND_HALF_UP))
