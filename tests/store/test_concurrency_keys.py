"""Concurrency keys: who is admitted, when, and who frees a place."""

from __future__ import annotations

import random
import threading
from time import monotonic

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mill_actors.errors import JobNotFound
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Verdict
from mill_actors.store.concurrency import admit_waiting
from mill_actors.store.connection import Connection
from mill_actors.store.jobs import cancel_job, expire_jobs
from mill_actors.store.maintenance import prune
from mill_actors.store.nodes import admissions_wait, beat, rescue_node
from mill_actors.store.settlement import Retrial, settle
from mill_actors.store.submission import Submission, submit
from tests.store.floor import PATIENCE_SECONDS, TAG, Floor, Hand, outcome

ONE = "f/a/one"


@pytest.fixture
def three(floor: Floor) -> str:
    """A script three jobs of which may be admitted at a time."""
    floor.deploy("f/a/three", concurrency_limit=3)
    return "f/a/three"


def key_of(floor: Floor, job: str) -> str | None:
    return floor.job(job).concurrency_key


# -- what a key is -------------------------------------------------------------------


def test_the_default_key_is_the_path_within_its_workspace(floor: Floor) -> None:
    assert key_of(floor, floor.submit(path=ONE)) == "default/f/a/one"
    assert key_of(floor, floor.submit()) is None


def test_a_key_is_filled_from_workspace_and_arguments(floor: Floor) -> None:
    floor.deploy("f/a/k", concurrency_limit=1, concurrency_key="$workspace:$args[who]:$args[nobody]")
    assert key_of(floor, floor.submit({"who": "ann"}, "f/a/k")) == "default:ann:"
    assert key_of(floor, floor.submit({"who": 2**70}, "f/a/k")) == f"default:{2**70}:"


def test_a_key_takes_whatever_arguments_hold(floor: Floor) -> None:
    floor.deploy("f/a/k", concurrency_limit=1, concurrency_key="$args[who]")
    odd = ["\0", "\ud800", "a\nb", "x" * 5000, "", None, {"a": 1}]
    keys = [key_of(floor, floor.submit({"who": who}, "f/a/k")) for who in odd]
    assert keys == ["\N{SYMBOL FOR NULL}", "\\ud800", "a\nb", "x" * 1000, "", "None", "{'a': 1}"]


def test_a_job_may_bring_its_own_key_and_limit(floor: Floor) -> None:
    ids = [floor.submit(concurrency_key="mine", concurrency_limit=2) for _ in range(3)]
    assert key_of(floor, ids[0]) == "mine"
    assert floor.admitted() == set(ids[:2])


def test_keys_are_counted_apart_in_each_workspace(floor: Floor) -> None:
    floor.workspace("acme")
    ids = [floor.submit(concurrency_key="k", concurrency_limit=1, workspace=w) for w in ("default", "acme")]
    assert floor.admitted() == set(ids)


# -- admission -----------------------------------------------------------------------


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_as_many_as_the_limit_are_admitted(floor: Floor, three: str, in_one_batch: bool) -> None:
    ids = floor.submit_many(5, three) if in_one_batch else [floor.submit(path=three) for _ in range(5)]
    assert floor.admitted() == floor.slots() == set(ids[:3])
    assert floor.hand().ids() == ids[:3]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_an_end_admits_the_next(floor: Floor, three: str, verdict: Verdict) -> None:
    ids = floor.submit_many(5, three)
    hand = floor.hand()
    jobs = hand.claim()
    done = hand.finish(*jobs[:2], verdict=verdict)
    assert done.admitted_tags == {TAG}
    assert floor.slots() == set(ids[2:])
    assert hand.ids() == ids[3:]


def test_an_end_that_admits_nobody_rings_nobody(floor: Floor) -> None:
    floor.submit(path=ONE)
    hand = floor.hand()
    assert hand.finish(hand.claim_one()).admitted_tags == frozenset()
    assert floor.slots() == set()


def test_the_tags_of_the_admitted_are_told(floor: Floor) -> None:
    for tag in ("a", "b", "c"):
        floor.submit(concurrency_key="k", concurrency_limit=1, tag=tag)
    hand = floor.hand()
    assert hand.finish(*hand.claim(tags=["a", "b", "c"])).admitted_tags == {"b"}


