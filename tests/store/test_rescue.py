"""Dead nodes: who is declared dead, and what becomes of what they held."""

from __future__ import annotations

import json

import pytest
from psycopg import Error

from mill_actors.ids import new_id
from mill_actors.jobs.outcome import Verdict
from mill_actors.store import nodes
from mill_actors.store.connection import Connection, is_outage
from mill_actors.store.jobs import cancel_job
from mill_actors.store.nodes import MAX_RESCUES, Rescue, beat, orphaned_nodes, rescue_node
from tests.store.floor import TAG, Floor, Hand, eventually


def rescued(floor: Floor, hand: Hand, beat_seen: int | None = 0) -> Rescue:
    rescue = rescue_node(floor.connection, hand.node, beat_seen)
    assert rescue is not None
    return rescue


def registered(floor: Floor) -> set[str]:
    return {row[0] for row in floor.rows("select id::text from mill.node")}


def test_the_jobs_of_a_dead_node_are_back_in_the_queue(floor: Floor) -> None:
    ids = floor.submit_many(3)
    hand, other = floor.living_hand(), floor.living_hand()
    hand.claim(2)
    other.claim(1)
    ear = floor.listen("mill_queue")
    rescue = rescued(floor, hand)
    assert set(rescue.requeued) == set(ids[:2])
    assert (rescue.lost, rescue.cancelled) == ((), ())
    assert floor.rows("select distinct node, claim, worker, claimed_at, rescues, attempt from mill.queue where not running") == [
        (None, None, None, None, 1, 1)
    ]  # fmt: skip
    assert list(other.held()) == ids[2:]
    assert registered(floor) == {other.node}
    assert floor.heard(ear) == [("mill_queue", TAG)]


def test_a_node_that_has_beaten_is_not_dead(floor: Floor) -> None:
    floor.submit()
    hand = floor.living_hand()
    hand.claim()
    assert beat(hand.connection, hand.node).alive
    assert rescue_node(floor.connection, hand.node, 0) is None
    assert len(hand.held()) == 1
    assert registered(floor) == {hand.node}


def test_the_dead_learn_of_it_at_their_next_beat(floor: Floor) -> None:
    hand = floor.living_hand()
    assert beat(hand.connection, hand.node).alive
    rescued(floor, hand, 1)
    assert not beat(hand.connection, hand.node).alive


def test_a_beat_tells_everybodys_counters(floor: Floor) -> None:
    one, two = floor.living_hand(), floor.living_hand()
    beat(two.connection, two.node)
    told = beat(one.connection, one.node)
    assert told.beats == {one.node: 0, two.node: 1}
    assert beat(one.connection, one.node).beats == {one.node: 1, two.node: 1}


def test_rescues_are_counted_until_the_job_is_lost(floor: Floor) -> None:
    job = floor.submit(awaited=True)
    for number in range(MAX_RESCUES):
        hand = floor.living_hand()
        (claimed,) = hand.claim()
        assert (claimed.rescues, claimed.attempt) == (number, 1)
        assert rescued(floor, hand).requeued == (job,)
    hand = floor.living_hand()
    hand.claim()
    ear = floor.listen("mill_settled")
    assert rescued(floor, hand) == Rescue((), (job,), ())
    told = floor.job(job)
    assert (told.status, told.rescues, told.attempt, told.worker) == ("failure", MAX_RESCUES + 1, 1, "w1")
    assert told.started_at is not None
    assert json.loads(told.result or "")["error"]["name"] == "WorkerLost"
    assert floor.heard(ear) == [("mill_settled", job)]


