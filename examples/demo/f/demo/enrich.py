"""Prices an order: line totals, discounts, VAT of the customer's country, everything in euro cents.

Amounts come in the smallest unit of the order's currency. Whole numbers throughout, rounded half
up where money is rounded: once per line, once per tax, once per conversion.
"""

# Millionths of a euro cent for one unit.
RATES = {
    "EUR": 1_000_000, "USD": 921_600, "GBP": 1_187_300, "CHF": 1_062_500, "SEK": 87_400,
    "DKK": 134_000, "NOK": 85_900, "PLN": 234_100, "CZK": 39_800, "HUF": 254_700, "JPY": 611_500,
}  # fmt: skip
# Per mille: the usual rate, and the one for books and food.
VAT = {
    "DE": (190, 70), "FR": (200, 55), "IT": (220, 40), "ES": (210, 40), "NL": (210, 90),
    "AT": (200, 100), "PL": (230, 50), "CZ": (210, 120), "HU": (270, 50), "SE": (250, 60),
    "DK": (250, 250), "GB": (200, 0), "CH": (81, 26), "NO": (250, 150), "US": (0, 0), "JP": (100, 80),
}  # fmt: skip
PERCENT_OFF = {"bronze": 0, "silver": 2, "gold": 5, "platinum": 8}
COUPONS = {"SPRING10": 10, "WELCOME5": 5}


def share(amount: int, part: int, whole: int) -> int:
    """Return amount * part / whole, rounded half up."""
    return (2 * amount * part + whole) // (2 * whole)


def main(
    order_id: str,
    customer: dict,
    currency: str,
    lines: list,
    shipping: int,
    coupon: str | None = None,
    **_: object,
) -> dict:
    usual, reduced = VAT[customer["country"]]
    off = PERCENT_OFF[customer["tier"]] + COUPONS.get(coupon or "", 0)
    if coupon:
        print(f"{order_id}: coupon {coupon}, {off} % off for a {customer['tier']} customer")
    net, vat = shipping, share(shipping, usual, 1000)
    for line in lines:
        amount = share(line["unit_price"] * line["quantity"], 100 - off, 100)
        net += amount
        vat += share(amount, reduced if line["category"] in {"book", "food"} else usual, 1000)
    rate = RATES[currency]
    net, vat = share(net, rate, 1_000_000), share(vat, rate, 1_000_000)
    return {"order_id": order_id, "country": customer["country"], "net": net, "vat": vat, "gross": net + vat}