def test_admission_goes_by_priority_then_due_time_then_id(floor: Floor) -> None:
    holder = floor.submit(path=ONE)
    same = sorted(new_id() for _ in range(2))
    told = {"low": (0, "9 s"), "late": (5, "0 s"), "early": (5, "7 s"), "urgent": (9, "0 s")}
    names = {job: f"same {n}" for n, job in enumerate(same)}
    for job in reversed(same):
        floor.submit(path=ONE, id=job, priority=5)
        floor.do("update mill.queue set scheduled_for = '2020-01-01' where id = %s", job)
    for name, (priority, ago) in told.items():
        job = floor.submit(path=ONE, priority=priority)
        floor.do("update mill.queue set scheduled_for = now() - %s::interval where id = %s", ago, job)
        names[job] = name
    hand = floor.hand()
    order = []
    for _ in range(7):
        claimed = hand.claim_one()
        order.append(names.get(claimed.id, "holder"))
        hand.finish(claimed)
    assert order == ["holder", "urgent", "same 0", "same 1", "early", "late", "low"]
    assert holder not in names


def test_who_is_not_due_is_not_admitted(floor: Floor) -> None:
    later = floor.submit(path=ONE, scheduled_in_seconds=99.0)
    now = floor.submit(path=ONE)
    assert floor.admitted() == {now}
    hand = floor.hand()
    assert hand.finish(hand.claim_one()).admitted_tags == frozenset()
    assert floor.slots() == set()
    floor.do("update mill.queue set scheduled_for = now() where id = %s", later)
    assert admit_waiting(floor.connection) == {TAG}
    assert floor.admitted() == {later}


def test_the_sweep_is_needed_exactly_while_somebody_due_waits(floor: Floor) -> None:
    assert not admissions_wait(floor.connection)
    floor.submit_many(2, ONE)
    assert admissions_wait(floor.connection)
    hand = floor.living_hand()
    assert beat(hand.connection, hand.node).admissions_wait
    hand.finish(hand.claim_one())
    assert not beat(hand.connection, hand.node).admissions_wait
    floor.submit(path=ONE, scheduled_in_seconds=99.0)
    assert not admissions_wait(floor.connection)


def test_the_sweep_never_admits_more_than_there_is_room_for(floor: Floor, three: str) -> None:
    floor.submit_many(9, three)
    assert admit_waiting(floor.connection) == set()
    assert len(floor.admitted()) == 3


def test_a_key_without_a_row_is_put_back_by_the_sweep(floor: Floor, three: str) -> None:
    """Nobody should remove it; but jobs under it would wait for ever."""
    floor.submit_many(5, three)
    hand = floor.hand()
    jobs = hand.claim()
    floor.do("delete from mill.concurrency_key")
    hand.finish(*jobs)
    assert floor.admitted() == set()
    assert admit_waiting(floor.connection) == {TAG}
    assert len(floor.admitted()) == 2
    assert floor.rows("select max_running from mill.concurrency_key") == [(3,)]


# -- limits that change ----------------------------------------------------------------


def test_a_raised_limit_admits_at_the_next_submit(floor: Floor) -> None:
    ids = floor.submit_many(4, ONE)
    floor.deploy(ONE, concurrency_limit=3)
    ids.append(floor.submit(path=ONE))
    assert floor.admitted() == set(ids[:3])


def test_a_lowered_limit_takes_no_place_away_and_admits_nobody_until_there_is_room(
    floor: Floor, three: str
) -> None:
    ids = floor.submit_many(5, three)
    hand = floor.hand()
    jobs = hand.claim()
    floor.deploy(three, concurrency_limit=1)
    floor.submit(path=three)
    assert floor.slots() == set(ids[:3])
    for job in jobs[:2]:
        assert hand.finish(job).admitted_tags == frozenset()
    assert floor.slots() == {ids[2]}
    hand.finish(jobs[2])
    assert floor.slots() == {ids[3]}


# -- who frees and who keeps -------------------------------------------------------------


def test_backoff_frees_the_place(floor: Floor, three: str) -> None:
    ids = floor.submit_many(4, three)
    hand = floor.hand()
    jobs = hand.claim()
    assert hand.retry(jobs[0], delay=99.0).admitted_tags == {TAG}
    assert floor.slots() == set(ids[1:])
    assert floor.job(ids[0]).admitted is False


