"""The flows that the bench of flows runs: small ones whose every number says whose it is."""

from __future__ import annotations

import sys
from typing import Any, Literal

import orjson

from bench.scripts import FIRST, arguments
from bench.server import ROOT
from mill_actors.flows.version import FlowOptions
from mill_actors.jobs.script import Script, make_script
from mill_actors.store.flow_versions import FlowText, make_flow

Durability = Literal["step", "flow"]

TEN = 10
#: Numbers of two flows are this far apart: those of their steps lie between, so that none occurs twice.
APART = 16

PYTHON_STEP = """\
def main(before):
    return {"ok": True, "number": before["number"] + 1}
"""

BUN_STEP = """\
export function main(before: { number: number }) {
  return { ok: true, number: before.number + 1 };
}
"""

#: What it returns of `first` shows that an earlier result was read.
LONG_STEP = """\
def main(first, before):
    return {"first": first, "number": before + 1}
"""

FIB = """\
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def main(n):
    return fib(n)
"""

ITEM = """\
def main(item):
    return item
"""

ORDERS = ROOT / "examples" / "flows" / "f" / "orders" / "process.flow"


def arguments_of(place: int) -> dict[str, object]:
    """Return a flow's arguments, exactly 100 bytes of JSON; its first step returns one more than `number`.

    >>> len(orjson.dumps(arguments_of(0))), arguments_of(2)["number"]
    (100, 100000032)
    """
    return arguments(place * APART)


def number_of(place: int) -> int:
    """Return the number that a flow is given."""
    return FIRST + place * APART


def chain(
    name: str,
    steps: int,
    *,
    language: str = "python3",
    dedicated: bool = True,
    durability: Durability = "step",
) -> FlowText:
    """Return a flow of no-op steps, each with its own code (so: its own process), each reading the last."""
    content = BUN_STEP if language == "bun" else PYTHON_STEP
    modules = [
        _raw(f"s{n}", content, {"before": "flow_input" if n == 0 else f"results.s{n - 1}"}, language)
        for n in range(steps)
    ]
    return _flow(name, modules, dedicated=dedicated, durability=durability)


def long_step() -> Script:
    """Return the script of all steps of the flows whose growth is measured: a thousand need one process."""
    return make_script("default", "f/bench/step", "python3", LONG_STEP)


def long_chain(name: str, steps: int) -> FlowText:
    """Return a flow of steps of one script, each reading the first result and the one before it."""
    modules = [
        _script(
            f"s{n}",
            {
                "first": "flow_input.number" if n == 0 else "results.s0.number",
                "before": "flow_input.number" if n == 0 else f"results.s{n - 1}.number",
            },
        )
        for n in range(steps)
    ]
    return _flow(name, modules)


def long_loop(name: str) -> FlowText:
    """Return a step, and a sequential loop of `n` iterations in which each reads that step's result."""
    first = _script("s0", {"first": "flow_input.number", "before": "flow_input.number"})
    body = _script("b", {"first": "results.s0.number", "before": "flow_input.iter.index"})
    return _flow(name, [first, _loop("l", "flow_input.n", [body])])


def fib_loop(name: str, times: int) -> FlowText:
    """Return a sequential loop of fib(`n`)."""
    return _flow(name, [_loop("l", str(times), [_raw("b", FIB, {"n": "flow_input.n"})])])


def fan_out(name: str, times: int) -> FlowText:
    """Return a parallel loop of no-ops."""
    body = _raw("b", ITEM, {"item": "flow_input.iter.value"})
    return _flow(name, [_loop("l", str(times), [body], parallel=True)])


def orders() -> FlowText | None:
    """Return the example that prices orders, as `mill deploy` would; None where there is none."""
    if not ORDERS.is_dir():
        return None
    # Only with the example: the benches need nothing of the command line otherwise.
    from mill_actors.cli.flow_sources import find_flows, make_flows, read_flows  # noqa: PLC0415

    sources, _ = find_flows([ORDERS])
    flows, faults = read_flows(sources)
    assert not faults, "\n".join(faults)
    (made,) = make_flows("default", flows)
    assert made.options.dedicated, "the example of orders is not a dedicated flow"
    return made


def plain_python() -> list[str]:
    """Return the command of a plain loop of the same fib: numbers in, the seconds they took out."""
    program = (
        f"{FIB}\nimport sys, time\n"
        "for line in sys.stdin:\n"
        "    times, n = map(int, line.split())\n"
        "    began = time.perf_counter()\n"
        "    results = [main(n) for _ in range(times)]\n"
        "    print(time.perf_counter() - began, sum(results), flush=True)\n"
    )
    return [sys.executable, "-c", program]


def fib(number: int) -> int:
    """Return fib(`number`), quickly.

    >>> fib(10), fib(33)
    (55, 3524578)
    """
    one, other = 0, 1
    for _ in range(number):
        one, other = other, one + other
    return one


def _flow(
    name: str, modules: list[dict[str, Any]], *, dedicated: bool = True, durability: Durability = "step"
) -> FlowText:
    options = FlowOptions(dedicated=dedicated, durability=durability)
    return make_flow("default", f"f/bench/{name}", orjson.dumps({"modules": modules}), options=options)


def _raw(step: str, content: str, inputs: dict[str, str], language: str = "python3") -> dict[str, Any]:
    value = {"type": "rawscript", "language": language, "content": content}
    return {"id": step, "value": value | {"input_transforms": _transforms(inputs)}}


def _script(step: str, inputs: dict[str, str]) -> dict[str, Any]:
    value = {"type": "script", "path": long_step().path, "input_transforms": _transforms(inputs)}
    return {"id": step, "value": value}


def _loop(
    step: str, iterator: str, modules: list[dict[str, Any]], *, parallel: bool = False
) -> dict[str, Any]:
    value = {
        "type": "forloopflow",
        "iterator": {"type": "javascript", "expr": iterator},
        "skip_failures": False,
        "parallel": parallel,
        "modules": modules,
    }
    return {"id": step, "value": value}


def _transforms(inputs: dict[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"type": "javascript", "expr": expr} for name, expr in inputs.items()}
