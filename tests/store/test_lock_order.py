"""Whoever takes two locks takes them in the order of `sql/settle.sql`: no deadlock, in any order.

Each pair of moves runs over the same jobs and keys, in orders of their own. A gate holds one job or one
key in the middle: the first move takes its locks up to there and waits, so does the second; then the gate
opens. If they take their locks crosswise, Postgres kills one of them (40P01) and the test fails.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest

from mill_actors.errors import JobNotFound
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.store.claims import release_jobs
from mill_actors.store.concurrency import admit_waiting
from mill_actors.store.connection import Connection
from mill_actors.store.flow_rows import wake_flows
from mill_actors.store.jobs import await_jobs, cancel_job, expire_jobs
from mill_actors.store.maintenance import prune
from mill_actors.store.nodes import beat, rescue_node
from mill_actors.store.settlement import Retrial, settle
from mill_actors.store.submission import Submission, submit
from tests.store.floor import Floor, Hand, outcome

KEYS = ["B", "a", "ä", "A", "b"]


class Scene:
    """Two running jobs under each of five keys, two more that wait; and moves over all of them."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        floor.deploy("f/a/k", concurrency_limit=2, concurrency_key="$args[key]")
        self.told = [Submission(path="f/a/k", args={"key": key}) for key in KEYS for _ in range(4)]
        floor.receipts(self.told)
        self.hand: Hand = floor.living_hand()
        self.jobs: list[ClaimedJob] = self.hand.claim()
        assert len(self.jobs) == 2 * len(KEYS)
        self.ids = [job.id for job in self.jobs]
        self._shuffle_the_heap()

    def _shuffle_the_heap(self) -> None:
        """What counts is the order of the ids, so let the rows lie in another one."""
        ids = list(self.ids)
        random.Random(7).shuffle(ids)
        with self.floor.connection.transaction():
            for job in ids:
                self.floor.do("update mill.queue set worker = worker where id = %s", job)

    # Each names its jobs or keys in an order of its own.

    def finish(self, own: Connection) -> None:
        settle(own, [outcome(job) for job in self.jobs])

    def finish_backwards(self, own: Connection) -> None:
        settle(own, [outcome(job) for job in self.jobs[::-1]])

    def retry(self, own: Connection) -> None:
        settle(own, [], [Retrial(outcome(job), 0.0) for job in self.jobs[::-1]])

    def finish_and_retry(self, own: Connection) -> None:
        half = len(self.jobs) // 2
        settle(
            own,
            [outcome(job) for job in self.jobs[half:]],
            [Retrial(outcome(j), 0.0) for j in self.jobs[:half]],
        )

    def cancel_first(self, own: Connection) -> None:
        self._cancel(own, self.ids[0])

    def cancel_last(self, own: Connection) -> None:
        self._cancel(own, self.ids[-1])

    @staticmethod
    def _cancel(own: Connection, job: str) -> None:
        with suppress(JobNotFound):
            cancel_job(own, "default", job, by="u/ann", force=True)

    def rescue(self, own: Connection) -> None:
        rescue_node(own, self.hand.node, None)

    def beat(self, own: Connection) -> None:
        beat(own, self.hand.node)

    def admit(self, own: Connection) -> None:
        admit_waiting(own)

    def expire(self, own: Connection) -> None:
        expire_jobs(own)

    def submit(self, own: Connection) -> None:
        submit(own, self.told[::-1])

    def prune(self, own: Connection) -> None:
        prune(own, 30, 30)

    def wait_for_all(self, own: Connection) -> None:
        await_jobs(own, self.ids[::-1])


MOVES: list[Callable[[Scene, Connection], None]] = [
    Scene.finish, Scene.finish_backwards, Scene.retry, Scene.finish_and_retry, Scene.cancel_first,
    Scene.cancel_last, Scene.rescue, Scene.beat, Scene.admit, Scene.expire, Scene.submit, Scene.prune,
    Scene.wait_for_all,
]  # fmt: skip
# Those that never wait with a lock in hand, or do what another does, are left to the last test.
MANY = [move for move in MOVES if move not in (Scene.beat, Scene.expire, Scene.cancel_last)]
PAIRS = list(itertools.combinations_with_replacement(MANY, 2))


def is_consistent(floor: Floor) -> None:
    assert floor.slots() <= floor.admitted()
    rows = floor.rows("select count(*) from mill.concurrency_slot group by key")
    assert all(count <= 2 for (count,) in rows)


GATES = {
    "job": "select from mill.queue where id = %s for update",
    "key": "select from mill.concurrency_key where key = %s for update",
    "waiting job": "select from mill.queue where not admitted order by id offset 4 limit 1 for update",
}


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda move: move.__name__)
def test_two_moves_over_the_same_jobs_both_get_through(
    floor: Floor,
    first: Callable[[Scene, Connection], None],
    second: Callable[[Scene, Connection], None],
    gate: str,
) -> None:
    scene = Scene(floor)
    middle = {"job": [scene.ids[5]], "key": ["a"], "waiting job": []}[gate]
    with floor.connection.transaction():
        floor.connection.execute(GATES[gate].encode(), middle)
        rivals = []
        for move in (first, second):
            rivals.append(floor.rival(lambda own, move=move: move(scene, own)))  # type: ignore[misc]
            rivals[-1].waits(itself=True)
    for rival in rivals:
        rival.result()
    is_consistent(floor)


