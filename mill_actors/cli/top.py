"""`mill top`: what happens right now, as rates."""

from __future__ import annotations

from collections import Counter
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mill_actors.cli.database import open_client
from mill_actors.cli.output import Json, draw_again, make_table, show_json
from mill_actors.cli.settings import DATABASE, Settings, with_settings
from mill_actors.cli.tree import Interval

if TYPE_CHECKING:
    from rich.console import Group

    from mill_actors.store.client import Client

#: Moves that have a column, and its name.
_MOVES = {
    "claim": "claimed/s",
    "succeed": "success/s",
    "fail": "failure/s",
    "cancel": "cancelled/s",
    "retry": "retried/s",
    "release": "released/s",
    "rescue": "rescued/s",
}
_OPEN = ("waiting", "scheduled", "limited", "running")


@with_settings(*DATABASE)
def top(
    settings: Settings,
    interval: Interval = 1.0,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many.")] = None,
    json: Json = False,
) -> None:
    """Show the queue, and rates a second.

    Open jobs are counted in the database: those of all nodes. Rates come from the nodes that run
    from this folder; nodes elsewhere are listed with what they serve.

    \b
    Example:
      mill top
      mill top --count 1 --json
    """
    config = settings.load()
    with open_client(config) as client:
        sampler = Sampler(client, config.node.work_dir)
        sleep(interval)
        if not json:
            draw_again(lambda: _draw(sampler.sample()), interval, count)
        while json and (count is None or count > 0):
            show_json(sampler.sample())
            count = None if count is None else count - 1
            if count != 0:
                sleep(interval)


class Sampler:
    """Counters as rates: what changed since the last look, a second."""

    def __init__(self, client: Client, work_dir: str) -> None:
        self._client = client
        self._work_dir = work_dir
        self._before: dict[str, tuple[float, Counter[str]]] = {}
        self._look()

    def sample(self) -> dict[str, Any]:
        """Return open jobs by state, and every node with its rates if they can be seen from here."""
        counts = self._client.counts(within_seconds=0.0)
        rates = self._look()
        nodes = [
            {
                "node": node.id,
                "name": node.name,
                "silent_seconds": round(node.silent_seconds, 1),
                "stopping": node.stopping,
                "tags": node.tags,
                "rates": rates.get(node.id),
            }
            for node in self._client.nodes()
        ]
        return {"open": {state: counts.get(state, 0) for state in _OPEN}, "nodes": nodes}

    def _look(self) -> dict[str, dict[str, float]]:
        from mill_actors.actors.tree_socket import read_trees

        rates = {}
        for picture in read_trees(self._work_dir):
            now, moves = monotonic(), Counter(picture["moves"])
            moves["stale"] = picture["stale"]
            then, before = self._before.get(picture["node"], (now, moves))
            seconds = max(now - then, 1e-9)
            rates[picture["node"]] = {
                name: round((moves[name] - before[name]) / seconds, 1) for name in (*_MOVES, "stale")
            }
            self._before[picture["node"]] = (now, moves)
        return rates


def _draw(sample: dict[str, Any]) -> Group:
    from rich.console import Group

    open_jobs = make_table([f"#{state}" for state in _OPEN], [[f"{n:,}" for n in sample["open"].values()]])
    nodes = make_table(
        ["node", "#silent", *(f"#{title}" for title in _MOVES.values()), "serves"],
        [
            [
                node["name"] + (" (stopping)" if node["stopping"] else ""),
                f"{node['silent_seconds']:.0f} s",
                *(f"{node['rates'][move]:,.0f}" if node["rates"] else "–" for move in _MOVES),
                ", ".join(node["tags"]),
            ]
            for node in sample["nodes"]
        ],
    )
    return Group(open_jobs, "", nodes if sample["nodes"] else "no node is alive: start `mill dev`")