def test_a_retry_that_is_due_at_once_may_have_its_place_back(floor: Floor, three: str) -> None:
    floor.submit(path=three)
    hand = floor.hand()
    job = hand.claim_one()
    assert hand.retry(job).admitted_tags == {TAG}
    assert floor.slots() == {job.id}
    assert hand.claim_one().attempt == 2


def test_at_limit_1_a_retry_keeps_its_place(floor: Floor) -> None:
    first, second = floor.submit_many(2, ONE)
    hand = floor.hand()
    assert hand.retry(hand.claim_one(), delay=99.0).admitted_tags == frozenset()
    assert floor.slots() == floor.admitted() == {first}
    assert hand.claim() == []
    assert admit_waiting(floor.connection) == set()
    assert second not in floor.admitted()
    floor.do("update mill.queue set scheduled_for = now() where id = %s", first)
    assert hand.ids() == [first]


def test_rescue_keeps_the_place(floor: Floor) -> None:
    first, second = floor.submit_many(2, ONE)
    hand = floor.living_hand()
    hand.claim_one()
    rescue_node(floor.connection, hand.node, 0)
    assert floor.slots() == floor.admitted() == {first}
    assert floor.hand().ids() == [first]
    assert second not in floor.admitted()


def test_a_lost_job_frees_its_place(floor: Floor) -> None:
    first, second = floor.submit_many(2, ONE)
    floor.do("update mill.queue set rescues = 3 where id = %s", first)
    hand = floor.living_hand()
    hand.claim_one()
    ear = floor.listen("mill_queue")
    rescue = rescue_node(floor.connection, hand.node, 0)
    assert rescue is not None
    assert rescue.lost == (first,)
    assert floor.slots() == floor.admitted() == {second}
    assert floor.heard(ear) == [("mill_queue", TAG)]


def test_an_expired_job_frees_its_place(floor: Floor) -> None:
    first = floor.submit(path=ONE, expires_in_seconds=60.0)
    second = floor.submit(path=ONE)
    assert floor.admitted() == {first}
    floor.do("update mill.queue set expires_at = now() where id = %s", first)
    ear = floor.listen("mill_queue")
    assert expire_jobs(floor.connection) == [first]
    assert floor.slots() == floor.admitted() == {second}
    assert floor.heard(ear) == [("mill_queue", TAG)]


def test_a_batch_of_many_keys(floor: Floor) -> None:
    floor.deploy("f/a/k", concurrency_limit=1, concurrency_key="$args[who]")
    told = [Submission(path="f/a/k", args={"who": who, "n": n}) for n in range(2) for who in range(30)]
    receipts = floor.receipts(told)
    hand = floor.hand()
    jobs = hand.claim()
    assert [job.id for job in jobs] == [r.id for r in receipts[:30]]
    hand.finish(*jobs[::-1])
    assert floor.admitted() == {r.id for r in receipts[30:]}
    assert len(hand.claim()) == 30


def test_a_slot_whose_job_is_gone_is_swept_away(floor: Floor) -> None:
    floor.submit_many(2, ONE)
    floor.do("delete from mill.queue where admitted")
    assert admit_waiting(floor.connection) == set()
    prune(floor.connection, 30, 30)
    assert admit_waiting(floor.connection) == {TAG}


# -- pruning -------------------------------------------------------------------------


def keys(floor: Floor) -> set[str]:
    return {row[0] for row in floor.rows("select key from mill.concurrency_key")}


def test_keys_are_pruned_when_nobody_uses_them(floor: Floor) -> None:
    for key in ("held", "waiting", "unused"):
        floor.submit(concurrency_key=key, concurrency_limit=1)
    floor.submit(concurrency_key="waiting", concurrency_limit=1)
    floor.do("delete from mill.concurrency_slot where key in ('waiting', 'unused')")
    floor.do("delete from mill.queue where concurrency_key = 'unused'")
    prune(floor.connection, 30, 30)
    assert keys(floor) == {"held", "waiting"}


def test_a_key_that_waits_for_later_is_kept(floor: Floor) -> None:
    floor.submit(path=ONE, scheduled_in_seconds=99.0)
    prune(floor.connection, 30, 30)
    assert keys(floor) == {"default/f/a/one"}


def unused_key(floor: Floor) -> None:
    floor.submit(path=ONE)
    hand = floor.hand()
    hand.finish(hand.claim_one())


