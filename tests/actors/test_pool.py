"""Which Runner gets which job, who gives way, and how much work the worker wants."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.actors import pool as pool_module
from mill_actors.actors.pool import Handle, Pool, Version
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.script import Script, make_script
from tests.actors.stage import make_job, make_jobs

A, B, C = (make_script("default", f"f/test/{name}", "python3", f"def main(): {name}") for name in "abc")


def version(script: Script) -> Version:
    return (script.workspace, script.hash)


def jobs_of(script: Script, count: int) -> list[ClaimedJob]:
    return make_jobs(count, script=script.hash)


class Now:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    time = Now()
    monkeypatch.setattr(pool_module, "monotonic", time)
    return time


class Numbered:
    """A pool whose Runners are only numbers."""

    def __init__(self, processes: int = 2) -> None:
        self.pool = Pool(processes, 0.02)
        self.count = 0

    def add(self, script: Script, width: int = 1, *, ready: bool = True) -> Handle:
        self.count += 1
        ref: Any = object()
        handle = self.pool.add(self.count, ref, script)
        handle.ready = ready
        handle.window.average_us = 20_000 / width
        return handle

    def dispatch(self) -> dict[int, int]:
        """Do as the Puller does."""
        shares = Counter[int]()
        for handle, share in self.pool.plan():
            taken = self.pool.take(version(handle.script), share)
            handle.in_flight += len(taken)
            shares[handle.number] += len(taken)
        return dict(shares)


# -- sharing ---------------------------------------------------------------------------


def test_jobs_are_shared_evenly() -> None:
    fleet = Numbered()
    fleet.add(A, 10)
    fleet.add(A, 10)
    fleet.pool.hold(jobs_of(A, 7))
    assert sorted(fleet.dispatch().values()) == [3, 4]


def test_the_one_with_less_gets_more() -> None:
    fleet = Numbered()
    busy, free = fleet.add(A, 10), fleet.add(A, 10)
    busy.in_flight = 8
    fleet.pool.hold(jobs_of(A, 20))
    assert fleet.dispatch() == {free.number: 10, busy.number: 2}


def test_a_runner_gets_only_its_own_version() -> None:
    fleet = Numbered()
    fleet.add(A, 10)
    fleet.pool.hold(jobs_of(B, 3))
    assert fleet.dispatch() == {}


@pytest.mark.parametrize("state", ["retiring", "slow", "full"])
def test_a_runner_without_room_gets_nothing(state: str) -> None:
    fleet = Numbered()
    handle = fleet.add(A, 10)
    handle.in_flight = 1
    if state == "retiring":
        handle.retiring = True
    elif state == "slow":
        handle.is_slow = True
    else:
        handle.in_flight = 10
    fleet.pool.hold(jobs_of(A, 3))
    assert fleet.dispatch() == {}


def test_a_slow_runner_that_is_free_gets_one() -> None:
    fleet = Numbered()
    fleet.add(A, 10).is_slow = True
    fleet.pool.hold(jobs_of(A, 3))
    assert fleet.dispatch() == {1: 1}


RUNNERS = st.lists(
    st.tuples(st.sampled_from([A, B]), st.integers(1, 50), st.integers(0, 60), st.booleans()), max_size=6
)


@given(RUNNERS, st.integers(0, 120), st.integers(0, 120))
def test_no_runner_gets_more_than_it_has_room_for_and_none_is_left_out(
    runners: list[tuple[Script, int, int, bool]], of_a: int, of_b: int
) -> None:
    fleet = Numbered()
    for script, _, in_flight, retiring in runners:
        handle = fleet.add(script)
        handle.in_flight, handle.retiring = in_flight, retiring
    for handle, (_, width, _, _) in zip(fleet.pool.handles.values(), runners, strict=True):
        handle.window.average_us = 20_000 / width  # one window a version: the last one counts
    room = {number: handle.room for number, handle in fleet.pool.handles.items()}
    fleet.pool.hold([*jobs_of(A, of_a), *jobs_of(B, of_b)])
    shares = fleet.dispatch()
    assert all(share <= room[number] for number, share in shares.items())
    for script, count in ((A, of_a), (B, of_b)):
        numbers = [h.number for h in fleet.pool.runners_of(version(script))]
        given_out = sum(shares.get(number, 0) for number in numbers)
        assert given_out == min(count, sum(room[number] for number in numbers))


# -- holding ---------------------------------------------------------------------------


def test_what_comes_back_goes_in_front_in_its_order() -> None:
    pool = Pool(2, 0.02)
    first, second = jobs_of(A, 2), jobs_of(A, 3)
    pool.hold(second)
    pool.hold(first, front=True)
    assert pool.take(version(A), 10) == [*first, *second]


def test_a_cancelled_job_is_taken_out_wherever_it_is() -> None:
    pool = Pool(2, 0.02)
    a, b = jobs_of(A, 3), jobs_of(B, 1)
    pool.hold([*a, *b])
    assert pool.take_cancelled(frozenset([a[1].id, b[0].id, make_job().id])) == [a[1], b[0]]
    assert pool.take(version(A), 10) == [a[0], a[2]]
    assert not pool.waiting


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["hold", "front", "take", "cancel"]), st.sampled_from([A, B]), st.integers(0, 6)
    ),
    max_size=30,
)


@given(OPERATIONS)
def test_the_hand_is_a_list_by_version(operations: list[tuple[str, Script, int]]) -> None:
    pool = Pool(2, 0.02)
    model: dict[Version, list[ClaimedJob]] = {version(A): [], version(B): []}
    for what, script, count in operations:
        mine = model[version(script)]
        if what == "hold":
            new = jobs_of(script, count)
            pool.hold(new)
            mine += new
        elif what == "front":
            new = jobs_of(script, count)
            pool.hold(new, front=True)
            mine[:0] = new
        elif what == "take" and mine:
            assert pool.take(version(script), count) == mine[:count]
            del mine[:count]
        elif what == "cancel":
            doomed = mine[::2]
            assert pool.take_cancelled(frozenset(job.id for job in doomed)) == doomed
            del mine[::2]
        assert pool.in_hand == sum(map(len, model.values()))
        assert all(queue.jobs for queue in pool.waiting.values()), "no empty queue is left behind"


# -- appetite --------------------------------------------------------------------------


def test_every_free_place_wants_one_job() -> None:
    assert Pool(3, 0.02).appetite == 3


def test_a_busy_runner_wants_its_window() -> None:
    fleet = Numbered(processes=3)
    fleet.add(A, 10).in_flight = 1
    assert fleet.pool.appetite == 10 + 2


def test_a_slow_runner_wants_nothing_more(now: Now) -> None:
    fleet = Numbered(processes=1)
    handle = fleet.add(A, 10)
    handle.in_flight, handle.is_slow = 1, True
    assert fleet.pool.appetite == fleet.pool.in_hand


def test_a_retiring_runner_wants_nothing() -> None:
    fleet = Numbered(processes=1)
    fleet.add(A, 10).retiring = True
    assert fleet.pool.appetite == 0


def test_a_runner_that_was_idle_counts_as_a_place(now: Now) -> None:
    fleet = Numbered(processes=1)
    fleet.add(A, 10)
    assert fleet.pool.appetite == 10
    now.time += 2 * pool_module.WARM_SECONDS
    assert fleet.pool.appetite == 1


def test_pinned_runners_take_no_place() -> None:
    fleet = Numbered(processes=1)
    fleet.add(A).pinned = True
    assert not fleet.pool.is_full
    fleet.add(B)
    assert fleet.pool.is_full


@given(RUNNERS, st.integers(1, 4), st.integers(0, 30))
def test_an_idle_worker_is_never_without_appetite(
    runners: list[tuple[Script, int, int, bool]], processes: int, waiting: int
) -> None:
    """If all are idle and none retires, there is demand: or nobody would ever claim again."""
    fleet = Numbered(processes)
    for script, width, _, _ in runners:
        fleet.add(script, width)
    assert fleet.pool.appetite >= 1
    assert fleet.pool.appetite - fleet.pool.in_hand >= fleet.pool.appetite // 4


# -- giving way ------------------------------------------------------------------------


def test_the_one_that_was_idle_longest_gives_way(now: Now) -> None:
    fleet = Numbered(4)
    handles = [fleet.add(A), fleet.add(B), fleet.add(C), fleet.add(C)]
    for handle, idle_since in zip(handles, (5.0, 3.0, 4.0, 1.0), strict=True):
        handle.idle_since = idle_since
    handles[3].in_flight = 1
    assert fleet.pool.evictable() is handles[1]
    handles[1].pinned = True
    assert fleet.pool.evictable() is handles[2]


def test_who_imports_or_works_does_not_give_way() -> None:
    fleet = Numbered()
    fleet.add(A, ready=False)
    fleet.add(B).in_flight = 1
    assert fleet.pool.evictable() is None


def test_the_script_with_most_runners_gives_one() -> None:
    fleet = Numbered(3)
    fleet.add(B)
    first = fleet.add(A)
    fleet.add(A)
    assert fleet.pool.victim(version(C)) is first


def test_nobody_gives_way_to_himself() -> None:
    fleet = Numbered()
    fleet.add(A)
    assert fleet.pool.victim(version(A)) is None


def test_whose_job_may_take_hours_gives_way_last() -> None:
    fleet = Numbered()
    fleet.add(A).is_slow = True
    quick = fleet.add(B)
    assert fleet.pool.victim(version(C)) is quick


def test_one_that_takes_long_to_give_way_is_not_waited_for(now: Now) -> None:
    fleet = Numbered()
    handle = fleet.add(A)
    handle.retiring, handle.retired_at = True, now.time
    assert fleet.pool.is_making_room(0.5)
    now.time += 1.0
    assert not fleet.pool.is_making_room(0.5)


def test_a_replaced_version_goes_when_nothing_is_left_for_it() -> None:
    fleet = Numbered()
    handle = fleet.add(A)
    handle.obsolete = True
    fleet.pool.hold(jobs_of(A, 1))
    assert fleet.pool.obsolete() == []
    fleet.dispatch()
    assert fleet.pool.obsolete() == []
    handle.in_flight = 0
    assert fleet.pool.obsolete() == [handle]
    handle.retiring = True
    assert fleet.pool.obsolete() == []


# -- processes that do not come up -----------------------------------------------------


def test_failures_to_start_back_off_and_are_forgotten(now: Now) -> None:
    fleet = Numbered()
    pauses = []
    for _ in range(6):
        fleet.pool.remove(fleet.add(A, ready=False).number)
        began = now.time
        while not fleet.pool.may_start(version(A)):
            now.time += 0.25
        pauses.append(now.time - began)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert fleet.pool.may_start(version(B))
    fleet.pool.remove(fleet.add(A, ready=True).number)
    fleet.pool.remove(fleet.add(A, ready=False).number)
    now.time += 0.5
    assert fleet.pool.may_start(version(A))


def test_the_import_error_is_known_until_it_may_be_tried_again(now: Now) -> None:
    fleet = Numbered()
    handle = fleet.add(A, ready=False)
    fleet.pool.broke(version(A), b"why")
    assert fleet.pool.import_error(version(A)) is None
    fleet.pool.remove(handle.number)
    assert fleet.pool.import_error(version(A)) == b"why"
    now.time += 1.0
    assert fleet.pool.import_error(version(A)) is None


def test_one_that_was_told_to_end_did_not_fail_to_start() -> None:
    fleet = Numbered()
    handle = fleet.add(A, ready=False)
    handle.retiring = True
    fleet.pool.remove(handle.number)
    assert fleet.pool.may_start(version(A))
    assert fleet.pool.remove(handle.number) is None
