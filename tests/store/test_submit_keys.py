"""Idempotency: submission keys, and job ids chosen by clients, which are keys too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mill_actors.errors import InvalidArgs, ScriptNotFound, SubmissionConflict
from mill_actors.ids import new_id
from mill_actors.store.client import Client
from mill_actors.store.connection import Connection
from mill_actors.store.maintenance import prune
from mill_actors.store.submission import Submission, submit
from tests.store.floor import Floor

WEEK = "7 days 1 second"


def age_keys(floor: Floor) -> None:
    """Let every key be as old as it takes to be forgotten."""
    floor.do(f"update mill.submission_key set expires_at = expires_at - interval '{WEEK}'")


def jobs(floor: Floor) -> int:
    count: int = floor.value(
        "select (select count(*) from mill.queue) + (select count(*) from mill.completed_job)"
    )
    return count


def test_a_repeat_answers_with_the_first_id(floor: Floor) -> None:
    first = floor.receipt({"a": 1, "b": 2}, key="k")
    again = floor.receipt({"b": 2, "a": 1}, key="k")
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.id == first.id
    assert jobs(floor) == 1


@pytest.mark.parametrize("by", ["key", "id"])
@pytest.mark.parametrize("where", ["queued", "running", "success", "failure", "cancelled"])
def test_a_repeat_is_known_wherever_the_job_is(floor: Floor, client: Client, by: str, where: str) -> None:
    name = new_id()
    first = floor.receipt({"x": 1}, **{by: name})
    if where == "cancelled":
        client.cancel(first.id)
    elif where != "queued":
        hand = floor.hand()
        job = hand.claim_one()
        if where != "running":
            from mill_actors.jobs.outcome import Verdict

            hand.finish(job, verdict=Verdict(where))
    assert floor.status(first.id) == where
    again = floor.receipt({"x": 1}, **{by: name})
    assert (again.id, again.duplicate) == (first.id, True)
    with pytest.raises(SubmissionConflict) as caught:
        floor.receipt({"x": 2}, **{by: name})
    assert caught.value.job_id == first.id
    assert jobs(floor) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": 1}, {"x": 2}),
        ({"x": 1}, {"x": 1.0}),
        ({"x": 1}, {"x": True}),
        ({"x": 2**70}, {"x": 2**70 + 1}),
        ({"x": "\ud800"}, {"x": "\ud801"}),
        ({}, {"x": None}),
    ],
    ids=str,
)
def test_other_arguments_are_a_conflict(
    floor: Floor, one: dict[str, object], other: dict[str, object]
) -> None:
    floor.submit(one, key="k")
    assert floor.receipt(one, key="k").duplicate
    with pytest.raises(SubmissionConflict):
        floor.submit(other, key="k")


def test_another_path_is_a_conflict(floor: Floor) -> None:
    floor.submit(key="k")
    floor.deploy("f/a/c")
    with pytest.raises(SubmissionConflict):
        floor.submit(path="f/a/c", key="k")


def test_a_conflict_refuses_the_whole_batch(floor: Floor) -> None:
    first = floor.submit({"x": 1}, key="k")
    told = [
        Submission(path="f/a/b"),
        Submission(path="f/a/b", args={"x": 2}, key="k"),
        Submission(path="f/a/b", key="fresh"),
    ]
    with pytest.raises(SubmissionConflict) as caught:
        floor.receipts(told)
    assert caught.value.job_id == first
    assert jobs(floor) == 1
    assert floor.rows("select key from mill.submission_key") == [("k",)]


def test_a_key_twice_in_one_batch_is_one_job(floor: Floor) -> None:
    told = [Submission(path="f/a/b", args={"x": 1}, key=key) for key in ("k", "other", "k", "k")]
    receipts = floor.receipts(told)
    assert [r.duplicate for r in receipts] == [False, False, True, True]
    assert receipts[2].id == receipts[3].id == receipts[0].id
    assert jobs(floor) == 2


def test_an_id_twice_in_one_batch_is_one_job(floor: Floor) -> None:
    chosen = new_id()
    told = [Submission(path="f/a/b", args={"x": 1}, id=chosen) for _ in range(3)]
    receipts = floor.receipts(told)
    assert [(r.id, r.duplicate) for r in receipts] == [(chosen, False), (chosen, True), (chosen, True)]
    assert jobs(floor) == 1


def test_a_key_twice_in_one_batch_with_other_arguments_is_a_conflict(floor: Floor) -> None:
    told = [Submission(path="f/a/b", args={"x": x}, key="k") for x in (1, 2)]
    with pytest.raises(SubmissionConflict):
        floor.receipts(told)
    assert jobs(floor) == 0


def test_an_unknown_path_takes_no_key(floor: Floor) -> None:
    with pytest.raises(ScriptNotFound):
        floor.submit(path="f/a/c", key="k")
    floor.submit(key="k")


def test_keys_belong_to_their_workspace(floor: Floor) -> None:
    floor.workspace("acme")
    first = floor.receipt({"x": 1}, key="k")
    other = floor.receipt({"x": 2}, key="k", workspace="acme")
    assert not other.duplicate
    assert other.id != first.id


def test_a_key_is_forgotten_after_a_week(floor: Floor) -> None:
    first = floor.submit({"x": 1}, key="k")
    hand = floor.hand()
    hand.finish(hand.claim_one())
    age_keys(floor)
    second = floor.receipt({"x": 2}, key="k")
    assert not second.duplicate
    assert second.id != first
    assert floor.receipt({"x": 2}, key="k").id == second.id


@pytest.mark.parametrize("state", ["queued", "running", "scheduled"])
def test_an_old_key_is_kept_while_its_job_is_open(floor: Floor, state: str) -> None:
    first = floor.submit({"x": 1}, key="k", scheduled_in_seconds=999.0 if state == "scheduled" else None)
    if state == "running":
        floor.hand().claim_one()
    age_keys(floor)
    assert prune(floor.connection, 30, 30).keys_forgotten == 0
    assert floor.receipt({"x": 1}, key="k").id == first
    with pytest.raises(SubmissionConflict):
        floor.submit({"x": 2}, key="k")


def test_old_keys_are_pruned(floor: Floor) -> None:
    floor.submit(key="young")
    old = floor.submit(key="old")
    floor.do("delete from mill.queue where id = %s", old)
    floor.do("update mill.submission_key set expires_at = now() where key = 'old'")
    assert prune(floor.connection, 30, 30).keys_forgotten == 1
    assert floor.rows("select key from mill.submission_key") == [("young",)]


# -- ids -----------------------------------------------------------------------------


def test_clients_may_choose_ids(floor: Floor) -> None:
    chosen = new_id()
    assert floor.submit(id=chosen) == chosen
    assert floor.job(chosen).path == "f/a/b"


@pytest.mark.parametrize(
    "chosen", ["", "nonsense", "01A2042B-C0E9-7692-AD7F-6555AC000000", "{" + "0" * 34 + "}"]
)
def test_ids_are_uuids_in_their_usual_form(floor: Floor, chosen: str) -> None:
    with pytest.raises(InvalidArgs, match="not a UUID"):
        floor.submit(id=chosen)


def test_an_id_of_a_job_that_chose_none_is_a_conflict(floor: Floor) -> None:
    job = floor.submit()
    with pytest.raises(SubmissionConflict) as caught:
        floor.submit(id=job)
    assert caught.value.job_id == job


def test_an_open_job_of_another_workspace_has_its_id_alone(floor: Floor) -> None:
    chosen = new_id()
    floor.submit(id=chosen)
    floor.workspace("acme")
    with pytest.raises(SubmissionConflict):
        floor.submit(id=chosen, workspace="acme")


def test_a_finished_job_of_another_workspace_cannot_be_read_by_its_id(
    floor: Floor, make_client: Callable[..., Client]
) -> None:
    """Results are looked up by id alone, so an id must never mean two jobs."""
    chosen = new_id()
    floor.submit(id=chosen)
    hand = floor.hand()
    hand.finish(hand.claim_one(), result=b'"secret"')
    floor.workspace("acme")
    with pytest.raises(SubmissionConflict):
        make_client("acme").start("f/a/b", id=chosen)
    assert jobs(floor) == 1


def test_an_id_means_one_job_for_ever_also_when_its_key_is_forgotten(floor: Floor) -> None:
    chosen = new_id()
    floor.submit(id=chosen)
    hand = floor.hand()
    hand.finish(hand.claim_one())
    age_keys(floor)
    with pytest.raises(SubmissionConflict):
        floor.submit(id=chosen)
    assert prune(floor.connection, 30, 30).keys_forgotten == 1
    with pytest.raises(SubmissionConflict):
        floor.submit(id=chosen)
    assert jobs(floor) == 1


def test_one_id_under_two_keys_is_a_conflict(floor: Floor) -> None:
    chosen = new_id()
    floor.submit(id=chosen, key="one")
    assert floor.receipt(id=chosen, key="one").duplicate
    with pytest.raises(SubmissionConflict):
        floor.submit(id=chosen, key="other")


# -- two at once ---------------------------------------------------------------------


def test_the_second_of_two_submitters_waits_and_gets_the_firsts_id(floor: Floor) -> None:
    told = [Submission(path="f/a/b", args={"x": 1}, key="k")]
    with floor.connection.transaction():
        first = submit(floor.connection, told).receipts[0]
        rival = floor.rival(lambda own: submit(own, told).receipts[0])
        assert rival.waits()
    second = rival.result()
    assert (second.id, second.duplicate) == (first.id, True)
    assert jobs(floor) == 1


def test_the_second_of_two_submitters_makes_the_job_if_the_first_fails(floor: Floor) -> None:
    told = [Submission(path="f/a/b", args={"x": 1}, key="k")]
    with floor.connection.transaction(force_rollback=True):
        first = submit(floor.connection, told).receipts[0]
        rival = floor.rival(lambda own: submit(own, told).receipts[0])
        assert rival.waits()
    second = rival.result()
    assert not second.duplicate
    assert second.id != first.id
    assert jobs(floor) == 1


def test_the_second_of_two_submitters_of_an_id_gets_the_same_job(floor: Floor) -> None:
    told = [Submission(path="f/a/b", args={"x": 1}, id=new_id())]
    with floor.connection.transaction():
        submit(floor.connection, told)
        rival = floor.rival(lambda own: submit(own, told).receipts[0])
        assert rival.waits()
    assert rival.result().duplicate
    assert jobs(floor) == 1


def test_two_submitters_of_the_same_keys_in_other_orders_do_not_deadlock(floor: Floor) -> None:
    names = [f"k{n}" for n in range(40)] + [f"K{n}" for n in range(40)] + ["é", "z", "Z", "a_b", "aB", "a-b"]

    def work(own: Connection, order: list[str]) -> set[str]:
        ids = set()
        for _ in range(5):
            ids |= {r.id for r in submit(own, [Submission(path="f/a/b", key=k) for k in order]).receipts}
        return ids

    rivals = [floor.rival(lambda own: work(own, names)), floor.rival(lambda own: work(own, names[::-1]))]
    first, second = (rival.result() for rival in rivals)
    assert first == second
    assert len(first) == len(names) == jobs(floor)


def expired_key(floor: Floor) -> None:
    floor.submit({"x": 1}, key="k")
    hand = floor.hand()
    hand.finish(hand.claim_one())
    age_keys(floor)


def test_a_key_that_is_being_taken_over_is_not_pruned(floor: Floor) -> None:
    expired_key(floor)
    with floor.connection.transaction():
        taken = submit(floor.connection, [Submission(path="f/a/b", args={"x": 2}, key="k")]).receipts[0]
        rival = floor.rival(lambda own: prune(own, 30, 30).keys_forgotten)
        assert not rival.waits()
    assert rival.result() == 0
    assert floor.receipt({"x": 2}, key="k").id == taken.id


def test_of_two_that_take_an_old_key_over_one_makes_the_job(floor: Floor) -> None:
    expired_key(floor)
    told = [Submission(path="f/a/b", args={"x": 2}, key="k")]
    with floor.connection.transaction():
        taken = submit(floor.connection, told).receipts[0]
        rival = floor.rival(lambda own: submit(own, told).receipts[0])
        assert rival.waits()
    second = rival.result()
    assert (second.id, second.duplicate) == (taken.id, True)
    assert jobs(floor) == 2
