"""`python -m bench NAME|all [--json FILE] [--runs 3] [--jobs N] [--quick] [--profile]`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from bench import api, deploy, drain, flow, idle, latency, machine, recover, report
from bench.report import Run, console
from bench.server import Server, bench_server

LEAST_RUNS = 3


def _drain(server: Server, told: argparse.Namespace) -> Run:
    return drain.run(server, _jobs(told, drain.JOBS, drain.QUICK_JOBS), profile=told.profile)


def _latency(server: Server, told: argparse.Namespace) -> Run:
    return latency.run(server, _jobs(told, latency.JOBS, latency.QUICK_JOBS))


def _idle(server: Server, told: argparse.Namespace) -> Run:
    return idle.run(server, idle.QUICK_SECONDS if told.quick else idle.SECONDS)


def _recover(server: Server, told: argparse.Namespace) -> Run:
    return recover.run(server, _jobs(told, recover.JOBS, recover.QUICK_JOBS))


def _deploy(server: Server, told: argparse.Namespace) -> Run:
    return deploy.run(server, _jobs(told, deploy.JOBS, deploy.QUICK_JOBS))


def _flow(server: Server, told: argparse.Namespace) -> Run:
    sizes = flow.QUICK if told.quick else flow.FULL
    return flow.run(server, told.jobs or sizes.flows, sizes)


def _api(server: Server, told: argparse.Namespace) -> Run:
    return api.run(server, api.QUICK if told.quick else api.Sizes())


def _jobs(told: argparse.Namespace, usual: int, quick: int) -> int:
    return told.jobs or (quick if told.quick else usual)


BENCHES: dict[str, Callable[[Server, argparse.Namespace], Run]] = {
    "drain": _drain,
    "latency": _latency,
    "idle": _idle,
    "recover": _recover,
    "deploy": _deploy,
    "flow": _flow,
    "api": _api,
}


def main(arguments: list[str] | None = None) -> int:
    """Run benches; 0 if each exposed what it measures."""
    told = _parser().parse_args(arguments)
    runs = told.runs or (1 if told.quick or told.profile else LEAST_RUNS)
    names = list(BENCHES) if told.bench == "all" else [told.bench]
    documents: list[dict[str, Any]] = []
    # A killed bench cleans up too: its nodes, its server, its folders.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    commit = machine.commit()
    with bench_server() as server:
        described = machine.describe(server.link) | {"runs": runs, "quick": told.quick}
        report.show_machine(described, commit)
        for name in names:
            done: list[Run] = []
            for number in range(1, runs + 1):
                began = time.monotonic()
                done.append(BENCHES[name](server, told))
                seconds = time.monotonic() - began
                console.print(f"[dim]{name}: run {number} of {runs} took {seconds:.0f} s[/]", highlight=False)
            documents.append(report.document(name, commit, described, done))
            report.show(documents[-1])
    if told.json:
        report.write(told.json, documents)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure mill-actors.")
    parser.add_argument("bench", choices=[*BENCHES, "all"])
    parser.add_argument("--json", metavar="FILE", help="write the figures there; - is stdout")
    parser.add_argument("--runs", type=int, help=f"how often (default {LEAST_RUNS})")
    parser.add_argument("--jobs", type=int, help="how many jobs, or flows, where a bench can vary it")
    parser.add_argument("--quick", action="store_true", help="one small run: does it work, not how fast")
    parser.add_argument("--profile", action="store_true", help="drain: one run, sampled by py-spy")
    return parser


if __name__ == "__main__":
    sys.exit(main())
