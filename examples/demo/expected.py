"""What the totals must be: computed from the orders alone, another way than the scripts do it.

The scripts work with whole numbers; this works with decimals and money's own rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

# Euro cents for one unit of the currency's smallest coin.
CENTS = {
    "EUR": "1", "USD": "0.9216", "GBP": "1.1873", "CHF": "1.0625", "SEK": "0.0874", "DKK": "0.134",
    "NOK": "0.0859", "PLN": "0.2341", "CZK": "0.0398", "HUF": "0.2547", "JPY": "0.6115",
}  # fmt: skip
# Percent: the usual rate, and the one for books and food.
VAT = {
    "DE": "19 7", "FR": "20 5.5", "IT": "22 4", "ES": "21 4", "NL": "21 9", "AT": "20 10", "PL": "23 5",
    "CZ": "21 12", "HU": "27 5", "SE": "25 6", "DK": "25 25", "GB": "20 0", "CH": "8.1 2.6",
    "NO": "25 15", "US": "0 0", "JP": "10 8",
}  # fmt: skip
OFF = {"bronze": "0", "silver": "0.02", "gold": "0.05", "platinum": "0.08"}
COUPON = {None: "0", "SPRING10": "0.10", "WELCOME5": "0.05"}
POINTS = {"bronze": 1, "silver": 2, "gold": 3, "platinum": 5}

Totals = Counter[str]


def expected_of_enrich(orders: Iterable[Mapping[str, Any]]) -> Totals:
    """Return net, VAT and gross in euro cents, and orders and gross by country."""
    totals: Totals = Counter()
    for order in orders:
        country = order["customer"]["country"]
        usual, reduced = (Decimal(rate) / 100 for rate in VAT[country].split())
        left = 1 - Decimal(OFF[order["customer"]["tier"]]) - Decimal(COUPON[order["coupon"]])
        amounts = [(Decimal(order["shipping"]), usual)]
        amounts += [
            (_money(line["unit_price"] * line["quantity"] * left), reduced if _is_reduced(line) else usual)
            for line in order["lines"]
        ]
        rate = Decimal(CENTS[order["currency"]])
        net = int(_money(rate * sum(amount for amount, _ in amounts)))
        vat = int(_money(rate * sum(_money(amount * percent) for amount, percent in amounts)))
        totals.update({"net": net, "vat": vat, "gross": net + vat})
        totals.update({f"gross {country}": net + vat, f"orders {country}": 1})
    return totals


def expected_of_score(orders: Iterable[Mapping[str, Any]]) -> Totals:
    """Return points by tier, and how many orders somebody should look at."""
    totals: Totals = Counter()
    for order in orders:
        customer, tier = order["customer"], order["customer"]["tier"]
        price = order["shipping"] + sum(line["unit_price"] * line["quantity"] for line in order["lines"])
        cents = _money(price * Decimal(CENTS[order["currency"]]))
        reasons = (
            order["ship_to"] != customer["country"],
            customer["orders"] == 0,
            cents > 100_000,
            order["placed_at"][11:13] < "05",
            order["coupon"] is not None,
        )
        totals.update({f"points {tier}": int(cents // 100) * POINTS[tier], "review": sum(reasons) >= 2})
    return totals


def totals_of_enrich(results: Iterable[Mapping[str, Any]]) -> Totals:
    """Add up what f/demo/enrich answered."""
    totals: Totals = Counter()
    for result in results:
        totals.update({name: result[name] for name in ("net", "vat", "gross")})
        totals.update({f"gross {result['country']}": result["gross"], f"orders {result['country']}": 1})
    return totals


def totals_of_score(results: Iterable[Mapping[str, Any]]) -> Totals:
    """Add up what f/demo/score answered."""
    totals: Totals = Counter()
    for result in results:
        totals.update({f"points {result['tier']}": result["points"], "review": result["review"]})
    return totals


def _is_reduced(line: Mapping[str, Any]) -> bool:
    return line["category"] in {"book", "food"}


def _money(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal(1), ROUND_HALF_UP)
