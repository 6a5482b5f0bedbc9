"""Computes a customer's invoice for a month. Amounts are cents; prices are hundredths of a cent."""

# A month, and each seat.
PLANS = {"free": (0, 0), "team": (290_000, 90_000), "scale": (4_990_000, 70_000)}
# Calls from so many on cost so much each: the first 10,000 are free.
CALLS = [(1_000_000, 3), (100_000, 8), (10_000, 12)]
GB_HOUR = 90


def main(customer: dict, period: str, usage: dict) -> dict:
    month, seat = PLANS[customer["plan"]]
    price = month + seat * usage["seats"] + GB_HOUR * usage["gb_hours"]
    calls = usage["api_calls"]
    for start, each in CALLS:
        price += max(0, calls - start) * each
        calls = min(calls, start)
    # Hundredths of a cent, times percent; rounded once, half up.
    cents = (price * (100 - customer["discount_percent"]) + 5_000) // 10_000
    return {"customer": customer["id"], "period": period, "cents": cents}