@pytest.mark.parametrize("rescues", [0, MAX_RESCUES])
def test_a_job_whose_cancel_was_asked_for_is_cancelled(floor: Floor, rescues: int) -> None:
    job = floor.submit(awaited=True)
    floor.do("update mill.queue set rescues = %s", rescues)
    hand = floor.living_hand()
    hand.claim()
    cancel_job(floor.connection, "default", job, by="u/ann", reason="no")
    ear = floor.listen("mill_settled")
    assert rescued(floor, hand) == Rescue((), (), (job,))
    told = floor.job(job)
    assert (told.status, told.cancelled_by, told.cancel_reason) == ("cancelled", "u/ann", "no")
    assert json.loads(told.result or "")["error"]["name"] == "Canceled"
    assert floor.heard(ear) == [("mill_settled", job)]


def test_all_kinds_at_once(floor: Floor) -> None:
    ids = floor.submit_many(9)
    floor.do("update mill.queue set rescues = 3 where id = any (%s::uuid[])", ids[3:6])
    hand = floor.living_hand()
    while hand.claim():
        pass
    for job in ids[6:]:
        cancel_job(floor.connection, "default", job, by="u/ann")
    rescue = rescued(floor, hand)
    assert [set(rescue.requeued), set(rescue.lost), set(rescue.cancelled)] == [
        set(ids[:3]), set(ids[3:6]), set(ids[6:]),
    ]  # fmt: skip
    assert hand.held() == {}


def test_a_node_without_a_row_is_an_orphan_while_it_holds_jobs(floor: Floor) -> None:
    floor.submit()
    hand = floor.living_hand()
    job = hand.claim_one()
    assert orphaned_nodes(floor.connection) == []
    floor.do("delete from mill.node")
    assert orphaned_nodes(floor.connection) == [hand.node]
    assert rescued(floor, hand, None).requeued == (job.id,)
    assert orphaned_nodes(floor.connection) == []


# -- the life of a row ---------------------------------------------------------------------


def test_a_node_that_stops_in_order_takes_its_row_along(floor: Floor) -> None:
    floor.submit()
    hand = floor.living_hand()
    nodes.stop_node(hand.connection, hand.node)
    job = hand.claim_one()
    nodes.forget_node(hand.connection, hand.node)
    assert registered(floor) == {hand.node}
    hand.release(job)
    nodes.forget_node(hand.connection, hand.node)
    assert registered(floor) == set()


def test_tags_are_served_by_nodes_that_live_and_do_not_stop(floor: Floor) -> None:
    for name, tags in (("one", ["a", "b"]), ("stopping", ["c"]), ("silent", ["d"]), ("two", ["b", "é"])):
        nodes.register_node(floor.connection, new_id(), name, tags, [{"x": 1}])
    floor.do("update mill.node set stopping = true where name = 'stopping'")
    floor.do("update mill.node set beat_at = now() - interval '31 s' where name = 'silent'")
    assert nodes.tags_served(floor.connection) == {"a", "b", "é"}
    node = floor.value("select id::text from mill.node where name = 'one'")
    nodes.serve_tags(floor.connection, node, ["z"])
    assert nodes.tags_served(floor.connection) == {"z", "b", "é"}
    listed = nodes.list_nodes(floor.connection)
    assert [n.name for n in listed] == ["one", "stopping", "silent", "two"]
    assert listed[0].workers == [{"x": 1}]
    assert listed[2].silent_seconds > 30


def test_no_node_serves_nothing(floor: Floor) -> None:
    assert nodes.tags_served(floor.connection) == frozenset()


# -- interleavings -------------------------------------------------------------------------


def test_beat_then_rescue(floor: Floor) -> None:
    """The beat is under way: the rescue waits for it, and then there is nobody to rescue."""
    floor.submit()
    hand = floor.living_hand()
    hand.claim()
    with hand.connection.transaction():
        assert beat(hand.connection, hand.node).alive
        rival = floor.rival(lambda own: rescue_node(own, hand.node, 0))
        assert rival.waits()
    assert rival.result() is None
    assert len(hand.held()) == 1


