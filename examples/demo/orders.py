"""Orders of a shop that sells to 16 countries: the same ones for the same seed, on every machine.

`python -m examples.demo.orders 1000 | gzip -9n > examples/demo/orders.ndjson.gz` made the sample.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

SEED = 20261122
T = TypeVar("T")

# Country, currency, how many of a thousand orders come from there, units for a euro.
COUNTRIES = (
    ("DE", "EUR", 240, 100),
    ("FR", "EUR", 130, 100),
    ("IT", "EUR", 80, 100),
    ("ES", "EUR", 70, 100),
    ("NL", "EUR", 70, 100),
    ("AT", "EUR", 50, 100),
    ("PL", "PLN", 60, 427),
    ("CZ", "CZK", 30, 2512),
    ("HU", "HUF", 20, 393),
    ("SE", "SEK", 40, 1144),
    ("DK", "DKK", 30, 746),
    ("GB", "GBP", 80, 84),
    ("CH", "CHF", 40, 94),
    ("NO", "NOK", 20, 1164),
    ("US", "USD", 30, 109),
    ("JP", "JPY", 10, 164),
)
# Category, weight, cheapest and dearest article in euro.
CATEGORIES = (
    ("book", 30, 6, 60),
    ("food", 15, 2, 40),
    ("toy", 20, 5, 120),
    ("garden", 15, 8, 400),
    ("audio", 12, 20, 900),
    ("camera", 8, 60, 2400),
)
TIERS = (("bronze", 60), ("silver", 25), ("gold", 11), ("platinum", 4))
COUPONS = ((None, 94), ("SPRING10", 4), ("WELCOME5", 2))
FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def make_orders(count: int, seed: int = SEED) -> Iterator[dict[str, Any]]:
    """Yield that many orders, by time."""
    # random() alone: of all its methods, only that one is promised to stay what it is.
    draw = Random(seed).random
    customers = [_customer(number, draw()) for number in range(4000)]
    when = FIRST
    for number in range(count):
        when += timedelta(seconds=1 + int(draw() * 40))
        # A few customers order much more than the others.
        customer, country, currency, units = customers[int(draw() ** 3 * len(customers))]
        abroad = draw() < 0.03
        yield {
            "order_id": f"2026-{number + 1:06d}",
            "placed_at": when.isoformat(),
            "customer": dict(customer, orders=int(draw() ** 2 * 30)),
            "currency": currency,
            "lines": [_line(draw(), draw(), draw(), draw(), units) for _ in range(1 + int(draw() ** 2 * 6))],
            "shipping": 0 if draw() < 0.4 else int(4.9 * units),
            "ship_to": _weighted([(row[0], row[2]) for row in COUNTRIES], draw()) if abroad else country,
            "coupon": _weighted(COUPONS, draw()),
        }


def _customer(number: int, place: float) -> tuple[dict[str, Any], str, str, int]:
    country, currency, _, units = _weighted([(row, row[2]) for row in COUNTRIES], place)
    tier = _weighted(TIERS, (number * 0.618033988749895) % 1)
    return {"id": f"C{number:05d}", "country": country, "tier": tier}, country, currency, units


def _line(which: float, article: float, price: float, quantity: float, units: int) -> dict[str, Any]:
    category, _, cheapest, dearest = _weighted([(row, row[1]) for row in CATEGORIES], which)
    return {
        "sku": f"{category.upper()}-{int(article * 10_000):04d}",
        "category": category,
        "unit_price": int((cheapest + (dearest - cheapest) * price**3) * units),
        "quantity": 1 + int(quantity**4 * 5),
    }


def _weighted(choices: Sequence[tuple[T, int]], place: float) -> T:
    left = place * sum(weight for _, weight in choices)
    for value, weight in choices:
        left -= weight
        if left < 0:
            return value
    return choices[-1][0]


if __name__ == "__main__":
    for order in make_orders(int(sys.argv[1])):
        sys.stdout.write(json.dumps(order, separators=(",", ":")) + "\n")
