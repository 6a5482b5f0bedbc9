"""Adds up what is due, and lists the customers that could not be invoiced."""

from collections import Counter


def main(customers: list[dict], invoices: list[dict]) -> dict:
    by_plan = Counter()
    due, failed = [], []
    for customer, invoice in zip(customers, invoices, strict=True):
        if error := invoice.get("error"):
            failed.append({"customer": customer["id"], "reason": error["name"], "message": error["message"]})
            continue
        by_plan[customer["plan"]] += invoice["cents"]
        if invoice["cents"]:
            due.append(invoice)
    total = sum(by_plan.values())
    print(f"{total / 100:,.2f} EUR from {len(due):,} customers; {len(failed):,} could not be invoiced")
    return {
        "total": total,
        "by_plan": by_plan,
        "invoiced": len(invoices) - len(failed),
        "due": due,
        "failed": failed,
    }
