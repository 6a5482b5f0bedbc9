"""Prices an order in euro cents: whole numbers, rounded half up once a line, once a tax, once a conversion."""


def share(amount: int, part: int, whole: int) -> int:
    return (2 * amount * part + whole) // (2 * whole)


def main(order: dict) -> dict:
    net, rate = order["shipping"]
    vat = share(net, rate, 1000)
    for amount, tax in order["lines"]:
        price = share(amount, 100 - order["percent_off"], 100)
        net += price
        vat += share(price, tax, 1000)
    net, vat = (share(cents, order["rate"], 1_000_000) for cents in (net, vat))
    return {
        "order_id": order["order_id"],
        "country": order["country"],
        "net": net,
        "vat": vat,
        "gross": net + vat,
    }
