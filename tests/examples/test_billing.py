"""The monthly billing run: troubles of every kind, an approval, and the right money at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.flows.billing_expected import amount, expect
from examples.flows.billing_service import BillingService
from examples.flows.billing_world import PERIOD, make_world
from mill_actors.store.client import Client
from tests.cli.conftest import ROOT
from tests.examples.conftest import SECONDS, wait_for_approval
from tests.examples.loading import load_script

pytestmark = pytest.mark.slow
FLOW = "f/billing/run"


@pytest.fixture
def service(client: Client, request: pytest.FixtureRequest) -> Iterator[BillingService]:
    """The services of a company, whose size is the parameter."""
    with BillingService(make_world(request.param)) as service:
        client.set_resource("f/billing/service", {"url": service.url})
        yield service


@pytest.mark.parametrize("service", [2_000], indirect=True)
def test_everybody_is_charged_once_but_those_who_must_fail(client: Client, service: BillingService) -> None:
    expected = expect(service.world)
    flow, future = client.start(FLOW, {"period": PERIOD})
    client.resume(flow, {"note": "October"}, approver="ada")  # in advance: it is kept until asked for
    report = future.result(SECONDS).value

    charged = {charge["customer"]: charge["cents"] for charge in service.charges.values()}
    assert charged == expected.charged
    assert report["total"] == expected.total
    assert report["charged"] == len(expected.charged)
    reasons = {failure["customer"]: failure["reason"] for failure in report["failed"]}
    assert reasons == expected.not_invoiced | expected.not_charged
    assert report["note"] == "October"
    assert service.too_early == 0
    assert service.retried == expected.retried


@pytest.mark.parametrize("service", [1], indirect=True)
def test_nobody_is_charged_before_the_approval(client: Client, service: BillingService) -> None:
    flow, future = client.start(FLOW, {"period": PERIOD})
    assert wait_for_approval(client, flow) == "charges"
    assert service.charges == {}
    client.resume(flow, approver="ada")
    report = future.result(SECONDS).value
    assert report["note"] is None
    assert len(service.charges) == report["charged"] == 1


@pytest.mark.parametrize("service", [1], indirect=True)
def test_nobody_is_charged_without_an_approval(client: Client, service: BillingService) -> None:
    flow, future = client.start(FLOW, {"period": PERIOD})
    wait_for_approval(client, flow)
    client.resume(flow, approver="ada", approved=False)
    result = future.result(SECONDS)
    assert result.status == "failure"
    assert result.value["error"] == {"name": "SuspendedDisapproved", "message": "Disapproved by ada"}
    assert service.charges == {}


def test_two_ways_to_compute_agree() -> None:
    invoice = load_script(ROOT / "examples/flows/f/billing/invoice.py")
    for account in make_world(3_000).values():
        assert invoice(account.customer, PERIOD, account.usage)["cents"] == amount(account)