def test_rescue_then_beat(floor: Floor) -> None:
    """The rescue is under way: the beat waits for it, and then matches no row."""
    floor.submit()
    hand = floor.living_hand()
    hand.claim()
    with floor.connection.transaction():
        rescued(floor, hand)
        rival = floor.rival(lambda _: beat(hand.connection, hand.node))
        assert rival.waits()
    assert not rival.result().alive
    assert hand.held() == {}


def test_a_rescue_that_is_rolled_back_leaves_the_node_alive(floor: Floor) -> None:
    floor.submit()
    hand = floor.living_hand()
    hand.claim()
    with floor.connection.transaction(force_rollback=True):
        rescued(floor, hand)
        rival = floor.rival(lambda _: beat(hand.connection, hand.node))
        assert rival.waits()
    assert rival.result().alive
    assert len(hand.held()) == 1


def test_of_two_rescuers_one_does_it(floor: Floor) -> None:
    ids = floor.submit_many(5)
    hand = floor.living_hand()
    hand.claim()
    with floor.connection.transaction():
        assert set(rescued(floor, hand).requeued) == set(ids)
        rival = floor.rival(lambda own: rescue_node(own, hand.node, 0))
        assert rival.waits()
    assert rival.result() is None
    assert floor.rows("select distinct rescues from mill.queue") == [(1,)]


def test_of_two_rescuers_of_an_orphan_each_takes_what_the_other_has_not(floor: Floor) -> None:
    ids = floor.submit_many(5)
    hand = floor.hand()
    hand.claim()
    with floor.connection.transaction():
        assert set(rescued(floor, hand, None).requeued) == set(ids)
        rival = floor.rival(lambda own: rescue_node(own, hand.node, None))
        assert not rival.waits()
    assert rival.result() == Rescue((), (), ())
    assert floor.rows("select distinct rescues from mill.queue") == [(1,)]


def test_a_finish_under_way_is_left_alone_and_lands(floor: Floor) -> None:
    ids = floor.submit_many(2)
    hand = floor.living_hand()
    one, two = hand.claim()
    with hand.connection.transaction():
        hand.finish(one)
        rival = floor.rival(lambda own: rescue_node(own, hand.node, 0))
        assert not rival.waits()
        rescue = rival.result()
    assert rescue is not None
    assert rescue.requeued == (two.id,)
    assert floor.status(ids[0]) == "success"
    assert orphaned_nodes(floor.connection) == []


def test_a_finish_under_way_that_is_rolled_back_leaves_an_orphan(floor: Floor) -> None:
    floor.submit()
    hand = floor.living_hand()
    job = hand.claim_one()
    with hand.connection.transaction(force_rollback=True):
        hand.finish(job)
        rival = floor.rival(lambda own: rescue_node(own, hand.node, 0))
        assert not rival.waits()
        assert rival.result() == Rescue((), (), ())
    assert orphaned_nodes(floor.connection) == [hand.node]
    assert rescued(floor, hand, None).requeued == (job.id,)


@pytest.mark.parametrize("path", ["f/a/b", "f/a/one"])
@pytest.mark.parametrize("move", ["finish", "retry", "release"])
def test_a_worker_that_comes_back_during_its_rescue_is_stale(floor: Floor, path: str, move: str) -> None:
    job = floor.submit(path=path)
    hand = floor.living_hand()
    claimed = hand.claim_one()

    def act(_: Connection) -> bool:
        if move == "finish":
            return hand.finish(claimed).stale == {job}
        if move == "retry":
            return hand.retry(claimed).stale == {job}
        return hand.release(claimed) == set()

    with floor.connection.transaction():
        assert rescued(floor, hand).requeued == (job,)
        rival = floor.rival(act)
        assert rival.waits()
    assert rival.result()
    told = floor.job(job)
    assert (told.status, told.rescues, told.attempt) == ("queued", 1, 1)


