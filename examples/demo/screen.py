"""What the demo shows: a bar while it runs (lines, where there is no terminal), a table at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
_LINE_SECONDS = 0.5
_BAR_SECONDS = 0.1


def say(text: str) -> None:
    """Print a line."""
    console.print(text, markup=False, soft_wrap=True)


class Bar:
    """How far a number of things is, and how fast."""

    def __init__(self, total: int, name: str = "orders", rate: str = "jobs/s") -> None:
        self._total = total
        self._name = name
        self._rate = rate
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn(name),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[rate]:,.0f}} {rate}, {{task.fields[open]:,}} under way"),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=total, rate=0.0, open=0)
        self._began = self._shown = monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        self._began = self._shown = monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def show(self, submitted: int, ended: int) -> None:
        """Show it, no oftener than anybody can read."""
        now = monotonic()
        if now - self._shown < (_BAR_SECONDS if self._live else _LINE_SECONDS) and ended < self._total:
            return
        self._shown = now
        rate = ended / max(now - self._began, 1e-6)
        if self._live:
            self._progress.update(self._task, completed=ended, rate=rate, open=submitted - ended)
            self._progress.refresh()
        else:
            say(
                f"  {ended:>6,} of {self._total:,} {self._name} done, {rate:,.0f} {self._rate}, "
                f"{submitted - ended:,} under way"
            )


def show_figures(rows: Iterable[tuple[str, str, str]]) -> None:
    """Print name, value, and what it means."""
    told = list(rows)
    names, values = (max(len(row[place]) for row in told) for place in (0, 1))
    for name, value, meaning in told:
        line = Text.assemble(f"{name:<{names}}  ", (f"{value:>{values}}", "bold"), "  ", (meaning, "dim"))
        console.print(line, soft_wrap=True)


def show_json(name: str, text: str) -> None:
    """Print JSON, as wide as it is."""
    say(f"  {name:<9} {json.dumps(json.loads(text), ensure_ascii=False)}")
