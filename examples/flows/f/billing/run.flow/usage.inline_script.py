"""What one customer used in a month."""

import json
from typing import TypedDict
from urllib.error import HTTPError
from urllib.request import urlopen


class billing_service(TypedDict):
    url: str


class NotMetered(Exception):
    """Trying again is no use."""


def main(service: billing_service, customer: str, period: str) -> dict:
    try:
        with urlopen(f"{service['url']}/usage/{customer}?period={period}", timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:
        if error.code == 404:
            raise NotMetered(f"{customer} has no meter") from None
        if error.code == 429:
            print(f"{customer}: to be asked again in {error.headers['Retry-After']} s")
        raise