def test_a_cancel_between_the_two_steps_of_a_rescue_is_not_lost(floor: Floor) -> None:
    """Requeue first, then lose: who asks in between finds a job that waits."""
    job = floor.submit()
    hand = floor.living_hand()
    hand.claim()
    with floor.connection.transaction():
        assert rescued(floor, hand).requeued == (job,)
        rival = floor.rival(lambda own: cancel_job(own, "default", job, by="u/ann"))
        assert rival.waits()
    assert rival.result() == "cancelled"
    assert floor.status(job) == "cancelled"


def test_a_rescue_during_a_request_to_cancel(floor: Floor) -> None:
    job = floor.submit()
    hand = floor.living_hand()
    hand.claim()
    with floor.connection.transaction():
        assert cancel_job(floor.connection, "default", job, by="u/ann") == "requested"
        rival = floor.rival(lambda own: rescue_node(own, hand.node, 0))
        assert not rival.waits()
        assert rival.result() == Rescue((), (), ())
    assert orphaned_nodes(floor.connection) == [hand.node]
    assert rescued(floor, hand, None).cancelled == (job,)


def test_a_row_that_was_locked_for_a_moment_is_taken_by_the_second_look(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = floor.submit_many(2)
    hand, other = floor.living_hand(), floor.connect()
    hand.claim()
    look = nodes._rescue

    def look_once_with_a_lock(connection: Connection, node: str, beat_seen: int | None) -> Rescue | None:
        if beat_seen is None:
            return look(connection, node, None)
        with other.transaction():
            other.execute("select from mill.queue where id = %s for update", [ids[0]])
            return look(connection, node, beat_seen)

    monkeypatch.setattr(nodes, "_rescue", look_once_with_a_lock)
    rescue = rescued(floor, hand)
    assert rescue.requeued == (ids[1], ids[0])
    assert orphaned_nodes(floor.connection) == []


def test_a_worker_that_vanished_in_a_transaction_lets_go_of_its_jobs(floor: Floor) -> None:
    floor.submit()
    hand = floor.living_hand()
    job = hand.claim_one()
    hand.connection.execute("set idle_in_transaction_session_timeout = '50ms'")
    with pytest.raises(Error) as caught, hand.connection.transaction():  # noqa: PT012  what is in the transaction
        hand.finish(job)
        eventually(lambda: rescued(floor, hand, None).requeued == (job.id,))
        hand.connection.execute("select")
    assert is_outage(caught.value)
    assert floor.status(job.id) == "queued"


@pytest.mark.slow
def test_a_thousand_jobs_at_once(floor: Floor) -> None:
    ids = floor.submit_many(3000)
    hand = floor.living_hand()
    hand.claim(3000)
    assert set(rescued(floor, hand).requeued) == set(ids)


def test_nothing_is_run_twice_when_nodes_die_at_random(floor: Floor) -> None:
    """Four workers, whose nodes are declared dead under them: every job lands exactly once."""
    import random

    ids = floor.submit_many(150)
    landed: list[str] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        hand = floor.living_hand()
        misses = 0
        while misses < 30:
            jobs = hand.claim(rng.randint(1, 8))
            misses = 0 if jobs else misses + 1
            if rng.random() < 0.3:
                # Somebody takes us for dead, although we go on.
                rescue_node(hand.connection, hand.node, None)
            if jobs:
                stale = hand.finish(*jobs, verdict=Verdict.SUCCESS).stale
                landed.extend(job.id for job in jobs if job.id not in stale)

    rivals = [floor.rival(lambda _, seed=seed: work(seed)) for seed in range(4)]  # type: ignore[misc]
    for rival in rivals:
        rival.result()
    last = floor.hand()
    while jobs := last.claim():
        last.finish(*jobs)
        landed += [job.id for job in jobs]
    lost = {row[0] for row in floor.rows("select id::text from mill.completed_job where status = 'failure'")}
    assert len(landed) == len(set(landed))
    assert set(landed) | lost == set(ids)
    assert floor.value("select count(*) from mill.completed_job") == len(ids)
