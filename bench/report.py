"""Figures: many runs in, min / median / max out, as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

#: Everything for people goes to stderr; stdout carries only `--json -`.
console = Console(stderr=True)

#: One run's figures: name → (value, unit).
Run = Mapping[str, tuple[float, str]]


def summarise(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Return min, median, max and unit by name; every run must have every figure."""
    names = list(runs[0])
    for run in runs:
        assert list(run) == names, "the runs have not measured the same"
    figures: dict[str, dict[str, Any]] = {}
    for name in names:
        values = [run[name][0] for run in runs]
        figures[name] = {
            "median": _round(statistics.median(values)),
            "min": _round(min(values)),
            "max": _round(max(values)),
            "unit": runs[0][name][1],
        }
    return figures


def document(bench: str, commit: str, machine: Mapping[str, object], runs: Sequence[Run]) -> dict[str, Any]:
    """Return the JSON document of one bench."""
    return {"bench": bench, "commit": commit, "machine": dict(machine), "figures": summarise(runs)}


def show_machine(machine: Mapping[str, Any], commit: str) -> None:
    """Print what the figures depend on."""
    settings = "  ".join(f"{name}={value}" for name, value in machine["settings"].items())
    for key, value in {**machine, "settings": settings, "commit": commit}.items():
        console.print(f"[dim]{key:>10}[/]  {value}", highlight=False, soft_wrap=True)


def show(told: Mapping[str, Any]) -> None:
    """Print one bench's table."""
    runs = told["machine"].get("runs", "?")
    table = Table(title=f"{told['bench']} ({runs} runs)", title_justify="left")
    table.add_column("figure", no_wrap=True)
    for name in ("min", "median", "max"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    for name, figure in told["figures"].items():
        values = [_text(figure[key]) for key in ("min", "median", "max")]
        table.add_row(name, *values, figure["unit"])
    console.print(table)


def write(path: str, documents: Sequence[Mapping[str, Any]]) -> None:
    """Write one document, or, for more than one bench, a list of them; `-` is stdout."""
    told: object = documents[0] if len(documents) == 1 else list(documents)
    text = json.dumps(told, indent=2) + "\n"
    if path == "-":
        print(text, end="")
    else:
        Path(path).write_text(text, encoding="utf-8")


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}" if value else "0"
