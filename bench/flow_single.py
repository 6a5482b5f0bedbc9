"""One flow at a time on an idle node, from `Client.run` to the result it returns.

The client is in the bench's process and the node in its own, with a warm process for each step.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from msgspec import Struct

from bench.flow_check import settle_flows, verify_chains, verify_loop
from bench.flow_drain import await_processes, command
from bench.flow_scripts import arguments_of, chain, fan_out, fib, fib_loop, number_of, plain_python
from bench.latency import percentile
from bench.node_process import NodeProcess
from bench.report import Run, console
from bench.server import Link, Server, work_folder
from mill_actors.jobs.script import Script
from mill_actors.store.client import Client
from mill_actors.store.flow_versions import FlowText

#: A loop of 100,000 takes minutes where its machine is busy.
RUN_SECONDS = 1_800.0
WARM_UP = 30
LOOP = 40
FIB = 10
FAN = 1_000


class Sizes(Struct, frozen=True):
    """How often what is run."""

    three_steps: int = 1_000
    loops: int = 40
    fans: int = 10
    pairs: int = 5
    large_fib: int = 33


QUICK = Sizes(three_steps=200, loops=20, fans=5, pairs=3, large_fib=27)


class Bench(Struct, frozen=True):
    """A node, and who speaks to it."""

    server: Server
    client: Client
    link: Link
    node: NodeProcess

    def time(self, flow: FlowText, args: dict[str, object], expected: object) -> float:
        """Run a flow and return the seconds from the call to the result, which must be this one."""
        began = time.perf_counter()
        result = self.client.run(flow.path, args, timeout=RUN_SECONDS)
        spent = time.perf_counter() - began
        assert result.status == "success", f"{flow.path} is a {result.status}: {str(result.raw)[:500]}"
        assert result.value == expected, f"not the result of {flow.path}: {str(result.raw)[:500]}"
        return spent


@contextmanager
def dedicated_node(
    server: Server, flows: Sequence[FlowText], processes: int, scripts: Sequence[Script] = ()
) -> Iterator[Bench]:
    """Start a node with dedicated flows on a fresh database; it must be warm, and stay so."""
    with (
        work_folder("node") as folder,
        server.database() as dsn,
        Client(dsn) as client,
        closing(Link(dsn)) as link,
    ):
        for script in scripts:
            client.deploy(script)
        for flow in flows:
            client.deploy_flow(flow)
        node = NodeProcess(dsn, folder, dedicated=True)
        try:
            pinned = await_processes(node, processes)
            yield Bench(server, client, link, node)
            after = {p.pid for p in node.languages() if "supervisors-reaper" not in command(p)}
            assert pinned <= after, "the language processes are not the warm ones"
            assert len(after - pinned) <= node.processes, "processes come and go: they were not warm"
            node.stop()
        finally:
            node.kill()


def run(server: Server, sizes: Sizes) -> Run:
    """Measure once: three steps, the loops of fib, the fan."""
    three, loop = chain("three", 3), fib_loop("sequential40", LOOP)
    large, fan = fib_loop("sequential10", 10), fan_out("fanout", FAN)
    with dedicated_node(server, [three, loop, large, fan], processes=6) as bench:
        with console.status("three steps, one flow at a time"):
            times = _three_steps(bench, three, sizes.three_steps)
        with console.status(f"{LOOP} × fib({FIB}), one after the other"):
            loops = _many(bench, loop, sizes.loops, {"n": FIB}, [fib(FIB)] * LOOP)
        with console.status(f"10 × fib({sizes.large_fib}), beside a plain loop"):
            plain, own = _against_plain(bench, large, sizes)
        with console.status(f"{FAN:,} no-ops at once"):
            fans = _many(bench, fan, sizes.fans, {}, list(range(FAN)))
        verify_loop(bench.link, loop, iterations=LOOP)
        verify_loop(bench.link, large, iterations=10)
        verify_loop(bench.link, fan, iterations=FAN, in_order=False)
        verify_chains(bench.link, three, WARM_UP + sizes.three_steps)
    return {
        "sequential40_seconds": (statistics.median(loops), "s"),
        "sequential10_fib33_ratio": (statistics.median(own) / statistics.median(plain), "ratio"),
        "three_step_p50_ms": (percentile(times, 50) * 1000.0, "ms"),
        "three_step_p99_ms": (percentile(times, 99) * 1000.0, "ms"),
        "fanout1000_seconds": (statistics.median(fans), "s"),
        "sequential10_flow_seconds": (statistics.median(own), "s"),
        "sequential10_plain_seconds": (statistics.median(plain), "s"),
    }


def _three_steps(bench: Bench, flow: FlowText, flows: int) -> list[float]:
    times = []
    for place in range(WARM_UP + flows):
        if place == WARM_UP:
            settle_flows(bench.link)
        expected = {"ok": True, "number": number_of(place) + 3}
        times.append(bench.time(flow, arguments_of(place), expected))
    return sorted(times[WARM_UP:])


def _many(bench: Bench, flow: FlowText, times: int, args: dict[str, object], expected: object) -> list[float]:
    warm = max(3, times // 4)
    return [bench.time(flow, args, expected) for _ in range(warm + times)][warm:]


def _against_plain(bench: Bench, flow: FlowText, sizes: Sizes) -> tuple[list[float], list[float]]:
    """Return the seconds of plain loops and of flows, taken in turn: what slows one, slows the other."""
    plain, own = [], []
    popen: subprocess.Popen[Any]
    with subprocess.Popen(
        plain_python(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        for turn in range(-1, sizes.pairs):
            # The first turn is warm-up, and short.
            number = FIB if turn < 0 else sizes.large_fib
            popen.stdin.write(f"10 {number}\n")
            popen.stdin.flush()
            seconds, total = popen.stdout.readline().split()
            assert int(total) == 10 * fib(number), "the plain loop is wrong"
            spent = bench.time(flow, {"n": number}, [fib(number)] * 10)
            if turn >= 0:
                plain.append(float(seconds))
                own.append(spent)
        popen.stdin.close()
    return plain, own
