"""`mill tree`: the live supervision trees of this folder's nodes."""

from __future__ import annotations

from collections.abc import Iterator
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mill_actors.cli.faults import FAILED
from mill_actors.cli.output import Json, draw, draw_again, make_table, say, show_json
from mill_actors.cli.settings import PLACE, Settings, with_settings

if TYPE_CHECKING:
    from rich.console import Group

_COLUMNS = ["actor", "state", "#restarts", "#inbox", "#in flight", "shows"]
# What has a column of its own, or says the same again.
_SHOWN = frozenset({"state", "in_flight", "in_hand"})

Interval = Annotated[float, typer.Option("--interval", min=0.1, metavar="S", help="How often.")]


@with_settings(*PLACE)
def tree(
    settings: Settings,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    interval: Interval = 1.0,
    json: Json = False,
) -> None:
    """Show the live supervision trees.

    Every node that runs from this folder is asked for its tree. One line an actor: its state, how
    often it was restarted, the messages in its inbox, the jobs in its hands, and what it shows of
    itself. Exit code 1 if no node runs here.

    \b
    Example:
      mill tree --watch
      mill tree --json | jq '.[].tree.children[].name'
    """
    from mill_actors.actors.tree_socket import read_trees

    work_dir = settings.load().node.work_dir
    pictures = read_trees(work_dir)
    if not pictures:
        if json:
            show_json([])
        say(f"mill: no node runs with the work dir {work_dir}: start `mill dev`")
        raise typer.Exit(FAILED)
    if not watch:
        show_json(pictures) if json else draw(_draw(pictures))
    elif json:
        while True:
            show_json(read_trees(work_dir))
            sleep(interval)
    else:
        draw_again(lambda: _draw(read_trees(work_dir)), interval)


def _draw(pictures: list[dict[str, Any]]) -> Group:
    from rich.console import Group

    return Group(*(make_table(_COLUMNS, _rows(picture)) for picture in pictures))


def _rows(picture: dict[str, Any]) -> Iterator[list[object]]:
    root = picture["tree"] | {"name": f"node {picture['name']} (pid {picture['pid']})"}
    yield from _lines(root, "", "")


def _lines(actor: dict[str, Any], first: str, rest: str) -> Iterator[list[object]]:
    info = actor["info"]
    state = info.get("state", actor["state"]) if actor["state"] == "running" else actor["state"]
    in_flight = info.get("in_flight", info.get("in_hand", ""))
    shows = "  ".join(f"{key}={_short(value)}" for key, value in info.items() if key not in _SHOWN)
    yield [f"{first}{actor['name']}", state, actor["restarts"], actor["inbox"], in_flight, shows]
    last = len(actor["children"]) - 1
    for place, child in enumerate(actor["children"]):
        branch, trunk = ("└─ ", "   ") if place == last else ("├─ ", "│  ")
        yield from _lines(child, rest + branch, rest + trunk)


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
