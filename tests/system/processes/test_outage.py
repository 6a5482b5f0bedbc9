"""Connections die again and again while jobs flow: nothing is lost, and nobody is taken for dead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.system.nodes import LEASE, Fleet

pytestmark = pytest.mark.slow


@contextmanager
def storm(dsn: str, pause: float) -> Iterator[list[int]]:
    """Kill every connection of the nodes every so often; the list has how many each time."""
    killed: list[int] = []
    over = threading.Event()

    def rage() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not over.wait(pause):
                rows = connection.execute(
                    """
                    select count(pg_terminate_backend(pid)) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid()
                      and application_name like 'mill %' and application_name <> 'mill client'
                    """
                ).fetchall()
                killed.append(rows[0][0])

    thread = threading.Thread(target=rage, name="storm")
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


# The second is quicker than a beat: hardly one gets through, and still nobody may be declared dead.
@pytest.mark.parametrize("pause", [0.5, 0.15])
def test_a_storm_of_dying_connections_loses_nothing(fleet: Fleet, pause: float) -> None:
    nodes = [fleet.start("first"), fleet.start("second")]
    fleet.submit(200)
    fleet.await_end()
    with storm(fleet.dsn, pause) as killed:
        while len(killed) < 4 * LEASE / pause:
            fleet.submit(100)
    assert sum(killed) >= 10
    fleet.submit(100)
    fleet.await_end()
    assert all(node.is_alive() for node in nodes)
    alive = {row[0] for row in fleet.rows("select id::text from mill.node")}
    assert alive == {node.id for node in nodes}, "a node was declared dead"
    assert fleet.value("select sum(rescues) from mill.completed_job") == 0
    assert fleet.value("select sum(attempt - 1) from mill.completed_job") == 0
    fleet.check()
    starts = [entry.job for entry in fleet.ledger("start")]
    assert sorted(starts) == sorted(fleet.submitted)
