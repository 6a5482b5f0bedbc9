"""The live tree on a socket: it answers as long as the node lives, whatever happens inside."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mill_actors.actors import tree_socket as tree_socket_module
from mill_actors.actors.context import NodeContext
from mill_actors.actors.tree_socket import TreeSocket, read_trees, socket_folder
from mill_actors.config import Config
from mill_actors.events import Moved
from mill_actors.ids import new_id
from mill_actors.jobs.lifecycle import Action, State
from mill_actors.store.connection import Database
from supervisors import SHUTDOWN, Supervisor, stop


class Shown:
    """A context, a tree without children, and its socket."""

    def __init__(self, config: Config) -> None:
        self.context = NodeContext(new_id(), config, Database(""), {}, lambda: None)
        self.tree = Supervisor.spawn([], name=self.context.address("node"))
        self.socket = TreeSocket.open(self.context, self.tree)
        self.work_dir = config.node.work_dir

    def picture(self) -> Any:
        (found,) = read_trees(self.work_dir)
        return found

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        stop(self.tree, SHUTDOWN)


@pytest.fixture
def shown(config: Config) -> Iterator[Shown]:
    shown = Shown(config)
    yield shown
    shown.close()


def test_it_shows_who_and_what(shown: Shown) -> None:
    shown.context.events.publish(Moved(Action.CLAIM, State.QUEUED, State.RUNNING, ["a", "b"]))
    picture = shown.picture()
    assert picture["node"] == shown.context.node
    assert picture["moves"] == {"claim": 2}
    assert picture["tree"]["state"] == "running"


def test_only_its_owner_may_ask(shown: Shown) -> None:
    (path,) = socket_folder(shown.work_dir).glob("*.sock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_picture_that_fails_is_not_the_last_one(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("dictionary changed size during iteration")

    with monkeypatch.context() as patch:
        patch.setattr(tree_socket_module, "snapshot", fail)
        assert read_trees(shown.work_dir) == []
    assert shown.picture()["node"] == shown.context.node


def test_a_tree_that_has_ended_can_be_asked(shown: Shown) -> None:
    stop(shown.tree, SHUTDOWN)
    read_trees(shown.work_dir)
    read_trees(shown.work_dir)  # the second time nobody would be there, had the first one killed it


def test_what_a_killed_node_left_is_removed(shown: Shown) -> None:
    (path,) = socket_folder(shown.work_dir).glob("*.sock")
    assert shown.socket is not None
    shown.socket.close()
    left = path.with_name("left.sock")
    import socket

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    assert read_trees(shown.work_dir) == []
    assert not left.exists()


def test_a_folder_too_deep_for_the_kernel_has_another_place(config: Config, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    shown = Shown(replace(config, node=replace(config.node, work_dir=str(deep))))
    try:
        assert shown.picture()["node"] == shown.context.node
    finally:
        shown.close()
        socket_folder(str(deep)).rmdir()


def test_a_folder_of_somebody_else_is_not_trusted(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place below /tmp can be guessed, and made by anybody before us."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    deep = str(tmp_path / ("x" * 120))
    theirs = socket_folder(deep)
    theirs.mkdir(mode=0o777)
    theirs.chmod(0o777)
    shown = Shown(replace(config, node=replace(config.node, work_dir=deep)))
    try:
        assert shown.socket is None
    finally:
        shown.close()
