"""Stages, and a real database for the actors that need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mill_actors.actors import runner as runner_module
from mill_actors.actors.context import NodeContext
from mill_actors.config import Config, load
from mill_actors.ids import new_id
from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.connection import Database
from supervisors import SHUTDOWN, stop
from supervisors.testing import Probe, Signals
from tests.actors.stage import Puppet, Stage, Stager, a_script


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Fast beats, short grace, little patience."""
    return load(
        {
            "node.name": "test",
            "node.beat_seconds": 0.2,
            "node.lease_seconds": 0.7,
            "node.grace_seconds": 5.0,
            "node.work_dir": str(tmp_path),
            "worker.processes": 2,
        },
        {},
        tmp_path,
    )


@pytest.fixture
def stage(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stager]:
    """Make a Runner whose surroundings are the test's; nothing happens by the clock."""
    monkeypatch.setattr(runner_module, "TICK_SECONDS", 1e6)
    monkeypatch.setattr(runner_module, "PATIENCE_SECONDS", 0.0)
    stages: list[Stage] = []

    def make(*, ready: bool = True, options: ScriptOptions = ScriptOptions(), **worker: Any) -> Stage:
        configured = replace(config, worker=replace(config.worker, **worker))
        keys = {"default": b"k" * 32}
        context = NodeContext(new_id(), configured, Database(""), keys, lambda: None)
        heard = [Signals[Any]() for _ in range(3)]
        made = Stage(
            context,
            a_script(options),
            Probe.spawn(heard[0], name=context.address("completer")),
            Probe.spawn(heard[1]),
            Probe.spawn(heard[2], name=context.address("log writer")),
            *heard,
        )

        def start_process(owner: Any, *_: object) -> Puppet:
            made.puppets.append(Puppet(owner))
            return made.puppets[-1]

        monkeypatch.setattr(runner_module, "start_process", start_process)
        stages.append(made)
        made.start(ready=ready)
        return made

    yield make
    from pykka import ActorRegistry

    for made in stages:
        stop(made.ref, SHUTDOWN)
        assert all(puppet.is_closed for puppet in made.puppets)
    for ref in ActorRegistry.get_all():
        stop(ref, SHUTDOWN)
