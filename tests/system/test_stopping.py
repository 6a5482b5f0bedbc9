"""Three signals, a stop during an outage, and a node that starts over. Nodes are processes here."""

from __future__ import annotations

import signal

from mill_actors.jobs.lifecycle import Action
from tests.system.engine import Engine
from tests.system.proxy import Proxy, wait_until


def rows(engine: Engine, jobs: list[str]) -> set[tuple[str, int, int]]:
    """(status, attempt, rescues) of each."""
    found = [engine.client.job(job) for job in jobs]
    return {(job.status, job.attempt, job.rescues) for job in found}


def test_a_third_signal_leaves_no_process_behind(engine: Engine) -> None:
    node = engine.node_process(node__grace_seconds=1000)
    engine.deploy_ledger()
    gate = engine.gate()
    jobs = engine.submit(2, args={"gate": gate.path})
    engine.started(2)
    processes = node.language_processes()
    node.signal(signal.SIGINT)
    node.wait("log", lambda line: "finishing what runs" in line["text"])
    for _ in range(2):
        node.signal(signal.SIGINT)
    assert node.exit_code() in {0, 1}
    engine.all_gone(processes)
    gate.open()
    engine.node_process()
    engine.all_done(jobs)
    engine.oracle.check(jobs)


def test_a_stop_while_the_database_is_away_ends_too(engine: Engine, proxy: Proxy) -> None:
    node = engine.node_process(environment={"DATABASE_URL": proxy.dsn}, node__grace_seconds=0.3)
    engine.deploy_ledger()
    gate = engine.gate()
    jobs = engine.submit(2, args={"gate": gate.path})
    engine.started(2)
    proxy.shut()
    node.signal(signal.SIGTERM)
    node.signal(signal.SIGTERM)
    node.exit_code()
    assert engine.running() == set(jobs)
    proxy.open()
    gate.open()
    engine.node_process()
    engine.all_done(jobs)
    engine.oracle.check(jobs)
    assert rows(engine, jobs) == {("success", 1, 1)}


# -- starting over ---------------------------------------------------------------------


def test_a_node_without_a_row_starts_over_once(engine: Engine) -> None:
    node = engine.node_process()
    first = node.up()
    engine.deploy_ledger()
    gate = engine.gate()
    jobs = engine.submit(4, args={"gate": gate.path})
    engine.started(2)
    processes = node.language_processes()
    engine.look.execute("delete from mill.node where id = %s", [first])
    second = node.up(life=2)
    assert second != first
    engine.all_gone(processes)
    gate.open()
    engine.all_done(jobs)
    engine.oracle.check(jobs)
    assert engine.nodes_alive() == {second}
    assert {attempt for _, attempt, _ in rows(engine, jobs)} == {1}
    node.signal(signal.SIGTERM)
    assert node.exit_code() == 0
    assert engine.nodes_alive() == set()


def test_a_node_that_was_told_to_stop_does_not_start_over(engine: Engine) -> None:
    node = engine.node_process(node__grace_seconds=1000)
    engine.deploy_ledger()
    gate = engine.gate()
    engine.submit(1, args={"gate": gate.path})
    engine.started(1)
    node.signal(signal.SIGTERM)
    node.wait("log", lambda line: "finishing what runs" in line["text"])
    engine.look.execute("delete from mill.node")
    assert node.exit_code() == 0
    assert engine.nodes_alive() == set()


def test_a_node_that_starts_over_waits_for_a_database_that_is_away(engine: Engine, proxy: Proxy) -> None:
    node = engine.node_process(environment={"DATABASE_URL": proxy.dsn})
    first = node.up()
    # The node finds no row, and as it registers anew no database.
    lost = proxy.lose_reply("mill node", b"register_node")
    engine.look.execute("delete from mill.node where id = %s", [first])
    second = node.up(life=2)
    assert lost.is_set()
    wait_until(lambda: engine.nodes_alive() == {second}, "the life that never began is dead too")
    engine.deploy_ledger()
    jobs = engine.submit(10)
    engine.all_done(jobs)
    engine.oracle.check(jobs, started_once=True)


def test_a_tree_that_gives_up_ends_the_program_with_1(engine: Engine) -> None:
    """Nothing a script does can make it give up: so the schema has to go under its feet."""
    node = engine.node_process()
    engine.deploy_ledger()
    engine.all_done(engine.submit(10))
    processes = node.language_processes()
    engine.look.execute("alter table mill.node rename to lost")
    assert node.exit_code() == 1
    engine.all_gone(processes)
    engine.look.execute("alter table mill.lost rename to node")


def test_events_and_counters_are_those_of_one_life(engine: Engine) -> None:
    node = engine.node_process()
    engine.deploy_ledger()
    engine.all_done(engine.submit(5))
    engine.look.execute("delete from mill.node")
    node.up(life=2)
    jobs = engine.submit(5)
    engine.all_done(jobs)
    wait_until(lambda: len(node.moved(Action.SUCCEED)) >= 10, "the events")
    assert len(node.moved(Action.SUCCEED)) == 10
