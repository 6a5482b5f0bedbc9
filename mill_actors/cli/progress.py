"""A number that grows, on standard error: live on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.live import Live

_REFRESH_SECONDS = 0.1


class Counting:
    """`12,000 submitted, 45,000/s`; it leaves nothing behind."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = monotonic()
        self._shown = 0.0
        self._live: Live | None = None

    def show(self, count: int) -> None:
        """Show a new count, not more often than anybody can read."""
        now = monotonic()
        if not sys.stderr.isatty() or now - self._shown < _REFRESH_SECONDS:
            return
        self._shown = now
        rate = count / max(now - self._began, 1e-6)
        text = f"{count:,} {self._what}, {rate:,.0f}/s"
        if self._live is None:
            from rich.live import Live

            from mill_actors.cli.output import console

            self._live = Live(text, console=console(err=True), transient=True, auto_refresh=False)
            self._live.start()
        self._live.update(text, refresh=True)

    def close(self) -> None:
        """Remove it from the screen."""
        if self._live is not None:
            self._live.stop()