def in_order(
    floor: Floor, ids: list[str], moved: Callable[[Connection], object], table: str = "queue"
) -> bool:
    """Whether a move has locked, while it waits for the one in the middle, those before it and no other."""
    ids = sorted(ids)
    middle = len(ids) // 2
    look = floor.connect()
    with floor.connection.transaction():
        floor.connection.execute(f"select from mill.{table} where id = %s for update".encode(), [ids[middle]])
        rival = floor.rival(moved)
        assert rival.waits(itself=True)
        rows = look.execute(
            f"select id::text from mill.{table} where id = any (%s::uuid[]) for update skip locked".encode(),
            [ids],
        ).fetchall()
    rival.result()
    return {row[0] for row in rows} == set(ids[middle + 1 :])


IN_ONE_STATEMENT: dict[str, Callable[[Scene, Connection], object]] = {
    "finish": Scene.finish,
    "finish_backwards": Scene.finish_backwards,
    "retry": Scene.retry,
    "release": lambda scene, own: release_jobs(own, [(job.id, job.claim) for job in scene.jobs[::-1]]),
}


@pytest.mark.parametrize("others", [0, 2000])
@pytest.mark.parametrize("move", IN_ONE_STATEMENT)
def test_jobs_are_locked_in_the_order_of_their_ids(floor: Floor, move: str, others: int) -> None:
    """Not of the heap, not of the call; planned for an empty table, and for a full one."""
    if others:
        floor.submit_many(others, tag="other")
    floor.do("analyze mill.queue")
    scene = Scene(floor)
    rows = floor.rows("select id::text from mill.queue where running order by ctid")
    assert [row[0] for row in rows] != sorted(scene.ids)
    assert in_order(floor, scene.ids, lambda own: IN_ONE_STATEMENT[move](scene, own))


@pytest.mark.parametrize("table", ["flow_run", "queue"])
@pytest.mark.parametrize("others", [0, 2000])
def test_flows_are_woken_in_the_order_of_their_ids(floor: Floor, table: str, others: int) -> None:
    if others:
        floor.submit_many(others, tag="other")
    ids = [new_id() for _ in range(10)]
    random.Random(7).shuffle(ids)
    for flow in ids:
        floor.submit(id=flow)
    floor.do("update mill.queue set is_flow = true, running = true where tag = 'python3'")
    floor.do("delete from mill.flow_run")
    floor.do(
        """
        insert into mill.flow_run (id, root, workspace, flow, body, chain, depth, overlay, state, started_at)
        select id, id, 'default', '', '', '{}', 0, '{}', '{}', now()
        from mill.queue where is_flow order by submitted_at
        """
    )
    floor.do("analyze mill.queue, mill.flow_run")
    assert in_order(floor, ids, lambda own: wake_flows(own, ids), table)
    assert floor.value("select count(*) from mill.queue where is_flow and not running") == 10


@pytest.mark.slow
def test_all_moves_at_once_and_over_and_over(floor: Floor) -> None:
    scene = Scene(floor)

    def work(own: Connection, offset: int) -> None:
        own.execute("set deadlock_timeout = '50ms'")
        for number in range(4 * len(MOVES)):
            MOVES[(number * (offset + 1) + offset) % len(MOVES)](scene, own)

    rivals = [floor.rival(lambda own, n=n: work(own, n)) for n in range(4)]  # type: ignore[misc]
    for rival in rivals:
        rival.result()
    is_consistent(floor)


def test_two_settlers_and_a_submitter_agree_on_the_order_of_keys(floor: Floor) -> None:
    """By code point, whatever the collation of the database: in others "a" comes before "B"."""
    try:
        floor.do(
            "create database mill_collated template template0 locale_provider icu icu_locale 'en-US' locale 'C'"
        )
    except psycopg.Error as error:
        pytest.skip(f"no such collation here: {error}")
    try:
        from psycopg.conninfo import make_conninfo

        from mill_actors.store.migrate import migrate

        dsn = make_conninfo(floor.dsn, dbname="mill_collated")
        migrate(dsn)
        with Floor(dsn) as collated:
            assert collated.value("select array_agg(k order by k) from unnest(array['B', 'a']) k") == [
                "a",
                "B",
            ]
            scene = Scene(collated)
            scene.hand.finish(*scene.jobs)
            statement = collated.connection.execute(
                "select key from mill.concurrency_key order by ctid"
            ).fetchall()
            assert [row[0] for row in statement] == sorted(KEYS)
    finally:
        floor.do("drop database mill_collated with (force)")
