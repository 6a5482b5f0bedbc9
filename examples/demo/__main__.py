"""`python -m examples.demo [ORDERS [CUSTOMERS]]`: exit code 0 if everything is as it must be."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import orjson
from msgspec.structs import replace

from examples.demo.billing import CUSTOMERS, run_billing
from examples.demo.expected import (
    Totals,
    expected_of_enrich,
    expected_of_score,
    totals_of_enrich,
    totals_of_score,
)
from examples.demo.floor import measure_floor
from examples.demo.orders import make_orders
from examples.demo.screen import Bar, say, show_figures, show_json
from examples.demo.stream import WINDOW, Stream, batches
from mill_actors.actors.life import Node
from mill_actors.cli.database import open_database
from mill_actors.cli.faults import ending
from mill_actors.cli.sources import find_sources, make_scripts
from mill_actors.config import Config, load
from mill_actors.events import Events
from mill_actors.store.client import Client
from mill_actors.store.jobs import JobResult
from mill_actors.store.submission import Submission
from supervisors import Tree, snapshot

ORDERS = 20_000
WARM_UP = 100
ENRICH, SCORE = "f/demo/enrich", "f/demo/score"
# The demo's jobs carry a tag of their own: a `mill dev` in the same folder leaves them alone. What an
# interrupted demo leaves in the queue is done by the next one.
TAG = "demo"


class Run(NamedTuple):
    """What the stream left behind."""

    stream: Stream
    tree: Tree
    stale: int


def main(count: int = ORDERS, customers: int = CUSTOMERS) -> int:
    """Run the demo with that many orders, then bill that many customers."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = _configure()
    began = monotonic()
    orders = list(make_orders(count))
    # Every other order goes to each language.
    events = [
        Submission(
            path=(ENRICH, SCORE)[place % 2], args=orjson.dumps(order), workspace=config.workspace, tag=TAG
        )
        for place, order in enumerate(orders)
    ]
    where = "your PostgreSQL" if config.database_url else f"a PostgreSQL of its own in {config.node.work_dir}"
    say(f"{count:,} orders, half through {ENRICH} (Python), half through {SCORE} (TypeScript), on {where}")
    with (
        open_database(config, makes=True, migrates=True) as database,
        Client(database, config.workspace) as client,
    ):
        _deploy(client)
        node_events = Events()
        with Node(config, database, node_events) as node:
            _warm_up(client, orders)
            say(f"both scripts are warm after {monotonic() - began:.1f} s")
            run = _stream(client, node, node_events, events)
        results = _read_back(client, run.stream.ids)
        ok = _judge(orders, run.stream.ids, results)
        raw = [results[job].raw or "null" for job in run.stream.ids]
        _show(run, results, measure_floor(client, events, raw))
        _show_one(client, run.stream.ids, results)
        ok = run_billing(config, database, client, TAG, customers) and ok
    say(
        f"\neverything succeeded and the totals are right ({monotonic() - began:.1f} s)"
        if ok
        else "\nNOT right"
    )
    return 0 if ok else 1


def _configure() -> Config:
    config = load({}, os.environ, Path.cwd())
    # This node runs the demo's jobs and nobody else's; both scripts' processes start with it and stay.
    return replace(config, worker=replace(config.worker, tags=(TAG,), dedicated=(ENRICH, SCORE)))


def _deploy(client: Client) -> None:
    sources, _ = find_sources([str(Path(__file__).parent)], None)
    scripts, _ = make_scripts(client.workspace, sources, {})
    for script in scripts:
        client.deploy(script)


def _warm_up(client: Client, orders: Sequence[dict[str, Any]]) -> None:
    # Both languages are started, and have run some jobs, before the clock starts.
    started = [client.start(path, order, tag=TAG) for order in orders[:WARM_UP] for path in (ENRICH, SCORE)]
    for _, future in started:
        result = future.result(60)
        if not result.succeeded:
            say(f"the first job failed: {result.raw}")
            raise SystemExit(1)


