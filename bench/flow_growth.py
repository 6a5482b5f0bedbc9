"""What a step costs in a long flow and in a long loop, beside one of a short flow.

One flow at a time on one warm node. All steps are jobs of one script, read the result of the first step,
and have rows of their own. A thousand steps in one flow are taken in turn with a thousand in flows of
ten; a loop is one flow, so that as many steps of short flows run before it and after it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from msgspec import Struct, field

from bench.cpu import Meter, Spent, per_job
from bench.flow_check import settle_flows, verify_growth, verify_loop, verify_rest
from bench.flow_scripts import TEN, arguments_of, long_chain, long_loop, long_step, number_of
from bench.flow_single import Bench, dedicated_node
from bench.report import Run, console
from bench.server import Server
from mill_actors.store.flow_versions import FlowText

LONG = 1_000
TENS = LONG // TEN
WARM_UP_ITERATIONS = 300


class Sizes(Struct, frozen=True):
    """Rounds of a thousand steps each way; iterations of the loop."""

    rounds: int = 20
    iterations: int = 100_000
    #: thousands of steps of short flows before the loop, and after it
    blocks: int = 50
    warm_up: int = 2


QUICK = Sizes(rounds=2, iterations=5_000, blocks=1, warm_up=1)


class Cost(Struct):
    """What steps have cost: seconds a step, one value a measurement, and CPU of node and PostgreSQL."""

    steps: int = 0
    walls: list[float] = field(default_factory=list)
    spent: Spent = field(default_factory=dict)

    @property
    def wall(self) -> float:
        return statistics.median(self.walls)

    @property
    def cpu(self) -> float:
        """The engine's: what the steps' own processes use is the same everywhere."""
        engine = [used for kind, used in self.spent.items() if kind == "node" or kind.startswith("pg ")]
        return sum(engine) / self.steps


class Growth:
    """The three flows on one node, and how often each has run."""

    def __init__(self, bench: Bench, short: FlowText, long: FlowText, loop: FlowText) -> None:
        self.bench = bench
        self.short, self.long, self.loop = short, long, loop
        self._places = {flow.path: 0 for flow in (short, long, loop)}

    def tens(self, cost: Cost, flows: int = TENS) -> None:
        """Run flows of ten steps."""
        self._measure(cost, flows * TEN, (self._chain(self.short, TEN) for _ in range(flows)))

    def thousand(self, cost: Cost) -> None:
        """Run a flow of a thousand steps."""
        self._measure(cost, LONG, (self._chain(self.long, LONG) for _ in range(1)))

    def iterations(self, cost: Cost, count: int) -> None:
        """Run a loop."""
        args: dict[str, object] = {"number": number_of(0), "n": count}
        expected = [{"first": number_of(0) + 1, "number": place + 1} for place in range(count)]
        self._measure(cost, count + 1, (self._run(self.loop, args, expected) for _ in range(1)))

    def count(self, flow: FlowText) -> int:
        return self._places[flow.path]

    def _chain(self, flow: FlowText, steps: int) -> float:
        place = self._places[flow.path]
        number = number_of(place * LONG)  # a thousand steps count further than the next flow's number
        expected = {"first": number + 1, "number": number + steps}
        return self._run(flow, arguments_of(place * LONG), expected)

    def _run(self, flow: FlowText, args: dict[str, object], expected: object) -> float:
        self._places[flow.path] += 1
        return self.bench.time(flow, args, expected)

    def _measure(self, cost: Cost, steps: int, runs: Iterable[float]) -> None:
        meter = Meter(self.bench.server, self.bench.link, self.bench.node)
        meter.start()
        seconds = sum(runs)
        spent = meter.stop()
        cost.steps += steps
        cost.walls.append(seconds / steps)
        spent.pop("pg bench", None)
        for kind, used in spent.items():
            cost.spent[kind] = cost.spent.get(kind, 0.0) + used


def run(server: Server, sizes: Sizes) -> Run:
    """Measure once."""
    short, long, loop = long_chain("short", TEN), long_chain("long", LONG), long_loop("loop")
    with dedicated_node(server, [short, long, loop], processes=1, scripts=[long_step()]) as bench:
        growth = Growth(bench, short, long, loop)
        with console.status("growth: warming up"):
            for _ in range(sizes.warm_up):
                growth.tens(Cost(), TENS // 2)
                growth.thousand(Cost())
                growth.iterations(Cost(), WARM_UP_ITERATIONS)
            settle_flows(bench.link)
        with console.status(f"growth: {LONG:,} steps in one flow, and in flows of {TEN}"):
            tens, thousand = Cost(), Cost()
            for _ in range(sizes.rounds):
                growth.tens(tens)
                growth.thousand(thousand)
        with console.status(f"growth: a loop of {sizes.iterations:,}"):
            beside, looped = Cost(), Cost()
            for _ in range(sizes.blocks):
                growth.tens(beside)
            settle_flows(bench.link)
            growth.iterations(looped, sizes.iterations)
            settle_flows(bench.link)
            for _ in range(sizes.blocks):
                growth.tens(beside)
        verify_growth(bench.link, short, growth.count(short), TEN)
        verify_growth(bench.link, long, growth.count(long), LONG)
        _verify_loops(bench, loop, growth.count(loop), sizes.iterations)
        verify_rest(bench.link)
        last_tenth = _last_tenth(bench, loop, sizes.iterations)
    for name, cost in (("short", tens), ("long", thousand), ("beside the loop", beside), ("loop", looped)):
        _show(name, cost)
    steps, iterations = thousand.wall / tens.wall, looped.wall / beside.wall
    return {
        "growth_ratio": (max(steps, iterations), "ratio"),
        "growth_steps_ratio": (steps, "ratio"),
        "growth_loop_ratio": (iterations, "ratio"),
        "growth_steps_cpu_ratio": (thousand.cpu / tens.cpu, "ratio"),
        "growth_loop_cpu_ratio": (looped.cpu / beside.cpu, "ratio"),
        "growth_last_tenth_ratio": (last_tenth, "ratio"),
        "short_flow_us_per_step": (tens.wall * 1e6, "µs/step"),
        "long_flow_us_per_step": (thousand.wall * 1e6, "µs/step"),
        "loop_us_per_step": (looped.wall * 1e6, "µs/step"),
        "short_flow_cpu_us_per_step": (tens.cpu * 1e6, "µs/step"),
    }


def _show(name: str, cost: Cost) -> None:
    spent = per_job(cost.spent, cost.steps)
    parts = "  ".join(f"{kind} {used:.0f}" for kind, used in spent.items() if used >= 1.0)
    walls = [seconds * 1e6 for seconds in cost.walls]
    console.print(
        f"[bold]{name}[/] {cost.wall * 1e6:,.0f} µs a step ({min(walls):,.0f} to {max(walls):,.0f} in "
        f"{len(walls)} measurements); µs CPU a step: {parts}",
        highlight=False,
        soft_wrap=True,
    )


def _verify_loops(bench: Bench, loop: FlowText, runs: int, iterations: int) -> None:
    """Raise unless each iteration of each loop is in history; warm-up's are short."""
    for run_id, count in bench.link.execute(
        "select id::text, json_array_length(result) from mill.completed_job where path = %s and is_flow",
        [loop.path],
    ).fetchall():
        assert count in {WARM_UP_ITERATIONS, iterations}
        verify_loop(bench.link, loop, iterations=count, flow_id=run_id)
        runs -= 1
    assert runs == 0, f"{runs} loops are missing, or there too often"


def _last_tenth(bench: Bench, loop: FlowText, iterations: int) -> float:
    """Return how long the last tenth of the longest loop took, over its first tenth."""
    rows = bench.link.execute(
        """
        with run as (
          select id from mill.completed_job where path = %(path)s and is_flow
          order by json_array_length(result) desc limit 1
        )
        select extract(epoch from max(completed_at) filter (where iteration < %(tenth)s)
            - min(completed_at) filter (where iteration < %(tenth)s))::float8,
          extract(epoch from max(completed_at) filter (where iteration >= %(n)s - %(tenth)s)
            - min(completed_at) filter (where iteration >= %(n)s - %(tenth)s))::float8
        from mill.completed_job where parent_job = (select id from run) and step = 'l'
        """,
        {"path": loop.path, "tenth": iterations // 10, "n": iterations},
    ).fetchone()
    assert rows is not None
    first, last = rows
    return float(last / first)
