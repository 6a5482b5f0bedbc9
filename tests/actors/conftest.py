"""Stages, and a real database for the actors that need one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from mill_actors.actors import dispatching
from mill_actors.actors import runner as runner_module
from mill_actors.actors.completer import Completer
from mill_actors.actors.context import NodeContext
from mill_actors.config import Config, load
from mill_actors.ids import new_id
from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.client import Client
from mill_actors.store.connection import Database
from supervisors import SHUTDOWN, stop
from supervisors.testing import Probe, Signals
from tests.actors.desk import WORKER, Desk, the_script
from tests.actors.stage import Puppet, Stage, Stager, a_script
from tests.actors.yard import Hand, Yard, Yarder
from tests.system.proxy import Proxy


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
            heard[0],
            heard[1],
            heard[2],
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


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    """A door in front of the test's database."""
    with tempfile.TemporaryDirectory() as folder, Proxy(dsn, Path(folder)) as proxy:
        yield proxy


@pytest.fixture
def desk(config: Config, proxy: Proxy, dsn: str) -> Iterator[Desk]:
    """A Completer on its own; its connection goes through the proxy."""
    context = NodeContext(new_id(), config, Database(proxy.dsn), {}, lambda: None)
    heard = Signals[Any]()
    puller = Probe.spawn(heard, name=context.address("worker/puller"))
    with Client(dsn) as client, psycopg.connect(dsn, autocommit=True) as look:
        client.deploy(the_script())
        look.execute("insert into mill.node (id, name) values (%s, 'test')", [context.node])
        ref = Completer.spawn(
            context, WORKER, context.address("worker/puller"), name=context.address("completer")
        )
        made = Desk(context, client, look, puller, heard, ref)
        context.events.subscribe(made.moves.put)
        yield made
        context.hurry.set()
        stop(made.ref, SHUTDOWN)
        stop(puller, SHUTDOWN)


@pytest.fixture
def yards(config: Config, proxy: Proxy, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yarder]:
    """Make a Puller with Runners that are the test's; its connection goes through the proxy."""
    monkeypatch.setattr(dispatching, "Runner", Hand)
    opened: list[Yard] = []
    with Client(dsn) as client, psycopg.connect(dsn, autocommit=True) as look:

        def make(**worker: Any) -> Yard:
            configured = replace(config, worker=replace(config.worker, **{"poll_seconds": 1e6, **worker}))
            context = NodeContext(new_id(), configured, Database(proxy.dsn), {}, lambda: None)
            look.execute("insert into mill.node (id, name) values (%s, 'test')", [context.node])
            opened.append(Yard(context, client, look))
            opened[-1].open()
            return opened[-1]

        yield make
        for yard in opened:
            yard.close()
