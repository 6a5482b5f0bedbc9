"""Refuses an order that cannot be priced; leaves out what the next steps do not need."""


def main(order: dict) -> dict:
    faults = [name for name in ("order_id", "customer", "currency", "shipping") if name not in order]
    faults += [f"lines[{n}]" for n, line in enumerate(order.get("lines", [])) if line["quantity"] < 1]
    if faults or not order.get("lines"):
        raise ValueError(f"order {order.get('order_id')}: {', '.join(faults) or 'no lines'}")
    return {
        "order_id": order["order_id"],
        "country": order["customer"]["country"],
        "tier": order["customer"]["tier"],
        "currency": order["currency"],
        "coupon": order.get("coupon"),
        "shipping": order["shipping"],
        "lines": [[line["category"], line["unit_price"] * line["quantity"]] for line in order["lines"]],
    }
