"""Flows that a worker holds whole, driven by hand: a real database, no processes, no actors."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mill_actors.actors import held_flows
from mill_actors.actors.held_flows import HeldFlows
from mill_actors.flows.version import FlowOptions
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome, Verdict
from mill_actors.runtimes.shared import SharedFolders
from mill_actors.store import claims, flow_control, jobs, settlement
from mill_actors.store.connection import Connection
from mill_actors.store.flow_rows import Written
from mill_actors.store.flow_values import Library
from mill_actors.store.held_rows import HeldRound, write_round
from mill_actors.store.holder import Holder
from mill_actors.store.logs import LogChunk, read_logs
from mill_actors.store.resources import put_resource
from mill_actors.store.settlement import Retrial
from mill_actors.store.submission import Restart
from mill_actors.store.transitions import FlowWorker
from mill_actors.store.variables import put_variable
from tests.fix_db import Server
from tests.flows.generated import answer_of, evaluate, run_script
from tests.flows.oracle import Oracle
from tests.store.floor import Floor
from tests.store.test_flow_transitions import (
    ANY_FLOW,
    CASES,
    EVALUATOR,
    EXAMPLES,
    INNER,
    MOST_TURNS,
    PATH,
    RICH,
    Dropped,
    Mill,
    Script,
    again,
    every,
    flow,
    generated,
    identity,
    loop,
    nested,
    perform,
    plain,
    raw,
    script,
    static,
)

Json = Any
TAG = f"default:flow/{PATH}"
STEP = FlowOptions(dedicated=True)
WHOLE = FlowOptions(dedicated=True, durability="flow")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + EXAMPLES)]


class Keeper:
    """What a Completer, a Puller and Runners do with flows that are held whole; one thread, no clock."""

    def __init__(
        self,
        mill: Mill,
        folder: Path,
        *,
        perform: Script = perform,
        chance: random.Random | None = None,
        library: Library | None = None,
    ) -> None:
        self.mill = mill
        self.connection: Connection = mill.connection
        self.holder = Holder(new_id(), "w")
        self.perform = perform
        self.hand: list[ClaimedJob] = []
        self.timers: list[tuple[float, str, str]] = []
        self.to_cancel: list[str] = []
        self.ran: Counter[str] = Counter()
        self.handed: list[str] = []
        self._chance = chance
        self.held = HeldFlows(
            self.holder, library or Library(), EVALUATOR, SharedFolders(folder), self._cancel, self._later
        )

    def _cancel(self, steps: Iterable[str]) -> None:
        self.to_cancel += steps

    def _later(self, seconds: float, flow: str, what: str) -> None:
        self.timers.append((seconds, flow, what))

    # -- pieces ----------------------------------------------------------------------------

    def claim(self, limit: int = 100) -> list[ClaimedJob]:
        return claims.claim_jobs(self.connection, self.holder, new_id(), [TAG, "flow"], limit)

    def begin(self) -> bool:
        """Claim flows and take them; False: there are none."""
        found = self.claim()
        others = self.held.begin(self.connection, found)
        assert others == []
        return bool(found)

    def round(self, failed: int = 0) -> None:
        """One round, again and again through an outage, and what follows it."""
        for failures in itertools.count(failed):
            try:
                self.held.round(self.connection, failures)
                break
            except psycopg.OperationalError:
                assert failures < 100
        while self.held.broken:
            job, why = self.held.broken.pop(0)
            worker = FlowWorker(self.holder, Library(), EVALUATOR, lambda *_: False)
            settlement.settle_broken_flow(self.connection, worker, new_id(), job, why)
        handed, self.held.to_hand = self.held.to_hand, []
        self.handed += [job.id for job in handed]
        self.hand += handed

    def outcome(self, job: ClaimedJob) -> Outcome:
        assert job.step is not None
        self.ran[job.path.rpartition("/")[2]] += 1
        good, result = self.perform(self.mill.content(job.script), json.loads(job.args), job.attempt)
        verdict = Verdict.SUCCESS if good else Verdict.FAILURE
        return Outcome(job, verdict, json.dumps(result).encode(), 5, monotonic())

    def run_some(self) -> bool:
        """Run what is in hand, or some of it, and hear of it; False: there is nothing."""
        if self._chance is not None:
            self._chance.shuffle(self.hand)
        cut = len(self.hand) if self._chance is None else self._chance.randint(0, len(self.hand) - 1) + 1
        mine, self.hand = self.hand[:cut], self.hand[cut:]
        for job in mine:
            if self.held.owns(job.id):
                self.held.hear(self.outcome(job))
        return bool(mine)

    def fire(self) -> bool:
        """Let every timer run out."""
        timers, self.timers = self.timers, []
        for resting in self.held.flows.values():
            # So much later is it now.
            resting.resting = dict.fromkeys(resting.resting, monotonic())
        for _, job, what in timers:
            self.held.wake(job, what)
        return bool(timers)

    def turn(self) -> bool:
        moved = self.begin()
        self.round()
        if self.hand:
            moved = self.run_some()
            self.round()
        return moved or self.fire()

    def release(self) -> None:
        """An ordered stop: somebody else goes on."""
        claims.release_jobs(self.connection, self.held.fences())


class Hall:
    """Flows that are held whole, and who holds them."""

    def __init__(self, mill: Mill, folder: Path) -> None:
        self.mill = mill
        self.folder = folder

    def keeper(self, **options: Any) -> Keeper:
        return Keeper(self.mill, self.folder, **options)

    def start(
        self, value: Json, args: Json = None, options: FlowOptions | None = STEP, **submission: Any
    ) -> str:
        self.mill.deploy(value, options=options)
        return self.mill.submit(args, **submission)

    def play(self, *keepers: Keeper, answer: Callable[[str], str] = lambda _: "approve") -> None:
        """Work until nothing is open."""
        for _ in range(MOST_TURNS):
            moved = [keeper.turn() for keeper in keepers]
            if not any(moved) and not self.mill.pass_time(answer):
                break
        assert not self.mill.floor.value("select exists (select from mill.queue)"), self.mill.open()
        assert all(not keeper.held.flows and not keeper.held.has_work for keeper in keepers)
        self.mill.check_clean()

    def run(self, value: Json, args: Json = None, options: FlowOptions = STEP) -> tuple[str, Json]:
        job = self.start(value, args, options)
        self.play(self.keeper())
        return self.mill.ended(job)

    def until_rest(self, keeper: Keeper) -> None:
        """Work until nothing moves but time."""
        keeper.begin()
        keeper.round()
        while keeper.hand:
            keeper.run_some()
            keeper.round()


@pytest.fixture(scope="module")
def hall_dsn(server: Server, template: str) -> Iterator[str]:
    with server.database(template) as dsn:
        yield dsn


@pytest.fixture
def hall(hall_dsn: str, tmp_path: Path) -> Iterator[Hall]:
    with Floor(hall_dsn) as floor:
        mill = Mill(floor)
        mill.clear()
        yield Hall(mill, tmp_path)


# -- the same as through the queue ---------------------------------------------------------


@pytest.mark.parametrize("options", [STEP, WHOLE], ids=["step", "flow"])
@pytest.mark.parametrize("case", CASES)
def test_a_flow_ends_as_it_should(hall: Hall, case: str, options: FlowOptions) -> None:
    mill = hall.mill
    mill.floor.deploy("f/a/double", content="double")
    mill.deploy(INNER, "f/flows/inner")
    put_variable(mill.connection, "default", "f/a/v", "secret")
    put_resource(mill.connection, "default", "f/a/r", {"port": 1})
    value, args, expected = CASES[case]
    assert hall.run(value, args, options) == expected


@settings(generated, max_examples=EXAMPLES or 80)
@given(ANY_FLOW, st.integers(0, 2**16))
def test_any_flow_ends_as_the_oracle_says(hall: Hall, example: Any, seed: int) -> None:
    value, inner = example
    hall.mill.clear()
    for path, each in inner.items():
        hall.mill.deploy(each, path)
    chance = random.Random(seed)
    keepers = [hall.keeper(perform=run_script, chance=chance) for _ in range(1 + seed % 2)]
    options = WHOLE if seed % 3 == 0 else STEP
    flows = [hall.start(value, {"n": 2}, options) for _ in range(1 + seed % 2)]
    hall.play(*keepers, answer=answer_of)
    oracle = Oracle(evaluate, run_script, answer_of, inner, Counter())
    out = oracle.flow(value, {"n": 2})
    for job in flows:
        assert plain(hall.mill.ended(job)) == plain((out.status, out.result))
    expected = Counter({step: times * len(flows) for step, times in oracle.ran.items()})
    assert sum((keeper.ran for keeper in keepers), Counter()) == expected


# -- durable -------------------------------------------------------------------------------

CHAIN = flow(*[raw(f"s{n}", x=f"results.s{n - 1} + 1" if n else 0) for n in range(10)])


def test_the_next_step_is_handed_over_once_the_one_before_is_written(hall: Hall) -> None:
    job = hall.start(CHAIN)
    keeper = hall.keeper()
    look = hall.mill.floor.connect()
    keeper.begin()
    for number in range(10):
        written: list[Any] = []

        def watched(*given: Any, written: list[Any] = written) -> Any:
            assert keeper.held.to_hand == []
            written.append(None)
            return write_round(*given)

        with patch.object(held_flows, "write_round", watched):
            keeper.round()
        # Before the first one ends there is nothing that could be lost.
        assert len(written) == (number > 0)
        (step,) = keeper.hand
        assert step.step == f"s{number}"
        rows = look.execute("select step from mill.completed_job where parent_job = %s", [job]).fetchall()
        assert len(rows) == number
        state = look.execute("select (state->>1)::integer, state->>2 from mill.flow_run").fetchone()
        assert state == ((number, step.id) if number else None)
        keeper.run_some()
    keeper.round()
    assert hall.mill.ended(job) == ("success", 9)


def test_a_run_that_may_be_replayed_is_written_once(hall: Hall) -> None:
    flows = [hall.start(CHAIN, options=WHOLE) for _ in range(5)]
    keeper = hall.keeper()
    written: list[HeldRound] = []

    def watched(connection: Connection, told: HeldRound, holder: Holder) -> tuple[set[str], Written]:
        written.append(told)
        return write_round(connection, told, holder)

    with patch.object(held_flows, "write_round", watched):
        hall.play(keeper)
    assert len(written) == 1
    assert len(written[0].steps) == 50
    assert [hall.mill.ended(job) for job in flows] == [("success", 9)] * 5
    assert [row[0] for row in hall.mill.children(flows[0])] == [f"s{n}" for n in range(10)]


def test_many_flows_are_written_in_one_statement_a_round(hall: Hall) -> None:
    flows = [hall.start(CHAIN) for _ in range(50)]
    keeper = hall.keeper()
    written: list[HeldRound] = []

    def watched(connection: Connection, told: HeldRound, holder: Holder) -> tuple[set[str], Written]:
        written.append(told)
        return write_round(connection, told, holder)

    with patch.object(held_flows, "write_round", watched):
        hall.play(keeper)
    assert [told.is_simple for told in written] == [True] * 9 + [False]
    assert {hall.mill.ended(job) for job in flows} == {("success", 9)}


def play_disturbed(
    hall: Hall,
    disturb: Callable[[int], str],
    answer: Callable[[str], str] = lambda _: "approve",
    **options: Any,
) -> int:
    """Play with keepers that are dropped, or hear no reply, at a write; return how many writes there were."""
    writes = 0

    def disturbed(*given: Any) -> Any:
        nonlocal writes
        what = disturb(writes)
        writes += 1
        if what == "before":
            raise Dropped
        if what == "refused":
            raise psycopg.OperationalError("the database is away")
        done = write_round(*given)
        if what == "after":
            raise Dropped
        if what == "reply":
            raise psycopg.OperationalError("the reply is lost")
        return done

    keeper = hall.keeper(**options)
    with patch.object(held_flows, "write_round", disturbed):
        for _ in range(MOST_TURNS):
            try:
                moved = keeper.turn()
            except Dropped:
                hall.mill.rescue(keeper.holder.node)
                keeper = hall.keeper(**options)
                continue
            if not moved and not hall.mill.pass_time(answer):
                break
    assert not hall.mill.floor.value("select exists (select from mill.queue)"), hall.mill.open()
    hall.mill.check_clean()
    return writes


@pytest.mark.parametrize("options", [STEP, WHOLE], ids=["step", "flow"])
@pytest.mark.parametrize("name", RICH)
def test_dropped_at_any_write_the_flow_ends_the_same(hall: Hall, name: str, options: FlowOptions) -> None:
    hall.mill.deploy(INNER, "f/flows/inner")
    job = hall.start(RICH[name], {"n": 1}, options)
    writes = play_disturbed(hall, lambda _: "")
    expected = hall.mill.ended(job)
    assert writes > (5 if options is STEP else 0)
    for what in ("before", "after", "reply", "refused"):
        for at in range(writes):
            job = hall.mill.submit({"n": 1})
            play_disturbed(hall, lambda number, at=at, what=what: what if number == at else "")  # type: ignore[misc]
            assert hall.mill.ended(job) == expected, (what, at)


@settings(generated, max_examples=EXAMPLES or 40)
@given(ANY_FLOW, st.integers(0, 2**16))
def test_dropped_again_and_again_any_flow_ends_as_the_oracle_says(
    hall: Hall, example: Any, seed: int
) -> None:
    value, inner = example
    hall.mill.clear()
    for path, each in inner.items():
        hall.mill.deploy(each, path)
    chance = random.Random(seed)
    whats = ["", "", "", "", "", "before", "after", "reply", "refused"]
    job = hall.start(value, {"n": 2}, WHOLE if seed % 3 == 0 else STEP)
    play_disturbed(hall, lambda _: chance.choice(whats), answer_of, perform=run_script, chance=chance)
    out = Oracle(evaluate, run_script, answer_of, inner, Counter()).flow(value, {"n": 2})
    assert plain(hall.mill.ended(job)) == plain((out.status, out.result))


@pytest.mark.parametrize("name", RICH)
def test_another_worker_takes_over_after_every_round(hall: Hall, name: str) -> None:
    hall.mill.deploy(INNER, "f/flows/inner")
    job = hall.start(RICH[name], {"n": 1})
    hall.play(hall.keeper())
    expected = hall.mill.ended(job)
    job = hall.mill.submit({"n": 1})
    for _ in range(MOST_TURNS):
        keeper = hall.keeper()
        if not keeper.begin() and not hall.mill.pass_time():
            break
        keeper.round()
        if not keeper.hand and keeper.held.flows and keeper.fire():
            keeper.round()
        if keeper.hand:
            keeper.run_some()
            keeper.round()
        keeper.release()
    hall.mill.check_clean()
    assert hall.mill.ended(job) == expected


@settings(generated, max_examples=EXAMPLES or 40)
@given(ANY_FLOW, st.integers(0, 2**16))
def test_whoever_is_taken_for_dead_any_flow_ends_as_the_oracle_says(
    hall: Hall, example: Any, seed: int
) -> None:
    """Keepers whose flows are given to others while they go on; and others give theirs back."""
    value, inner = example
    hall.mill.clear()
    for path, each in inner.items():
        hall.mill.deploy(each, path)
    chance = random.Random(seed)
    keepers = [hall.keeper(perform=run_script, chance=chance) for _ in range(3)]
    options = WHOLE if seed % 3 == 0 else STEP
    flows = [hall.start(value, {"n": 2}, options) for _ in range(2)]
    for _ in range(MOST_TURNS):
        keeper = chance.choice(keepers)
        luck = chance.random()
        if luck < 0.08:
            hall.mill.rescue(keeper.holder.node)
        elif luck < 0.16:
            keeper.release()
        elif luck < 0.24:
            keeper.held.lost(frozenset(job.id for job in keeper.hand))
        elif luck < 0.32 and keeper.hand:
            keeper.held.give_back(keeper.hand.pop())
        moved = [each.turn() for each in keepers]
        if not any(moved) and not hall.mill.pass_time(answer_of):
            break
    hall.mill.check_clean()
    out = Oracle(evaluate, run_script, answer_of, inner, Counter()).flow(value, {"n": 2})
    for job in flows:
        assert plain(hall.mill.ended(job)) == plain((out.status, out.result))
    assert all(not keeper.held.flows for keeper in keepers)


# -- whose flow it is ----------------------------------------------------------------------


def test_nothing_is_written_of_a_flow_that_somebody_else_has_taken(hall: Hall) -> None:
    job, other = hall.start(CHAIN), hall.start(CHAIN)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    steps = {step.root_job: step for step in keeper.hand}
    hall.mill.floor.do(
        "update mill.queue set running = false, claim = null, node = null, worker = null where id = %s", job
    )
    keeper.run_some()
    keeper.round()
    assert keeper.held.stale == [job]
    assert hall.mill.children(job) == []
    assert len(hall.mill.children(other)) == 1
    assert [step.root_job for step in keeper.hand] == [other]
    assert steps[job].id not in keeper.to_cancel
    taker = hall.keeper()
    hall.play(taker, keeper)
    assert [hall.mill.ended(each) for each in (job, other)] == [("success", 9)] * 2


def test_steps_of_a_flow_that_is_not_ours_any_more_are_cancelled(hall: Hall) -> None:
    value = flow(loop("l", 3, raw("a", x=1), parallel=True))
    job = hall.start(value)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    first, second, third = keeper.hand
    hall.mill.floor.do("update mill.queue set claim = %s where id = %s", new_id(), job)
    keeper.held.hear(keeper.outcome(first))
    keeper.hand = []
    keeper.round()
    assert sorted(keeper.to_cancel) == sorted([second.id, third.id])
    assert not keeper.held.owns(second.id)
    assert hall.mill.children(job) == []
    assert keeper.held.out == 1


def test_a_flow_that_was_taken_between_claim_and_begin_is_left_alone(hall: Hall) -> None:
    job = hall.start(CHAIN)
    keeper = hall.keeper()
    claimed = keeper.claim()
    hall.mill.rescue(keeper.holder.node)
    other = hall.keeper()
    assert other.begin()
    assert keeper.held.begin(keeper.connection, claimed) == []
    keeper.round()
    (first,) = keeper.hand
    keeper.held.hear(keeper.outcome(first))
    keeper.round()
    assert keeper.held.flows == {}
    assert keeper.held.out == 1
    assert hall.mill.children(job) == []
    hall.play(other)
    assert hall.mill.ended(job) == ("success", 9)


@pytest.mark.parametrize("options", [STEP, WHOLE], ids=["step", "flow"])
def test_a_flow_whose_result_is_refused_fails_alone(hall: Hall, options: FlowOptions) -> None:
    flows = [hall.start(CHAIN, options=options) for _ in range(5)]
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    bad = keeper.hand.pop(2)
    keeper.held.hear(Outcome(bad, Verdict.SUCCESS, b'{"broken', 5, monotonic()))
    hall.play(keeper)
    ends = {job: hall.mill.ended(job) for job in flows}
    status, result = ends.pop(str(bad.root_job))
    assert (status, result["error"]["name"]) == ("failure", "InternalError")
    assert set(ends.values()) == {("success", 9)}


@pytest.mark.parametrize("bodies", ["in a row", "side by side"])
def test_a_flow_that_is_refused_deep_inside_leaves_nothing(hall: Hall, bodies: str) -> None:
    inside = [raw("a", x=1), raw("b", x=1)]
    job = hall.start(flow(loop("l", 2, *inside, parallel=bodies == "side by side"), raw("c")))
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    keeper.run_some()
    keeper.round()
    assert hall.mill.floor.value("select count(*) from mill.flow_run") > 1
    bad = keeper.hand.pop()
    keeper.held.hear(Outcome(bad, Verdict.SUCCESS, b'{"broken', 5, monotonic()))
    hall.play(keeper)
    assert hall.mill.ended(job)[0] == "failure"


def test_an_outage_in_the_middle_of_finding_a_refused_row_loses_nothing(hall: Hall) -> None:
    flows = [hall.start(CHAIN) for _ in range(4)]
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    bad = keeper.hand.pop(1)
    keeper.held.hear(Outcome(bad, Verdict.SUCCESS, b'{"broken', 5, monotonic()))
    keeper.run_some()
    calls = 0

    def away(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        done = write_round(*given)
        if calls in {2, 4}:
            raise psycopg.OperationalError("the reply is lost")
        return done

    with patch.object(held_flows, "write_round", away):
        keeper.round()
    hall.play(keeper)
    assert Counter(hall.mill.ended(job)[0] for job in flows) == Counter(success=3, failure=1)


# -- cancelled -----------------------------------------------------------------------------


def test_a_flow_that_is_cancelled_ends_once_its_steps_have(hall: Hall) -> None:
    value = flow(loop("l", 3, raw("a", x=1), raw("b"), parallel=True), raw("c"))
    job = hall.start(value)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    jobs.cancel_job(hall.mill.connection, "default", job, by="u/mia", reason="no more")
    keeper.held.cancel([job])
    assert sorted(keeper.to_cancel) == sorted(step.id for step in keeper.hand)
    first, *others = keeper.hand
    keeper.hand = []
    keeper.held.hear(keeper.outcome(first))
    keeper.round()
    assert keeper.hand == []
    for step in others:
        keeper.held.hear(Outcome(step, Verdict.CANCELLED, b"null", 5, monotonic()))
    keeper.round()
    assert not keeper.held.flows
    hall.mill.check_clean()
    status, result = hall.mill.ended(job)
    assert (status, result["error"]["canceler"]) == ("cancelled", "u/mia")
    statuses = Counter(
        row[0] for row in hall.mill.floor.rows("select status from mill.completed_job where id <> %s", job)
    )
    assert statuses == Counter(success=1, cancelled=5)


def test_a_flow_that_rests_is_cancelled_by_who_takes_it(hall: Hall) -> None:
    job = hall.start(flow(raw("a", x=1, sleep=static(1e5)), raw("b")))
    keeper = hall.keeper()
    hall.until_rest(keeper)
    assert not keeper.held.flows
    jobs.cancel_job(hall.mill.connection, "default", job, by="u/mia")
    taker = hall.keeper()
    assert taker.begin()
    taker.round()
    hall.mill.check_clean()
    assert hall.mill.ended(job)[0] == "cancelled"


def test_a_step_that_waits_for_its_next_attempt_ends_with_its_flow(hall: Hall) -> None:
    job = hall.start(flow(raw("a", "fail", retry=again(1, 60)), raw("b")))
    keeper = hall.keeper()
    hall.until_rest(keeper)
    assert keeper.hand == []
    assert keeper.held.flows
    jobs.cancel_job(hall.mill.connection, "default", job, by="u/mia")
    keeper.held.cancel([job])
    keeper.round()
    assert not keeper.held.flows
    keeper.fire()
    keeper.round()
    assert keeper.hand == []
    hall.mill.check_clean()
    assert hall.mill.ended(job)[0] == "cancelled"


# -- pauses --------------------------------------------------------------------------------


def test_a_flow_that_sleeps_rests_in_the_queue(hall: Hall) -> None:
    job = hall.start(flow(raw("a", x=1, sleep=static(90)), raw("b", x="results.a + 1")))
    keeper = hall.keeper()
    hall.until_rest(keeper)
    assert not keeper.held.flows
    assert keeper.held.out == 1
    left, running, claim = hall.mill.floor.row(
        "select extract(epoch from scheduled_for - now())::float8, running, claim from mill.queue"
    )
    assert 80 < left <= 90
    assert (running, claim) == (False, None)
    hall.play(hall.keeper())
    assert hall.mill.ended(job) == ("success", 2)


def test_pauses_of_every_kind_of_number_rest_together(hall: Hall) -> None:
    paused = [
        [raw("a", sleep=static(90)), raw("b", x=1)],
        [raw("c", sleep=static(0.5)), raw("d", x=1)],
        [raw("e", suspend={"required_events": 1, "timeout": 30}), raw("f", x=1)],
    ]
    assert hall.run(flow(every("p", *paused, parallel=True))) == ("success", [1, 1, 1])


def test_a_body_that_sleeps_beside_one_that_works_stays_in_hand(hall: Hall) -> None:
    value = flow(
        every("e", [raw("a", sleep=static(90)), raw("b", x=1)], [raw("c"), raw("d", x=2)], parallel=True)
    )
    job = hall.start(value)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    step = next(step for step in keeper.hand if step.step == "a")
    keeper.hand.remove(step)
    keeper.held.hear(keeper.outcome(step))
    keeper.round()
    assert keeper.held.flows
    assert [round(seconds) for seconds, _, _ in keeper.timers] == [90]
    keeper.fire()
    keeper.round()
    assert sorted(str(step.step) for step in keeper.hand) == ["b", "c"]
    hall.play(keeper)
    assert hall.mill.ended(job) == ("success", [1, 2])


def test_who_takes_over_a_body_that_sleeps_beside_one_that_works_wakes_it_in_time(hall: Hall) -> None:
    value = flow(
        every("e", [raw("a", sleep=static(90)), raw("b", x=1)], [raw("c"), raw("d", x=2)], parallel=True)
    )
    job = hall.start(value)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    step = next(step for step in keeper.hand if step.step == "a")
    keeper.held.hear(keeper.outcome(step))
    keeper.hand = []
    keeper.round()
    keeper.release()
    taker = hall.keeper()
    taker.begin()
    taker.round()
    assert [str(step.step) for step in taker.hand] == ["c"]
    ((seconds, _, _),) = taker.timers
    assert 80 < seconds <= 90
    taker.fire()
    taker.round()
    assert sorted(str(step.step) for step in taker.hand) == ["b", "c"]
    hall.play(taker)
    assert hall.mill.ended(job) == ("success", [1, 2])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("parallel", [False, True])
def test_who_takes_over_bodies_whose_pause_is_over_ends_what_is_around_them(
    hall: Hall, count: int, parallel: bool
) -> None:
    inside = [raw("a", x="flow_input.iter.value"), raw("b", x="results.a", sleep=static(9))]
    value = flow(loop("l", 1, loop("m", count, *inside, parallel=parallel), identity("i"), parallel=True))
    job = hall.start(value)
    for _ in range(2 * count):
        keeper = hall.keeper()
        hall.until_rest(keeper)
        hall.mill.pass_time()
    hall.play(hall.keeper())
    assert hall.mill.ended(job) == ("success", [list(range(count))])
    assert len(hall.mill.floor.rows("select from mill.completed_job where step = 'b'")) == count


def test_an_old_timer_ends_no_later_sleep(hall: Hall) -> None:
    value = flow(
        every("e", [raw("a", sleep=static(90)), raw("b", x=1)], [raw("c"), raw("d", x=2)], parallel=True)
    )
    hall.start(value)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    step = next(step for step in keeper.hand if step.step == "a")
    keeper.hand.remove(step)
    keeper.held.hear(keeper.outcome(step))
    keeper.round()
    ((_, job, what),) = keeper.timers
    keeper.held.wake(job, what)  # nowhere near its time
    keeper.round()
    assert [str(step.step) for step in keeper.hand] == ["c"]
    hall.play(keeper)
    assert hall.mill.ended(job) == ("success", [1, 2])


@pytest.mark.parametrize("said", ["approve", "refuse", "time_out"])
def test_an_approval(hall: Hall, said: str) -> None:
    job = hall.start(flow(raw("a", suspend={"required_events": 1, "timeout": 60}), raw("b", x="resume")))
    keeper = hall.keeper()
    hall.until_rest(keeper)
    assert not keeper.held.flows
    hall.play(keeper, answer=lambda _: said)
    status, result = hall.mill.ended(job)
    name = {"refuse": "SuspendedDisapproved", "time_out": "SuspendedTimedOut"}.get(said)
    assert (status, result if name is None else result["error"]["name"]) == (
        ("success", "yes") if name is None else ("failure", name)
    )


def test_an_answer_that_comes_while_the_flow_works_is_kept(hall: Hall) -> None:
    job = hall.start(flow(raw("a", suspend={"required_events": 1}), raw("b", x="resume")))
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    hall.mill.answer(job, value="early")
    hall.until_rest(keeper)
    hall.until_rest(keeper)
    assert hall.mill.ended(job) == ("success", "early")


def test_an_answer_at_the_moment_the_flow_comes_to_rest_is_heard(hall: Hall) -> None:
    value = flow(raw("first"), raw("a", suspend={"required_events": 1}), raw("b", x="resume"))
    job = hall.start(value)
    keeper = hall.keeper()
    keeper.connection = hall.mill.floor.connect()
    keeper.begin()
    keeper.round()
    keeper.run_some()
    keeper.round()
    keeper.run_some()
    with keeper.connection.transaction():
        keeper.round()
        rival = hall.mill.floor.rival(
            lambda own: flow_control.resume_flow(
                own, "default", job, "just now", "ruben", approved=True, resume_id=None
            )
        )
        assert rival.waits()
    rival.result()
    hall.until_rest(keeper)
    hall.mill.check_clean()
    assert hall.mill.ended(job) == ("success", "just now")


# -- attempts ------------------------------------------------------------------------------


def test_a_step_whose_own_policy_tries_again_is_one_job(hall: Hall) -> None:
    job = hall.start(flow(raw("a", "fail 2", x=4), raw("b", x="results.a")))
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    for attempt in (1, 2):
        (step,) = keeper.hand
        assert step.attempt == attempt
        keeper.hand = []
        keeper.held.hear_logs([LogChunk(step.id, "default", attempt, 0, f"attempt {attempt}\n")])
        keeper.held.hear_retrial(Retrial(keeper.outcome(step), 7.0))
        keeper.round()
        assert keeper.hand == []
        ((seconds, _, _),) = keeper.timers
        assert seconds == 7.0
        keeper.fire()
        keeper.round()
    (step,) = keeper.hand
    hall.play(keeper)
    assert hall.mill.ended(job) == ("success", 4)
    kept = jobs.job_attempts(hall.mill.connection, "default", step.id)
    assert [(each.attempt, each.error["error"]["name"]) for each in kept] == [(1, "Boom"), (2, "Boom")]
    assert hall.mill.floor.job(step.id).attempt == 3
    assert [chunk.text for chunk in read_logs(hall.mill.connection, "default", step.id)] == [
        "attempt 1\n",
        "attempt 2\n",
    ]


def test_an_attempt_whose_reply_was_lost_is_kept_once(hall: Hall) -> None:
    hall.start(flow(raw("a", "fail 1", x=4)))
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    (step,) = keeper.hand
    keeper.hand = []
    keeper.held.hear_retrial(Retrial(keeper.outcome(step), 7.0))
    calls = 0

    def lost(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        done = write_round(*given)
        if calls == 1:
            raise psycopg.OperationalError("the reply is lost")
        return done

    with patch.object(held_flows, "write_round", lost):
        keeper.round()
    hall.play(keeper)
    assert len(jobs.job_attempts(hall.mill.connection, "default", step.id)) == 1


def test_a_step_that_waits_for_its_next_attempt_is_not_lost(hall: Hall) -> None:
    """Nobody has it in hand, and that is as it should be."""
    hall.start(flow(raw("a", "fail 1", x=4, retry=again(1, 60))))
    keeper = hall.keeper()
    hall.until_rest(keeper)
    keeper.held.lost(frozenset())
    keeper.round()
    assert keeper.hand == []
    keeper.fire()
    keeper.held.lost(frozenset())
    keeper.round()
    assert len(keeper.hand) == 1
    hall.play(keeper)
    assert keeper.ran["a"] == 2


def test_a_step_that_nobody_has_is_started_again(hall: Hall) -> None:
    job = hall.start(CHAIN)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    (step,) = keeper.hand
    keeper.hand = []
    keeper.held.lost(frozenset([step.id]))
    keeper.round()
    assert keeper.hand == []
    keeper.held.lost(frozenset())
    keeper.round()
    assert [each.id for each in keeper.hand] == [step.id]
    hall.play(keeper)
    assert hall.mill.ended(job) == ("success", 9)
    assert keeper.ran["s0"] == 1


def test_a_step_that_comes_back_is_handed_over_again_once(hall: Hall) -> None:
    job = hall.start(CHAIN)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    (step,) = keeper.hand
    keeper.hand = []
    keeper.held.give_back(step)
    keeper.held.lost(frozenset())
    keeper.round()
    assert keeper.hand == []
    keeper.fire()
    keeper.round()
    assert [each.id for each in keeper.hand] == [step.id]
    hall.play(keeper)
    assert hall.mill.ended(job) == ("success", 9)


# -- what is inside ------------------------------------------------------------------------


def test_every_step_is_a_job_of_its_own(hall: Hall) -> None:
    job = hall.start(
        flow(raw("a", x="flow_input.n"), loop("l", 2, raw("b", x="flow_input.iter.value"))), {"n": 3}
    )
    keeper = hall.keeper()
    hall.play(keeper)
    rows = hall.mill.floor.rows(
        "select id::text, step, iteration, path, args::text, result::text, duration_us, worker, attempt, status "
        "from mill.completed_job where parent_job = %s order by step, iteration",
        job,
    )
    assert [(*row[1:4], *row[6:]) for row in rows] == [
        ("a", None, f"{PATH}/a", 5, "w", 1, "success"),
        ("l", 0, f"{PATH}/b", 5, "w", 1, "success"),
        ("l", 1, f"{PATH}/b", 5, "w", 1, "success"),
    ]
    assert [row[0] for row in rows] == keeper.handed
    assert [(json.loads(row[4]), json.loads(row[5])) for row in rows] == [
        ({"x": 3}, 3),
        ({"x": 0}, 0),
        ({"x": 1}, 1),
    ]


def test_the_state_of_a_long_loop_does_not_grow(hall: Hall) -> None:
    count = 1000
    job = hall.start(
        flow(loop("l", "flow_input.items", raw("a", x="flow_input.iter.value"))), {"items": [1] * count}
    )
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    largest = 0
    while keeper.hand:
        keeper.run_some()
        keeper.round()
        rows = hall.mill.floor.rows("select octet_length(state::text) from mill.flow_run")
        largest = max([largest, *(row[0] for row in rows)])
        texts = sum(len(held.values._texts) for held in keeper.held.flows.values())
        assert texts < 10
    assert largest < 130
    hall.mill.check_clean()
    assert hall.mill.ended(job) == ("success", [1] * count)


def test_a_script_by_path_is_the_version_of_the_moment(hall: Hall) -> None:
    hall.mill.floor.deploy("f/a/what", content="double")
    hall.start(flow(raw("a", x=4), script("b", "f/a/what", x=4), script("c", "f/a/what", x=4)))
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    keeper.run_some()
    keeper.round()
    assert hall.mill.content(keeper.hand[0].script) == "double"
    hall.mill.floor.deploy("f/a/what", content="echo")
    keeper.run_some()
    keeper.round()
    assert hall.mill.content(keeper.hand[0].script) == "echo"
    hall.play(keeper)


def test_a_restart_uses_what_was_before(hall: Hall) -> None:
    value = flow(
        raw("a", x=1), loop("l", 3, raw("b", x="flow_input.iter.value")), raw("c", "sum", x="results.l")
    )
    old = hall.start(value)
    hall.play(hall.keeper())
    new = hall.mill.submit(restart=Restart(old, "l", 2))
    keeper = hall.keeper()
    hall.play(keeper)
    assert hall.mill.ended(new) == ("success", 3)
    assert keeper.ran == Counter(b=1, c=1)


def test_a_restart_that_is_begun_twice_ends_the_same(hall: Hall) -> None:
    value = flow(loop("l", 3, raw("b", x="flow_input.iter.value")), raw("c", "sum", x="results.l"))
    old = hall.start(value)
    hall.play(hall.keeper())
    new = hall.mill.submit(restart=Restart(old, "c"))
    dead = hall.keeper()
    dead.begin()
    hall.mill.rescue(dead.holder.node)
    keeper = hall.keeper()
    for _ in range(MOST_TURNS):
        if not keeper.turn():
            break
    assert hall.mill.ended(new) == ("success", 3)


@pytest.mark.parametrize("options", [STEP, FlowOptions()], ids=["dedicated", "same_worker"])
def test_a_part_of_a_flow_that_goes_through_the_queue_is_not_held(hall: Hall, options: FlowOptions) -> None:
    """Its steps have rows of their own there, and its parent hears of its end by a settle."""
    inner = flow(raw("p", x=1, sleep=static(50)), raw("q", x="results.p + 1"))
    inner["same_worker"] = not options.dedicated
    hall.mill.deploy(inner, "f/flows/inner", options=options)
    job = hall.start(flow(nested("n"), raw("b", x="results.n")), options=None)
    worker = hall.mill.worker()
    while worker.turn():
        pass
    assert hall.mill.pass_time()
    keeper = hall.keeper()
    claimed = keeper.claim()
    assert [each.root_job for each in claimed] == [job]
    assert keeper.held.begin(keeper.connection, claimed) == claimed
    assert keeper.held.flows == {}
    claims.release_jobs(hall.mill.connection, [(each.id, each.claim) for each in claimed])
    hall.mill.play(worker)
    hall.mill.check_clean()
    assert hall.mill.ended(job) == ("success", 2)


# -- the folder of a flow ------------------------------------------------------------------

SHARING = flow(
    raw("a", x=1), loop("l", 2, raw("b", x=1), parallel=True), raw("c", sleep=static(5)), raw("d", x=4)
)
SHARING["same_worker"] = True


def test_the_steps_of_a_flow_share_a_folder_until_it_ends(hall: Hall) -> None:
    job = hall.start(SHARING, options=None)
    keeper = hall.keeper()
    hall.until_rest(keeper)
    folder = hall.folder / "shared" / job
    assert folder.is_dir()
    assert keeper.ran == Counter(a=1, b=2, c=1)
    hall.play(keeper)
    assert not folder.exists()
    assert hall.mill.ended(job) == ("success", 4)


def test_every_step_is_told_the_folder(hall: Hall) -> None:
    job = hall.start(SHARING, options=None)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    seen = set()
    while keeper.hand:
        seen |= {step.shared for step in keeper.hand}
        keeper.run_some()
        keeper.round()
    assert seen == {str(hall.folder / "shared" / job)}


@pytest.mark.parametrize("same_machine", [True, False])
def test_a_flow_whose_folder_was_lost_fails(hall: Hall, tmp_path: Path, same_machine: bool) -> None:
    job = hall.start(SHARING, options=None)
    keeper = hall.keeper()
    keeper.begin()
    keeper.round()
    keeper.run_some()
    keeper.round()
    hall.mill.rescue(keeper.holder.node)
    taker = Keeper(hall.mill, hall.folder if same_machine else tmp_path / "other")
    hall.play(taker)
    status, result = hall.mill.ended(job)
    if same_machine:
        assert (status, result) == ("success", 4)
    else:
        assert status == "failure"
        assert "folder" in result["error"]["message"]
