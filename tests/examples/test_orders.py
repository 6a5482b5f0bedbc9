"""Order events go through three warm steps, and the money is right."""

from __future__ import annotations

import pytest

from examples.demo.expected import expected_of_enrich, totals_of_enrich
from examples.demo.orders import make_orders
from mill_actors.store.client import Client
from mill_actors.store.submission import Submission
from tests.examples.conftest import SECONDS, Run

pytestmark = pytest.mark.slow
FLOW = "f/orders/process"


def test_the_totals_of_a_stream_are_those_of_its_orders(client: Client) -> None:
    orders = list(make_orders(500))
    receipts = client.submit_many([Submission(path=FLOW, args={"order": order}) for order in orders])
    results = [client.expect(receipt.id).result(SECONDS) for receipt in receipts]
    assert totals_of_enrich(result.value for result in results) == expected_of_enrich(orders)


def test_a_faulty_order_says_what_is_wrong(run: Run) -> None:
    order = next(make_orders(1)) | {"lines": []}
    status, result = run(FLOW, order=order)
    assert status == "failure"
    assert result["error"]["message"] == f"order {order['order_id']}: no lines"
