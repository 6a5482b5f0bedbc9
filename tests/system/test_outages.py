"""The database goes away and comes back: nothing is lost, and nobody is dead for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import psutil
import psycopg
import pytest

from mill_actors.actors.life import Node
from mill_actors.jobs.lifecycle import Action
from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.store.embedded import Embedded
from mill_actors.store.migrate import migrate
from tests.system.engine import Engine
from tests.system.proxy import Proxy, wait_until
from tests.system.test_crashes import children


def restarts(node: Node) -> dict[str, int]:
    """Who was restarted; Runners are started anew by their Puller and are no children to restart."""
    return {child.id: child.restarts for child in children(node.tree) if child.restarts}


def beats(engine: Engine) -> dict[str, int]:
    return dict(engine.look.execute("select id::text, beat from mill.node").fetchall())


def test_everybody_is_away_for_longer_than_a_lease_and_nobody_is_dead(engine: Engine, proxy: Proxy) -> None:
    nodes = [engine.node(proxy.dsn, node__name=name)[0] for name in ("one", "other")]
    engine.deploy_ledger()
    gate = engine.gate()
    held = engine.submit(4, args={"gate": gate.path})
    engine.started(4)
    jobs = engine.submit(400)
    wait_until(lambda: len(beats(engine)) == 2, "both beat")
    before = beats(engine)
    proxy.shut()
    # The outage lasts as long as a lease by the clock of the nodes, which sends no signal.
    began = monotonic()
    wait_until(lambda: monotonic() - began > 1.0, "longer than a lease")
    assert beats(engine) == before
    proxy.open()
    wait_until(
        lambda: all(beat > before[node] + 2 for node, beat in beats(engine).items()), "they beat again"
    )
    gate.open()
    engine.all_done([*held, *jobs])
    engine.oracle.check([*held, *jobs])
    assert beats(engine).keys() == before.keys()
    assert {engine.client.job(job).rescues for job in [*held, *jobs]} == {0}
    for node in nodes:
        assert restarts(node) == {}
        assert node.ends.empty()


def test_a_node_that_is_cut_off_alone_is_replaced_and_starts_over(engine: Engine, proxy: Proxy) -> None:
    cut, _ = engine.node(proxy.dsn, node__name="cut")
    engine.deploy_ledger()
    gate = engine.gate()
    held = engine.submit(2, args={"gate": gate.path})
    engine.started(2)
    other, moves = engine.node(node__name="other")
    proxy.shut()
    moves.wait(Action.RESCUE, held)
    engine.started(4)
    gate.open()  # for both: the one that is cut off finishes them too
    engine.all_done(held)
    assert engine.nodes_alive() == {other.id}
    proxy.open()
    assert cut.ends.get(timeout=20) == "fenced"
    cut.stop()
    wait_until(lambda: cut.context.counters.stale == 2, "its finishes are worth nothing")
    engine.oracle.check(held)
    for job in held:
        row = engine.client.job(job)
        assert (row.attempt, row.rescues, row.worker) == (1, 1, "other/worker")


@pytest.mark.parametrize(
    "actor", ["completer", "puller", "heartbeat", "listener", "rescuer", "log writer", "node"]
)
def test_a_connection_that_dies_again_and_again_restarts_nobody(
    engine: Engine, proxy: Proxy, actor: str
) -> None:
    node, moves = engine.node(proxy.dsn)
    engine.deploy_ledger()
    jobs = engine.submit(600, args={"body": "print(n)"})
    for round_ in range(1, 9):
        engine.started(round_ * 50)
        proxy.cut(f"mill {actor}")
    engine.all_done(jobs)
    engine.oracle.check(jobs, started_once=True)
    assert restarts(node) == {}
    assert moves.of(Action.FAIL) == []
    assert node.context.counters.stale == 0


@pytest.mark.parametrize("actor", ["completer", "puller"])
def test_replies_that_are_lost_under_load_lose_nothing(engine: Engine, proxy: Proxy, actor: str) -> None:
    """Each time the server has done it and nobody was told: claims are asked for, finishes counted once."""
    node, moves = engine.node(proxy.dsn)
    engine.deploy_ledger(retry=RetryPolicy(constant=ConstantRetry(2, 0.01)))
    bad = "import os\nif n % 50 == 0: raise OSError(n)"
    jobs = engine.submit(600, args={"body": bad})
    engine.started(1)
    while left := engine.open(jobs):
        lost = proxy.lose_reply(f"mill {actor}")
        # One after the other: two in a row would only be a longer outage.
        wait_until(lambda left=left: engine.open(jobs) < left, "it goes on")  # type: ignore[misc]
        wait_until(lambda lost=lost: lost.is_set() or not engine.open(jobs), "a reply is lost")  # type: ignore[misc]
    engine.oracle.check(jobs, statuses=["success", "failure"])
    failed = jobs[::50]
    moves.wait(Action.FAIL, failed)  # the reply to the last commit may still be under way
    moves.wait(Action.SUCCEED, set(jobs) - set(failed))
    assert len(moves.of(Action.FAIL)) == 12
    assert node.context.counters.stale == 0
    assert restarts(node) == {}
    assert {engine.client.job(job).attempt for job in failed} == {3}
    starts = engine.oracle.starts()
    assert {starts[job] for job in jobs if job not in failed} == {1}


def test_a_database_that_is_away_at_the_start_is_the_starters_business(engine: Engine, proxy: Proxy) -> None:
    proxy.shut()
    node = engine.node_process(wait=False, environment={"DATABASE_URL": proxy.dsn})
    assert node.exit_code() != 0
    proxy.open()


# -- a real server ---------------------------------------------------------------------


@pytest.fixture
def embedded(folder: Path) -> Iterator[Embedded]:
    """A server of the test's own: one that may be stopped."""
    server = Embedded.start(folder / "embedded", settings={"fsync": "off"})
    migrate(server.dsn)
    yield server
    server.stop()


def postmaster(server: Embedded) -> psutil.Process:
    return psutil.Process(int((server.cluster.data / "postmaster.pid").read_text().split("\n", 1)[0]))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_server_stops_and_starts_under_load(
    embedded: Embedded, folder: Path, how: signal.Signals
) -> None:
    place = folder / "jobs"
    place.mkdir()
    with Engine(embedded.dsn, place) as engine:
        nodes = [engine.node_process(), engine.node_process()]
        engine.deploy_ledger()
        jobs = engine.submit(4000)
        engine.started(500)
        server = postmaster(embedded)
        os.kill(server.pid, how)
        engine.all_gone([server])
        # The keeper starts a server again that was killed; one that was stopped, somebody who needs it.
        again = Embedded.start(folder / "embedded", settings={"fsync": "off"})
        wait_until(lambda: _answers(engine), "the server is back")
        engine.reconnect()
        engine.all_done(jobs, 60.0)
        engine.oracle.check(jobs)
        assert max(engine.client.job(job).rescues for job in jobs[:50]) == 0
        assert engine.nodes_alive() == {node.up() for node in nodes}
        for node in nodes:
            assert node.moved(Action.FAIL) == []
            assert "declared dead" not in node.log()
            node.signal(signal.SIGTERM)
            assert node.exit_code() == 0
        again.stop()


def _answers(engine: Engine) -> bool:
    try:
        with psycopg.connect(engine.dsn):
            return True
    except psycopg.OperationalError:
        return False
