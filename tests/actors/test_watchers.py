"""Heartbeat, Rescuer, Listener, LogWriter: each alone, with a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from mill_actors.actors import rescuer as rescuer_module
from mill_actors.actors.context import NodeContext
from mill_actors.actors.heartbeat import Heartbeat
from mill_actors.actors.listener import Listener
from mill_actors.actors.log_writer import LogWriter
from mill_actors.actors.messages import Beat, Beats, CancelRequested, Deployed, FindDead, Printed, Wake
from mill_actors.actors.rescuer import Rescuer
from mill_actors.config import Config
from mill_actors.events import Moved
from mill_actors.ids import new_id
from mill_actors.jobs.lifecycle import Action
from mill_actors.store.client import Client
from mill_actors.store.connection import Database
from mill_actors.store.logs import LogChunk
from mill_actors.store.submission import Submission
from supervisors import SHUTDOWN, ProcessRef, stop
from supervisors.testing import Probe, Signals
from tests.actors.desk import PATH, the_script
from tests.system.proxy import Proxy, wait_until


class Post:
    """One actor of a node, and what it tells the others."""

    def __init__(self, config: Config, proxy: Proxy, dsn: str) -> None:
        self.fences: Signals[None] = Signals()
        database = Database(proxy.dsn)
        self.context = NodeContext(new_id(), config, database, {}, lambda: self.fences(None))
        self.to_puller = Signals[Any]()
        self.to_rescuer = Signals[Any]()
        self.moves = Signals[Moved]()
        self.context.events.subscribe(self.moves)
        self.refs: list[ProcessRef[Any]] = [
            Probe.spawn(self.to_puller, name=self.context.address("worker/puller")),
            Probe.spawn(self.to_rescuer, name=self.context.address("rescuer")),
        ]
        self.look = psycopg.connect(dsn, autocommit=True)
        self.client = Client(dsn)
        self.client.deploy(the_script())
        self.look.execute("insert into mill.node (id, name) values (%s, 'test')", [self.context.node])

    def add(self, ref: ProcessRef[Any]) -> ProcessRef[Any]:
        self.refs.append(ref)
        return ref

    def close(self) -> None:
        for ref in reversed(self.refs):
            stop(ref, SHUTDOWN, 15.0)
        self.look.close()
        self.client.close()

    def heartbeat(self) -> ProcessRef[Any]:
        at = self.context.address
        return self.add(Heartbeat.spawn(self.context, at("rescuer"), (at("worker/puller"),)))

    def rescuer(self) -> ProcessRef[Any]:
        return self.add(Rescuer.spawn(self.context))

    def a_dead_node(self, *, jobs: int = 0, rescues: int = 0, **options: Any) -> tuple[str, list[str]]:
        """A node that beats no more, and what it holds."""
        node = new_id()
        self.look.execute("insert into mill.node (id, name, beat) values (%s, 'dead', 7)", [node])
        given = [Submission(path=PATH, **options) for _ in range(jobs)]
        held = [receipt.id for receipt in self.client.submit_many(given)]
        self.look.execute(
            "update mill.queue set running = true, node = %s, claim = gen_random_uuid(), worker = 'dead/worker', "
            "claimed_at = now(), rescues = %s where id = any (%s::uuid[])",
            [node, rescues, held],
        )
        return node, held

    def beats(self, *nodes: str) -> Beats:
        rows = self.look.execute("select id::text, beat from mill.node").fetchall()
        return Beats({node: beat for node, beat in rows if not nodes or node in nodes})


@pytest.fixture
def post(config: Config, proxy: Proxy, dsn: str) -> Iterator[Post]:
    post = Post(config, proxy, dsn)
    yield post
    post.close()


class Now:
    time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    clock = Now()
    monkeypatch.setattr(rescuer_module, "monotonic", clock)
    return clock


# -- Heartbeat -------------------------------------------------------------------------


def test_a_beat_counts_up_and_brings_everybodys(post: Post) -> None:
    other, _ = post.a_dead_node()
    post.heartbeat()
    told = post.to_rescuer.take(3)
    assert [beats.beats[post.context.node] for beats in told] == sorted(
        {beats.beats[post.context.node] for beats in told}
    )
    assert told[-1].beats[other] == 7


def test_an_outage_is_told_and_lived_through(post: Post, proxy: Proxy) -> None:
    ref = post.heartbeat()
    post.to_rescuer.next()
    proxy.shut()
    while (told := post.to_rescuer.next()) != Beats(None):
        assert told.beats
    proxy.open()
    while post.to_rescuer.next() == Beats(None):
        pass
    assert ref.is_alive()
    assert post.fences.so_far() == []


def test_a_row_that_is_gone_fences_once_and_ends_nobody(post: Post) -> None:
    """If it ended, its supervisor would start it again, and again, until the whole tree gave up."""
    ref = post.heartbeat()
    post.to_rescuer.next()
    post.look.execute("delete from mill.node")
    post.fences.next()
    post.context.fenced.set()
    ref.tell(Beat())
    ref.ask(Beat(), timeout=10.0)
    assert ref.is_alive()
    assert post.fences.so_far() == []


def test_a_cancel_whose_ring_was_lost_comes_with_a_beat(post: Post) -> None:
    (job,) = [receipt.id for receipt in post.client.submit_many([Submission(path=PATH)])]
    post.look.execute(
        "update mill.queue set running = true, node = %s, claim = gen_random_uuid(), cancel_requested_at = now()",
        [post.context.node],
    )
    post.heartbeat()
    assert post.to_puller.next() == CancelRequested(frozenset([job]))


# -- Rescuer ---------------------------------------------------------------------------


def watch_until(post: Post, now: Now, rescuer: ProcessRef[Any], seconds: float) -> None:
    """Beat after beat, by the test's clock."""
    for _ in range(round(seconds / 0.2)):
        rescuer.ask(post.beats(), timeout=10.0)
        now.time += 0.2


