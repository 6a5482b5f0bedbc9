"""Charges one invoice. The key makes a repeat harmless, whoever repeats it: the retry, or a second run."""

import json
from typing import TypedDict
from urllib.error import HTTPError
from urllib.request import Request, urlopen


class billing_service(TypedDict):
    url: str


class Declined(Exception):
    """The bank has decided."""


def main(service: billing_service, invoice: dict) -> dict:
    charge = {name: invoice[name] for name in ("customer", "period", "cents")}
    request = Request(
        f"{service['url']}/charges",
        data=json.dumps(charge).encode(),
        headers={"Idempotency-Key": f"{charge['customer']}/{charge['period']}"},
    )
    try:
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:
        if error.code == 402:
            raise Declined(f"the bank declines {charge['cents'] / 100:,.2f} EUR") from None
        raise