def test_a_key_in_a_submitters_hands_is_not_pruned(floor: Floor) -> None:
    unused_key(floor)
    with floor.connection.transaction():
        job = submit(floor.connection, [Submission(path=ONE)]).receipts[0].id
        rival = floor.rival(lambda own: prune(own, 30, 30))
        assert not rival.waits()
        rival.result()
    assert keys(floor) == {"default/f/a/one"}
    assert floor.slots() == {job}


def test_a_submitter_that_waits_for_the_pruner_is_not_stranded(floor: Floor) -> None:
    unused_key(floor)
    pruner = floor.connect()
    with pruner.transaction():
        prune(pruner, 30, 30)
        rival = floor.rival(lambda own: submit(own, [Submission(path=ONE)]).receipts[0].id)
        assert rival.waits()
    job = rival.result()
    admit_waiting(floor.connection)
    assert floor.admitted() == floor.slots() == {job}
    assert keys(floor) == {"default/f/a/one"}


# -- the limit is exact ------------------------------------------------------------------


def test_two_submitters_of_the_last_place(floor: Floor) -> None:
    with floor.connection.transaction():
        first = submit(floor.connection, [Submission(path=ONE)]).receipts[0].id
        rival = floor.rival(lambda own: submit(own, [Submission(path=ONE)]).receipts[0].id)
        assert rival.waits()
    rival.result()
    assert floor.slots() == floor.admitted() == {first}


def test_a_finish_and_a_submit_for_the_same_place(floor: Floor) -> None:
    floor.submit(path=ONE)
    hand = floor.hand()
    job = hand.claim_one()
    with hand.connection.transaction():
        hand.finish(job)
        rival = floor.rival(lambda own: submit(own, [Submission(path=ONE)]).receipts[0].id)
        assert rival.waits()
    second = rival.result()
    assert floor.slots() == floor.admitted() == {second}


def test_who_is_cancelled_while_being_admitted_leaves_no_slot(floor: Floor) -> None:
    """The cancel waits for the admission, and its snapshot is from before the slot."""
    _, second = floor.submit_many(2, ONE)
    hand = floor.hand()
    job = hand.claim_one()
    with hand.connection.transaction():
        assert hand.finish(job).admitted_tags == {TAG}
        rival = floor.rival(lambda own: cancel_job(own, "default", second, by="u/ann"))
        assert rival.waits()
    assert rival.result() == "cancelled"
    assert floor.slots() == set()
    third = floor.submit(path=ONE)
    assert floor.admitted() == {third}


class Watch:
    """Looks all the time whether more are admitted than the limit says."""

    def __init__(self, floor: Floor, limit: int) -> None:
        self._connection = floor.connect()
        self._limit = limit
        self._stop = threading.Event()
        self.most = 0
        self._thread = threading.Thread(target=self._look, name="watch")
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.is_set():
            for (count,) in self._connection.execute(
                "select count(*) from mill.queue where admitted and concurrency_key is not null group by concurrency_key"
            ):
                self.most = max(self.most, count)

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.most


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_than_the_limit_whatever_happens_at_once(floor: Floor, limit: int) -> None:
    """Submitters, workers that end, retry and release, cancellers and sweeps: all at once, two keys."""
    floor.deploy("f/a/k", concurrency_limit=limit, concurrency_key="$args[who]")
    watch = Watch(floor, limit)
    wanted = 120
    deadline = monotonic() + PATIENCE_SECONDS / 2

    def is_over(own: Connection) -> bool:
        row = own.execute("select count(*) from mill.completed_job").fetchone()
        return monotonic() > deadline or row == (wanted,)

    def submitter(own: Connection, seed: int) -> None:
        rng = random.Random(seed)
        left = wanted // 2
        while left:
            count = min(left, rng.randint(1, 5))
            left -= count
            told = [
                Submission(path="f/a/k", args={"who": rng.randint(0, 1)}, priority=rng.randint(0, 2))
            ] * count
            submit(own, told)

    def worker(own: Connection, seed: int) -> None:
        rng, hand = random.Random(seed), hands[seed]
        while not is_over(own):
            for job in hand.claim(rng.randint(1, 4)):
                move = rng.random()
                if move < 0.2:
                    hand.release(job)
                elif move < 0.4:
                    hand.retry(job)
                else:
                    hand.finish(job)

    def canceller(own: Connection, seed: int) -> None:
        rng = random.Random(seed)
        while not is_over(own):
            row = own.execute("select id::text from mill.queue order by random() limit 1").fetchone()
            admit_waiting(own)
            if row is None or rng.random() < 0.9:
                continue
            try:
                cancel_job(own, "default", row[0], by="u/ann", force=rng.random() < 0.5)
            except JobNotFound:
                continue

    hands = {seed: floor.hand() for seed in (1, 2)}
    rivals = [floor.rival(lambda own, s=s: submitter(own, s)) for s in (11, 12)]  # type: ignore[misc]
    rivals += [floor.rival(lambda own, s=s: worker(own, s)) for s in hands]  # type: ignore[misc]
    rivals += [floor.rival(lambda own: canceller(own, 5))]
    for rival in rivals:
        rival.result()
    assert 1 <= watch.end() <= limit
    assert floor.value("select count(distinct id) from mill.completed_job") == wanted
    assert floor.slots() == set()
    assert floor.value("select count(*) from mill.queue") == 0