def test_a_dead_nodes_jobs_come_back(post: Post, now: Now) -> None:
    node, held = post.a_dead_node(jobs=3)
    rescuer = post.rescuer()
    watch_until(post, now, rescuer, 0.6)
    assert post.moves.so_far() == []
    watch_until(post, now, rescuer, 0.4)
    (move,) = post.moves.so_far()
    assert (move.action, sorted(move.jobs)) == (Action.RESCUE, sorted(held))
    for job in held:
        row = post.client.job(job)
        assert (row.status, row.attempt, row.rescues) == ("queued", 1, 1)
    assert post.look.execute("select 1 from mill.node where id = %s", [node]).fetchone() is None


def test_a_node_that_beats_again_in_the_last_moment_keeps_its_jobs(post: Post, now: Now) -> None:
    node, held = post.a_dead_node(jobs=1)
    rescuer = post.rescuer()
    rescuer.ask(seen := post.beats(), timeout=10.0)
    post.look.execute("update mill.node set beat = beat + 1 where id = %s", [node])
    for _ in range(5):
        now.time += 0.2
        rescuer.ask(seen, timeout=10.0)  # what we know is a beat behind
    assert post.moves.so_far() == []
    assert post.client.job(held[0]).status == "running"


def test_nobody_is_rescued_right_after_an_outage(post: Post, now: Now, proxy: Proxy) -> None:
    post.a_dead_node(jobs=1)
    rescuer = post.rescuer()
    watch_until(post, now, rescuer, 0.6)
    rescuer.ask(Beats(None), timeout=10.0)
    now.time += 0.2
    watch_until(post, now, rescuer, 0.6)
    assert post.moves.so_far() == []


def test_it_does_not_rescue_itself(post: Post, now: Now) -> None:
    rescuer = post.rescuer()
    watch_until(post, now, rescuer, 2.0)
    assert post.look.execute("select count(*) from mill.node").fetchone() == (1,)


def test_a_job_that_kills_its_nodes_is_lost(post: Post, now: Now) -> None:
    _, held = post.a_dead_node(jobs=1, rescues=3)
    rescuer = post.rescuer()
    watch_until(post, now, rescuer, 1.0)
    (move,) = post.moves.so_far()
    assert (move.action, list(move.jobs)) == (Action.LOSE, held)
    job = post.client.job(held[0])
    assert job.status == "failure"
    assert "WorkerLost" in str(job.result)


def test_a_cancelled_job_of_a_dead_node_is_cancelled(post: Post, now: Now) -> None:
    _, held = post.a_dead_node(jobs=1)
    post.client.cancel(held[0])
    rescuer = post.rescuer()
    watch_until(post, now, rescuer, 1.0)
    assert [move.action for move in post.moves.so_far()] == [Action.CANCEL]
    assert post.client.job(held[0]).status == "cancelled"


def test_two_rescuers_rescue_once(post: Post, now: Now) -> None:
    _, held = post.a_dead_node(jobs=20)
    rescuers = [post.rescuer() for _ in range(3)]
    seen = post.beats()
    for _ in range(5):
        for rescuer in rescuers:
            rescuer.tell(seen)
        for rescuer in rescuers:
            rescuer.ask(FindDead(), timeout=10.0)
        now.time += 0.2
    rescued = [job for move in post.moves.so_far() for job in move.jobs]
    assert sorted(rescued) == sorted(held)
    assert {post.client.job(job).rescues for job in held} == {1}


def limited(post: Post) -> str:
    """A job under a concurrency key that is due by now: it was not when it was submitted."""
    given = Submission(path=PATH, concurrency_key="one", concurrency_limit=1, scheduled_in_seconds=0.01)
    (receipt,) = post.client.submit_many([given])
    assert not post.client.job(receipt.id).admitted
    wait_until(
        lambda: post.look.execute("select from mill.queue where scheduled_for < now()").rowcount, "due"
    )
    return receipt.id


