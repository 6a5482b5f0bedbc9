"""Whoever takes two locks takes them in the order of `sql/settle.sql`: no deadlock, in any order.

Each pair of moves runs over the same jobs and keys, in orders of their own. A gate holds one job or one
key in the middle: the first move takes its locks up to there and waits, so does the second; then the gate
opens. If they take their locks crosswise, Postgres kills one of them (40P01) and the test fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest

from mill_actors.errors import JobNotFound
from mill_actors.jobs.job import ClaimedJob
from mill_actors.store.connection import Connection
from mill_actors.store.jobs import await_jobs, cancel_job, expire_jobs
from mill_actors.store.maintenance import prune
from mill_actors.store.nodes import beat, rescue_node
from mill_actors.store.settlement import Retrial, admit_waiting, settle
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
