"""Standard output is data, standard error messages. Rich is loaded where a table is drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

#: Every command has it.
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

# Wide enough for any table: what is piped must not be cut.
_PIPE_WIDTH = 10_000

_STYLES = {
    "success": "green",
    "failure": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "busy": "yellow",
    "restarting": "yellow",
    "stopped": "red",
}


def say(text: str) -> None:
    """Write a message for people."""
    typer.echo(text, err=True)


def show(text: str) -> None:
    """Write a line of data."""
    typer.echo(text)


def show_json(value: object) -> None:
    """Write a value as one line of JSON, at once: whoever reads may be waiting for it."""
    import orjson

    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")
    sys.stdout.flush()


def raw_json(text: str | None) -> Any:
    """Return what puts JSON text into `show_json` unread: big numbers and odd strings survive."""
    import orjson

    return None if text is None else orjson.Fragment(text)


def console(*, err: bool = False) -> Console:
    """Return the terminal; whoever reads from a pipe gets lines of any width, without colours."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, highlight=False, soft_wrap=True, width=width)


def draw(picture: RenderableType) -> None:
    """Print tables on standard output, without blanks at the ends of lines."""
    screen = console()
    with screen.capture() as captured:
        screen.print(picture)
    show("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


def draw_again(take: Callable[[], RenderableType], interval: float, count: int | None = None) -> None:
    """Draw what `take` returns every `interval` seconds: in place on a terminal, else one below the other."""
    from rich.live import Live

    done = 0
    if not sys.stdout.isatty():
        while count is None or done < count:
            done += 1
            draw(take())
            if done != count:
                sleep(interval)
        return
    with Live(take(), console=console(), auto_refresh=False) as live:
        while count is None or (done := done + 1) < count:
            sleep(interval)
            live.update(take(), refresh=True)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table without lines; columns that begin with `#` are numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        is_number = column.startswith("#")
        table.add_column(column.removeprefix("#"), justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell), style=_STYLES.get(str(cell), "")) for cell in row))
    return table


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output."""
    draw(make_table(columns, rows))


def show_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print one `name  value` a line; values that are None are left out."""
    told = [(name, value) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        first, *others = str(value).split("\n")
        show(f"{name:<{width}}  {first}")
        for line in others:
            show(f"{'':<{width}}  {line}")


def moment(when: datetime | None) -> str:
    """Return a time in UTC, to the millisecond."""
    if when is None:
        return "–"
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def duration(microseconds: float | None) -> str:
    """Return a duration in the unit that reads best."""
    if microseconds is None:
        return "–"
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    seconds = microseconds / 1_000_000
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