def test_who_waits_for_a_place_is_admitted(post: Post) -> None:
    job = limited(post)
    rescuer = post.rescuer()
    rescuer.ask(Beats({}, admissions_wait=True), timeout=10.0)
    assert post.client.job(job).admitted


def test_an_outage_during_an_admission_does_not_end_all_admissions(post: Post, proxy: Proxy) -> None:
    rescuer = post.rescuer()
    job = limited(post)
    proxy.shut()
    rescuer.ask(Beats({}, admissions_wait=True), timeout=15.0)
    assert not post.client.job(job).admitted
    proxy.open()
    rescuer.ask(Beats({}, admissions_wait=True), timeout=10.0)
    assert post.client.job(job).admitted


def test_what_was_not_started_in_time_is_expired(post: Post) -> None:
    (receipt,) = post.client.submit_many([Submission(path=PATH, expires_in_seconds=0.0)])
    rescuer = post.rescuer()
    rescuer.ask(Beats({}, expiries_wait=True), timeout=10.0)
    assert post.client.job(receipt.id).status == "cancelled"
    (move,) = post.moves.so_far()
    assert (move.action, list(move.jobs)) == (Action.EXPIRE, [receipt.id])


# -- Listener --------------------------------------------------------------------------


def ring(post: Post, channel: str, payload: str) -> None:
    post.look.execute("select pg_notify(%s, %s)", [channel, payload])


def until(signals: Signals[Any], wanted: object, make: Callable[[], object]) -> None:
    make()
    while signals.next() != wanted:
        pass


def test_rings_become_messages(post: Post) -> None:
    post.add(Listener.spawn(post.context, (post.context.address("worker/puller"),)))
    while post.to_puller.next() != Wake():
        pass  # connected: look once
    until(post.to_puller, Wake(frozenset(["a", "b"])), lambda: ring(post, "mill_queue", "a\nb"))
    until(post.to_puller, Wake(None), lambda: ring(post, "mill_queue", ""))
    until(post.to_puller, CancelRequested(frozenset(["x"])), lambda: ring(post, "mill_cancel", "x"))
    until(post.to_puller, Deployed("default:f/a"), lambda: ring(post, "mill_deploy", "default:f/a"))


def test_after_an_outage_everybody_looks_once(post: Post, proxy: Proxy) -> None:
    ref = post.add(Listener.spawn(post.context, (post.context.address("worker/puller"),)))
    while post.to_puller.next() != Wake():
        pass
    proxy.cut("mill listener")
    while post.to_puller.next() != Wake():
        pass
    until(post.to_puller, Wake(frozenset(["a"])), lambda: ring(post, "mill_queue", "a"))
    assert ref.is_alive()


def test_a_listener_stops_at_once(post: Post) -> None:
    ref = post.add(Listener.spawn(post.context, ()))
    assert stop(ref, timeout=5.0)


# -- LogWriter -------------------------------------------------------------------------


def chunk(job: str, position: int, text: str, attempt: int = 1) -> Printed:
    return Printed([LogChunk(job, "default", attempt, position, text)])


def log(post: Post, job: str) -> str:
    return "".join(piece.text for piece in post.client.logs(job))


def test_what_is_printed_is_written(post: Post) -> None:
    (receipt,) = post.client.submit_many([Submission(path=PATH)])
    ref = post.add(LogWriter.spawn(post.context))
    for at, letter in enumerate("hello"):
        ref.tell(chunk(receipt.id, at, letter))
    wait_until(lambda: log(post, receipt.id) == "hello", "the log")


def test_an_outage_delays_logs_and_loses_none(post: Post, proxy: Proxy) -> None:
    (receipt,) = post.client.submit_many([Submission(path=PATH)])
    ref = post.add(LogWriter.spawn(post.context))
    proxy.shut()
    for at, letter in enumerate("hello"):
        ref.tell(chunk(receipt.id, at, letter))
    proxy.open()
    wait_until(lambda: log(post, receipt.id) == "hello", "the log")


def test_a_piece_that_is_refused_costs_neither_the_others_nor_the_writer(post: Post) -> None:
    (receipt,) = post.client.submit_many([Submission(path=PATH)])
    ref = post.add(LogWriter.spawn(post.context))
    ref.tell(
        Printed(
            [
                LogChunk(receipt.id, "default", 1, 0, "before "),
                LogChunk(receipt.id, "default", 1 << 40, 1, "no smallint"),
                LogChunk(receipt.id, "default", 1, 7, "after"),
            ]
        )
    )
    wait_until(lambda: log(post, receipt.id) == "before after", "the log")
    assert ref.is_alive()