class Places(RuleBasedStateMachine):
    """Every move of jobs under one key, in any order: slots, flags and the limit always agree."""

    floor: Floor
    hand: Hand

    def __init__(self) -> None:
        super().__init__()
        self.held: list[ClaimedJob] = []
        self.limit = 2

    @initialize()
    def clean(self) -> None:
        for table in ("queue", "concurrency_slot", "concurrency_key", "completed_job", "job_attempt"):
            self.floor.do(f"delete from mill.{table}")

    @rule(priority=st.integers(0, 2), later=st.booleans())
    def submit(self, priority: int, later: bool) -> None:
        self.floor.submit(
            concurrency_key="k", concurrency_limit=self.limit, priority=priority,
            scheduled_in_seconds=99.0 if later else None,
        )  # fmt: skip

    @rule(limit=st.integers(1, 4))
    def change_the_limit(self, limit: int) -> None:
        self.limit = limit
        self.submit(0, False)

    @rule(count=st.integers(1, 3))
    def claim(self, count: int) -> None:
        self.held += self.hand.claim(count)

    @rule(data=st.data(), how=st.sampled_from(["finish", "retry", "backoff", "release", "cancel"]))
    def let_go(self, data: st.DataObject, how: str) -> None:
        if not self.held:
            return
        job = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if how == "finish":
            self.hand.finish(job)
        elif how == "release":
            self.hand.release(job)
        elif how == "cancel":
            cancel_job(self.floor.connection, "default", job.id, by="u/ann", force=True)
        else:
            delay = 99.0 if how == "backoff" else 0.0
            settle(self.hand.connection, [], [Retrial(outcome(job, Verdict.FAILURE), delay)])

    @rule()
    def due(self) -> None:
        self.floor.do("update mill.queue set scheduled_for = now() where scheduled_for > now()")

    @rule()
    def die(self) -> None:
        rescue_node(self.floor.connection, self.hand.node, None)
        self.held.clear()
        self.floor.do("update mill.queue set rescues = 0")

    @rule()
    def sweep(self) -> None:
        admit_waiting(self.floor.connection)

    @rule()
    def prune(self) -> None:
        prune(self.floor.connection, 30, 30)

    @rule()
    def expire(self) -> None:
        self.floor.do(
            "update mill.queue set expires_at = now() where id = (select min(id::text)::uuid from mill.queue where not running)"
        )
        expire_jobs(self.floor.connection)

    @invariant()
    def slots_are_exactly_those_of_the_admitted(self) -> None:
        assert self.floor.slots() == self.floor.admitted()

    @invariant()
    def nobody_due_waits_where_there_is_room_after_a_sweep(self) -> None:
        admit_waiting(self.floor.connection)
        rows = self.floor.rows("select max_running from mill.concurrency_key where key = 'k'")
        room = rows[0][0] - len(self.floor.slots()) if rows else 0
        waiting = self.floor.value(
            "select count(*) from mill.queue where not admitted and scheduled_for <= now()"
        )
        assert waiting == 0 or room <= 0


@pytest.mark.slow
def test_slots_and_flags_agree_after_any_moves(floor: Floor) -> None:
    class Here(Places):
        pass

    Here.floor, Here.hand = floor, floor.hand()
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
