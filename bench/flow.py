"""flow: steps a second of flows that are queued already, and what one flow takes at a time.

A drain is a run of `drain`, with flows for jobs: a fresh database, a node whose dedicated steps are warm,
SIGSTOP, the flows are queued, vacuum and checkpoint, SIGCONT; the clock runs until no row is left in
`mill.queue`. Then every step must be in history: once, with its own id, arguments and result, begun when
the one before was over, and, with durability by step, durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from bench import flow_drain, flow_expressions, flow_floor, flow_growth, flow_scripts, flow_single
from bench.cpu import per_job
from bench.flow_drain import Flowed
from bench.flow_scripts import TEN, chain
from bench.report import Run, console
from bench.server import Server


class Sizes(Struct, frozen=True):
    """How much of what is measured."""

    flows: int
    single: flow_single.Sizes
    growth: flow_growth.Sizes
    evaluations: int


FULL = Sizes(5_000, flow_single.Sizes(), flow_growth.Sizes(), flow_expressions.EVALUATIONS)
QUICK = Sizes(500, flow_single.QUICK, flow_growth.QUICK, flow_expressions.QUICK_EVALUATIONS)


def run(server: Server, flows: int, sizes: Sizes) -> Run:
    """Measure once."""
    drained = {
        "steps": flow_drain.drain_chains(server, chain("ten", TEN), flows),
        "steps, durability flow": flow_drain.drain_chains(
            server, chain("ten_whole", TEN, durability="flow"), flows
        ),
        "bun steps": flow_drain.drain_chains(server, chain("ten_ts", TEN, language="bun"), flows),
        "queue steps": flow_drain.drain_chains(server, chain("ten_queued", TEN, dedicated=False), flows),
    }
    steps, whole, bun, queue = drained.values()
    example = flow_scripts.orders()
    orders: Run = {}
    if example is not None:
        drained["orders"] = flow_drain.drain_orders(server, example, flows)
        orders = {"orders_steps_per_second": (drained["orders"].steps_per_second, "steps/s")}
    floor = drained["floor"] = flow_floor.drain(server, flows)
    for name, told in drained.items():
        flow_drain.show(name, told)
    single = _timed("one flow at a time", lambda: flow_single.run(server, sizes.single))
    growth = _timed("growth", lambda: flow_growth.run(server, sizes.growth))
    return {
        "steps_per_second": (steps.steps_per_second, "steps/s"),
        "steps_per_second_flow": (whole.steps_per_second, "steps/s"),
        "bun_steps_per_second": (bun.steps_per_second, "steps/s"),
        "queue_steps_per_second": (queue.steps_per_second, "steps/s"),
        **orders,
        "floor_steps_per_second": (floor.steps_per_second, "steps/s"),
        "ratio_to_floor": (steps.steps_per_second / floor.steps_per_second, "ratio"),
        **single,
        **growth,
        **flow_expressions.run(sizes.evaluations),
        **_costs("", steps),
        **_costs("flow_", whole),
        **_costs("queue_", queue),
        **_costs("floor_", floor),
    }


def _costs(prefix: str, told: Flowed) -> Run:
    return {
        f"{prefix}cpu_us_per_step": (sum(per_job(told.cpu, told.steps).values()), "µs/step"),
        f"{prefix}wal_bytes_per_step": (told.wal_bytes / told.steps, "B/step"),
        f"{prefix}commits_per_step": (told.commits / told.steps, "commits/step"),
    }


def _timed(name: str, measure: Callable[[], Run]) -> Run:
    began = time.monotonic()
    figures = measure()
    console.print(f"[dim]flow: {name} took {time.monotonic() - began:.0f} s[/]", highlight=False)
    return figures
