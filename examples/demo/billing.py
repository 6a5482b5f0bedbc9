"""The demo's second half: a month is billed by the flow f/billing/run, against services that fail at times.

What the flow reports is compared with what `examples.flows.billing_expected` computes from the
customers alone, and with the charges that the payment service has taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from msgspec.structs import replace

from examples.demo.screen import Bar, console, say, show_figures
from examples.flows.billing_expected import Expected, expect
from examples.flows.billing_service import BillingService
from examples.flows.billing_world import PERIOD, make_world
from mill_actors.actors.life import Node
from mill_actors.cli.flow_graph import draw_tree
from mill_actors.cli.flow_sources import find_flows, make_flows, read_flows
from mill_actors.cli.flow_states import RunStates
from mill_actors.cli.sources import find_sources, make_scripts
from mill_actors.config import Config
from mill_actors.store.client import Client
from mill_actors.store.connection import Database
from mill_actors.store.jobs import JobResult

CUSTOMERS = 300
FLOW, SERVICE = "f/billing/run", "f/billing/service"
FOLDER = Path(__file__).parents[1] / "flows" / "f" / "billing"
#: Its jobs wait for a network: more of them at a time than there are cores.
PROCESSES = 6
LOOK_SECONDS = 0.1
SECONDS = 120.0


class Bill(NamedTuple):
    """A billing run that is over."""

    flow: str
    result: JobResult
    seconds: float
    status: Mapping[str, Any]


def run_billing(config: Config, database: Database, client: Client, tag: str, customers: int) -> bool:
    """Bill that many customers and show what came of it; True if everything is right."""
    say(f"\na month of {customers:,} customers, billed by {FLOW}; metering and payments fail at times")
    _deploy(client)
    world = make_world(customers)
    config = replace(config, worker=replace(config.worker, dedicated=(), processes=PROCESSES))
    with BillingService(world) as service, Node(config, database):
        client.set_resource(SERVICE, {"url": service.url})
        bill = _bill(client, tag)
        client.delete_resource(SERVICE)
    expected = expect(world)
    faults = _faults(bill, expected, service)
    for fault in faults:
        say(f"  NOT right: {fault}")
    if not faults:
        _show(bill, expected, service)
    draw(client, bill)
    return not faults


def _deploy(client: Client) -> None:
    scripts, _ = make_scripts(client.workspace, find_sources([str(FOLDER)], None)[0], {})
    flows, _ = read_flows(find_flows([FOLDER])[0])
    for script in scripts:
        client.deploy(script)
    for flow in make_flows(client.workspace, flows):
        client.deploy_flow(flow)


def _bill(client: Client, tag: str) -> Bill:
    began = monotonic()
    flow, future = client.start(FLOW, {"period": PERIOD}, tag=tag)
    try:
        _follow(client, flow, future, "invoices")
        _approve(client, flow, future)
        _follow(client, flow, future, "charges")
        result = future.result(SECONDS)
    except BaseException:
        client.cancel(flow, "the demo was interrupted")
        raise
    return Bill(flow, result, monotonic() - began, client.flow_status(flow))


def _follow(client: Client, flow: str, future: Future[JobResult], loop: str) -> None:
    """Show how far a loop is until it is over."""
    module = _look(client, flow, future, loop, until="InProgress")
    count = module.get("iterator", {}).get("itered_len", 0) or len(module.get("flow_jobs", []))
    if not count:
        return  # the flow is over
    with Bar(count, loop, "customers/s") as bar:
        while module["type"] == "InProgress":
            bar.show(len(module["flow_jobs"]), module["iterator"]["index"])
            wait([future], LOOK_SECONDS)
            module = _module(client, flow, loop)
        bar.show(count, count)


def _approve(client: Client, flow: str, future: Future[JobResult]) -> None:
    _look(client, flow, future, "charges", until="WaitingForEvents")
    if not future.done():
        client.resume(flow, {"note": "approved by the demo"}, approver="demo")
        say("  approved")


def _look(
    client: Client, flow: str, future: Future[JobResult], step: str, *, until: str
) -> Mapping[str, Any]:
    """Wait until a step is in a state, or past it, or the flow is over."""
    while True:
        module = _module(client, flow, step)
        if module["type"] in {until, "Success", "Failure"} or future.done():
            return module
        wait([future], LOOK_SECONDS)


def _module(client: Client, flow: str, step: str) -> Mapping[str, Any]:
    modules: Sequence[Mapping[str, Any]] = client.flow_status(flow)["modules"]
    return next(module for module in modules if module["id"] == step)


def _faults(bill: Bill, expected: Expected, service: BillingService) -> list[str]:
    """Say where the run, or what the payment service took, differs from what it must be."""
    if not bill.result.succeeded:
        error = bill.result.value["error"]
        return [f"the flow ended with {bill.result.status}: {error['name']}: {error['message']}"]
    report = bill.result.value
    reasons = {failure["customer"]: failure["reason"] for failure in report["failed"]}
    charged = {charge["customer"]: charge["cents"] for charge in service.charges.values()}
    compared = [
        ("total", report["total"], expected.total),
        ("customers charged", report["charged"], len(expected.charged)),
        ("failures", reasons, expected.not_invoiced | expected.not_charged),
        ("customers charged something else", set(charged.items()) ^ set(expected.charged.items()), set()),
        ("calls before a 429 allowed them", service.too_early, 0),
    ]
    faults = [f"{name}: {found}, not {wanted}" for name, found, wanted in compared if found != wanted]
    if service.retried < expected.retried:  # more of them there may be: delivery is at least once
        faults.append(f"calls retried: {service.retried}, not {expected.retried}")
    return faults


def _show(bill: Bill, expected: Expected, service: BillingService) -> None:
    report = bill.result.value
    reasons = Counter(failure["reason"] for failure in report["failed"])
    free = len(expected.invoices) - len(expected.charged) - len(expected.not_charged)
    say("")
    show_figures(
        [
            ("billed", f"{report['charged']:,}", f"customers, each charged once; {free:,} more owe nothing"),
            ("failed", f"{len(report['failed']):,}", ", ".join(f"{n} {name}" for name, n in reasons.items())),
            ("retried", f"{service.retried:,}", f"of {sum(service.calls.values()):,} calls"),
            ("total", f"€ {report['total'] / 100:,.2f}", "as computed from the customers in another way"),
            ("time", f"{bill.seconds:.1f} s", "from submit to report; who has failed waits 1 or 2 s"),
        ]
    )


def draw(client: Client, bill: Bill) -> None:
    """Draw the flow with what became of its steps, as `mill flow show` does."""
    job = client.flow_job(bill.flow)
    states = RunStates("", bill.status, client.flow_tallies(bill.flow))
    say("")
    console.print(draw_tree(f"{FLOW}  {bill.flow}", job.version.program, job.body, states))