def _stream(client: Client, node: Node, events: Events, submissions: Sequence[Submission]) -> Run:
    stream = Stream(client)
    unsubscribe = events.subscribe(stream.moved)
    with Bar(len(submissions)) as bar:
        stream.run(submissions, bar.show)
    unsubscribe()
    return Run(stream, snapshot(node.tree), node.context.counters.stale)


def _read_back(client: Client, ids: Sequence[str]) -> dict[str, JobResult]:
    """Read every result from the database: what counts is what is there."""
    return {result.id: result for batch in batches(ids) for result in client.results(batch)}


def _judge(orders: Sequence[Any], ids: Sequence[str], results: dict[str, JobResult]) -> bool:
    """Compare the totals of the results with those computed from the orders."""
    if not all(job in results and results[job].succeeded for job in ids):
        failed = [results[job] for job in ids if job in results and not results[job].succeeded]
        say(f"{len(failed)} jobs did not succeed, {len(set(ids) - set(results))} have no result; the first:")
        say(f"  {failed[0].raw if failed else None}")
        return False
    values = [orjson.loads(results[job].raw or "null") for job in ids]
    found = totals_of_enrich(values[0::2]) + totals_of_score(values[1::2])
    wanted = expected_of_enrich(orders[0::2]) + expected_of_score(orders[1::2])
    for name in sorted(found | wanted):
        if found[name] != wanted[name]:
            say(f"{name}: {found[name]:,} in the results, {wanted[name]:,} in the orders")
    if found == wanted:
        _show_totals(found)
    return found == wanted


def _show_totals(totals: Totals) -> None:
    say(
        f"\n€ {totals['gross'] / 100:,.2f} gross in {len(values_of(totals, 'orders '))} countries, "
        f"€ {totals['vat'] / 100:,.2f} of it VAT; {sum(values_of(totals, 'points ')):,} loyalty points; "
        f"{totals['review']:,} orders to review"
    )


def values_of(totals: Totals, prefix: str) -> list[int]:
    """Return the totals whose name begins so."""
    return [value for name, value in totals.items() if name.startswith(prefix)]


def _show(run: Run, results: dict[str, JobResult], floor: float) -> None:
    rate = len(run.stream.ids) / run.stream.seconds
    times = run.stream.latencies()
    states = Counter(result.status for result in results.values())
    restarts = sum(each.restarts for each in run.tree.walk())

    def percentile(part: float) -> str:
        return f"{times[int(part * (len(times) - 1))] * 1000:,.1f} ms" if times else "–"

    say("")
    show_figures(
        [
            ("jobs/s", f"{rate:,.0f}", "first submit to last committed result"),
            (
                "floor",
                f"{floor:,.0f}",
                f"plain SQL claims and finishes the same rows; {rate / floor:.2f} of it",
            ),
            ("p50", percentile(0.50), f"submit to committed result, up to {WINDOW:,} under way"),
            ("p99", percentile(0.99), "the same"),
            (
                "states",
                ", ".join(f"{n:,} {state}" for state, n in states.items()),
                "as the database has them",
            ),
            (
                "restarts",
                str(restarts),
                f"of {sum(1 for _ in run.tree.walk())} actors; {run.stale} stale results",
            ),
        ]
    )


def _show_one(client: Client, ids: Sequence[str], results: dict[str, JobResult]) -> None:
    for job in _talkative(client, ids):
        say(f"\njob {job}, {client.job(job).path}")
        show_json("arguments", client.job(job).args)
        say(f"  {'logs':<9} {''.join(chunk.text for chunk in client.logs(job)).strip()}")
        show_json("result", results[job].raw or "null")


def _talkative(client: Client, ids: Sequence[str]) -> Iterator[str]:
    """Find the first job that printed something."""
    for job in ids:
        if client.logs(job):
            yield job
            return


if __name__ == "__main__":
    with ending():
        sys.exit(main(*map(int, sys.argv[1:3])))
