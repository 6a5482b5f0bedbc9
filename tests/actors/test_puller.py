"""The Puller alone: demand, claims, who gets what, and what happens to what gets stuck."""

from __future__ import annotations

import json
from time import monotonic

import pytest

from mill_actors.actors import claiming, dispatching, reconciling
from mill_actors.actors import pool as pool_module
from mill_actors.actors.messages import (
    CancelRequested,
    Deployed,
    Outcomes,
    Poll,
    Progress,
    Reconcile,
    Release,
    Returned,
    Settled,
    Wake,
)
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.lifecycle import Action
from mill_actors.jobs.outcome import Verdict
from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from supervisors import Timer, send_after, stop
from tests.actors.yard import Hand, Yard, Yarder
from tests.system.proxy import Proxy, wait_until


def ids(jobs: list[ClaimedJob]) -> list[str]:
    return [job.id for job in jobs]


def a_busy_runner(yard: Yard, name: str = "a", us_each: int = 100) -> tuple[Hand, list[ClaimedJob]]:
    """Start a Runner and teach the Puller how long its jobs take; it is idle then."""
    yard.deploy(name)
    yard.submit(1, name)
    yard.tell(Wake())
    hand = yard.hand()
    _, jobs = yard.run()
    yard.ready(hand)
    yard.finish(hand, jobs, us_each)
    return hand, jobs


# -- demand ----------------------------------------------------------------------------


def test_it_claims_no_more_than_there_are_places(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.deploy()
    submitted = yard.submit(50)
    yard.start()
    hand = yard.hand()
    number, jobs = yard.run()
    assert (number, ids(jobs)) == (hand.number, submitted[:1])
    yard.settle()
    assert yard.held() == set(submitted[:2])
    yard.ready(hand)
    assert yard.hand().number == 2  # the second place, once the first Runner is up
    yard.settle()
    assert len(yard.held()) == 2


def test_it_claims_what_its_runners_work_off_in_time(yards: Yarder) -> None:
    yard = yards(processes=1, prefetch_seconds=0.02)
    yard.start()
    a_busy_runner(yard, us_each=992)  # 20 a window
    yard.submit(100)
    yard.wake()
    assert len(yard.run()[1]) == 20
    assert len(yard.held()) == 20


def test_long_jobs_are_not_hoarded(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.start()
    a_busy_runner(yard, us_each=10_000_000)
    yard.submit(100)
    yard.wake()
    assert len(yard.run()[1]) == 1
    assert len(yard.held()) == 1


def test_credits_are_new_claims(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard, us_each=1992)  # 10 a window
    yard.submit(30)
    yard.tell(Wake())
    seen = 0
    while seen < 30:
        _, jobs = yard.run()
        seen += len(jobs)
        assert len(hand.held) <= 11
        yard.finish(hand, jobs, 1992)
    assert yard.held() == set()


def test_a_full_completer_stops_the_claims(yards: Yarder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "MAX_UNSETTLED", 15)
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard, us_each=1992)
    yard.submit(100)
    yard.tell(Wake())
    claimed: list[ClaimedJob] = []
    for _ in range(2):
        jobs = yard.run()[1]
        claimed += jobs
        hand.held.clear()
        yard.tell(Progress(hand.number, len(jobs), 1992 * len(jobs)))
        yard.settle()
    assert len(claimed) == 20  # done by the Runner, and not settled
    assert yard.runs.empty()
    yard.tell(Settled(20, 0))
    assert len(yard.run()[1]) == 10


def test_big_results_stop_the_claims_too(yards: Yarder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "MAX_UNSETTLED_BYTES", 1000)
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard)
    yard.submit(1)
    yard.wake()
    yard.run()
    yard.tell(Progress(hand.number, 1, 100, 2000))
    yard.submit(5)
    yard.wake()
    assert yard.runs.empty()
    yard.tell(Settled(1, 2000))
    assert yard.run()[1]


def test_a_node_that_was_declared_dead_claims_nothing(yards: Yarder) -> None:
    yard = yards()
    yard.deploy()
    yard.start()
    yard.settle()
    yard.context.fenced.set()
    yard.submit(3)
    yard.wake()
    assert yard.held() == set()


# -- attention -------------------------------------------------------------------------


def test_a_ring_for_other_tags_is_nothing(yards: Yarder) -> None:
    yard = yards()
    yard.deploy()
    yard.start()
    yard.settle()
    yard.submit(1)
    yard.tell(Wake(frozenset(["gpu"])))
    yard.settle()
    assert yard.held() == set()
    yard.tell(Wake(frozenset(["gpu", "python3"])))
    yard.settle()
    assert len(yard.held()) == 1


def test_a_poll_finds_what_nobody_rang_for(yards: Yarder) -> None:
    yard = yards(poll_seconds=0.05)
    yard.deploy()
    yard.start()
    yard.settle()
    yard.submit(1)
    assert yard.run()[1]


def test_a_scheduled_job_is_claimed_when_it_falls_due(yards: Yarder) -> None:
    yard = yards()
    yard.deploy()
    yard.start()
    yard.settle()
    began = monotonic()
    (job,) = yard.submit(1, scheduled_in_seconds=0.4)
    yard.wake()
    _, jobs = yard.run()
    assert ids(jobs) == [job]
    assert 0.35 < monotonic() - began < 2.0


def test_higher_priority_first(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.deploy()
    low = yard.submit(2)
    high = yard.submit(2, priority=50)
    yard.start()
    hand = yard.hand()
    seen = []
    for _ in range(4):
        _, jobs = yard.run()
        yard.ready(hand)
        seen += ids(jobs)
        yard.finish(hand, jobs, 10_000_000)
    assert seen == [*high, *low]


def test_tags_take_turns(yards: Yarder) -> None:
    yard = yards(processes=1, tags=("one", "two"))
    yard.deploy()
    one, two = set(yard.submit(4, tag="one")), set(yard.submit(4, tag="two"))
    yard.start()
    hand = yard.hand()
    seen = []
    for _ in range(8):
        _, jobs = yard.run()
        if not hand.is_ready:
            yard.ready(hand)
        seen += ["one" if job.id in one else "two" for job in jobs]
        yard.finish(hand, jobs, 10_000_000)
    assert set(seen[:2]) == {"one", "two"}
    assert one
    assert two


# -- Runners ---------------------------------------------------------------------------


def test_jobs_behind_a_slow_one_go_to_another_runner(yards: Yarder, monkeypatch: pytest.MonkeyPatch) -> None:
    # However long this machine takes: a Runner that was idle for a while is not trusted with many.
    monkeypatch.setattr("mill_actors.actors.pool.WARM_SECONDS", 1e6)
    yard = yards(processes=2)
    yard.start()
    first, _ = a_busy_runner(yard)
    yard.submit(10)
    yard.wake()
    number, jobs = yard.run()
    assert number == first.number
    yard.give_back(first, jobs[1:])
    second = yard.hand()
    number, _ = yard.run()
    assert number == second.number
    yard.ready(second)
    seen: list[str] = []
    while len(seen) < 9:
        seen += ids(list(second.held))
        yard.finish(second, list(second.held))
    assert sorted(seen) == sorted(ids(jobs[1:]))
    assert ids(first.held) == ids(jobs[:1])
    yard.finish(first, jobs[:1], 1_000)  # it is quick again
    yard.submit(100)
    yard.wake()
    assert len(first.held) > 1


def test_a_runner_that_had_not_even_begun_gets_its_jobs_again(yards: Yarder) -> None:
    """A process that was not scheduled for a moment gives everything back, and is not lost for it."""
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard)
    yard.submit(3)
    yard.wake()
    _, jobs = yard.run()
    yard.give_back(hand, jobs)
    assert yard.run()[0] == hand.number


def test_a_runner_that_ends_gets_nothing_more(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard)
    yard.submit(5)
    yard.wake()
    _, jobs = yard.run()
    yard.give_back(hand, jobs, ends=True)
    assert yard.runs.empty()
    yard.end(hand)
    assert yard.run()[0] == yard.hand().number


def test_what_lay_in_the_inbox_of_a_runner_that_ended_is_given_back_at_once(yards: Yarder) -> None:
    """Run behind the PortExit: nobody has read it, and the database says that we hold it."""
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard)
    submitted = yard.submit(5)
    yard.wake()
    _, jobs = yard.run()
    assert sorted(ids(jobs)) == sorted(submitted)
    yard.end(hand)
    yard.hand()
    _, again = yard.run()
    assert again[0].id in submitted
    assert again[0].claim != jobs[0].claim
    assert again[0].attempt == 1


@pytest.mark.parametrize("crash", [False, True])
def test_the_end_of_one_runner_takes_nothing_from_another(yards: Yarder, crash: bool) -> None:
    yard = yards(processes=2)
    yard.start()
    first, _ = a_busy_runner(yard, "a", us_each=10_000_000)
    second, _ = a_busy_runner(yard, "b", us_each=10_000_000)
    kept = yard.submit(1, "a")
    lost = yard.submit(1, "b")
    yard.wake()
    began = dict(yard.run() for _ in range(2))
    claim = began[first.number][0].claim
    assert (ids(began[first.number]), ids(began[second.number])) == (kept, lost)
    yard.end(second, crash=crash)
    assert ids(yard.run()[1]) == lost
    yard.settle()
    row = yard.look.execute("select claim::text from mill.queue where id = %s", kept).fetchone()
    assert row == (claim,)


def test_the_one_idle_longest_gives_way(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.start()
    first, _ = a_busy_runner(yard, "a")
    a_busy_runner(yard, "b")
    a_busy_runner(yard, "c")
    assert yard.drained.get(timeout=10.0) == first.number
    assert yard.drained.empty()


def test_a_script_without_a_runner_gets_a_turn_under_load(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard, "a", us_each=10_000_000)
    yard.submit(3, "a")
    yard.wake()
    yard.run()
    yard.deploy("b")
    (job,) = yard.submit(1, "b", priority=100)
    # The one that runs is told to end after its job, once the newcomer has waited for a moment …
    yard.tell(Wake())
    hand.is_obedient = True
    yard.finish(hand, list(hand.held), 10_000_000)
    wait_until(lambda: not yard.drained.empty(), "somebody gives way")
    while True:
        _, jobs = yard.run()
        if job in ids(jobs):
            break


def test_a_version_that_does_not_exist_fails_its_job(yards: Yarder) -> None:
    yard = yards()
    yard.deploy()
    (job,) = yard.submit(1)
    yard.look.execute("update mill.queue set script = 'ffffffffffffffff'")
    yard.start()
    wait_until(lambda: not yard.told.empty(), "an outcome")
    (told,) = yard.heard()
    assert isinstance(told, Outcomes)
    assert [o.job.id for o in told.finished] == [job]
    assert json.loads(told.finished[0].result)["error"]["name"] == "ScriptNotFound"


# -- processes that do not come up -----------------------------------------------------

ERROR = b'{"error":{"name":"ImportError","message":"no module named pandas","stack":"line 1"}}'


def outcomes(yard: Yard) -> list[Outcomes]:
    return [told for told in yard.heard() if isinstance(told, Outcomes)]


def test_a_broken_script_fails_all_its_jobs_with_its_own_error(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.deploy()
    submitted = yard.submit(40)
    yard.start()
    hand = yard.hand()
    _, jobs = yard.run()
    yard.broke(hand, jobs, ERROR)
    failed: dict[str, bytes] = {}

    def all_failed() -> bool:
        for told in outcomes(yard):
            failed.update({o.job.id: o.result for o in told.finished})
        return len(failed) == 39

    wait_until(all_failed, "every job that waited has failed")
    assert set(failed.values()) == {ERROR}
    assert set(failed) == set(submitted) - set(ids(jobs))
    assert yard.hands.empty(), "the script is not imported once a job"


def test_a_broken_script_keeps_nobody_from_their_place(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.deploy("bad")
    yard.deploy("good")
    yard.submit(100, "bad")
    good = yard.submit(3, "good")
    yard.start()
    while True:
        hand = yard.hand()
        _, jobs = yard.run()
        if hand.script.path == "f/test/good":
            assert jobs[0].id in good
            break
        yard.broke(hand, jobs, ERROR)


def test_a_broken_script_is_tried_again_after_a_pause(yards: Yarder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "FIRST_BACKOFF_SECONDS", 0.05)
    yard = yards(processes=1)
    yard.deploy()
    yard.submit(1)
    yard.start()
    hand = yard.hand()
    yard.broke(hand, yard.run()[1], ERROR)
    wait_until(lambda: _came_up_again(yard), "a second try")


def _came_up_again(yard: Yard) -> bool:
    yard.submit(1)
    yard.wake()
    return not yard.hands.empty()


def test_jobs_of_a_broken_script_are_tried_again_as_it_says(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.deploy(retry=RetryPolicy(ConstantRetry(1, 30.0)))
    yard.submit(2)
    yard.start()
    hand = yard.hand()
    yard.broke(hand, yard.run()[1], ERROR)
    (told,) = outcomes(yard)
    assert [(r.outcome.result, r.delay_seconds) for r in told.retried] == [(ERROR, 30.0)]


def test_one_broken_process_beside_a_sound_one_fails_nobody(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.start()
    first, _ = a_busy_runner(yard, us_each=10_000_000)
    yard.submit(4)
    yard.wake()
    second = yard.hand()
    yard.run()
    yard.broke(second, list(second.held), ERROR)
    assert outcomes(yard) == []
    assert len(first.held) == 1


def test_a_process_that_cannot_be_started_fails_its_jobs(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.deploy()
    yard.spawn_error = FileNotFoundError("no such interpreter")
    submitted = yard.submit(2)
    yard.start()
    wait_until(lambda: not yard.told.empty(), "outcomes")
    failed = {o.job.id: json.loads(o.result)["error"] for told in outcomes(yard) for o in told.finished}
    assert set(failed) <= set(submitted)
    for error in failed.values():
        assert error["name"] == "StartFailed"
        assert "no such interpreter" in error["message"]


def test_runners_whose_supervisor_crashed_are_nobodys_fault(yards: Yarder) -> None:
    """Jobs fail for what their scripts do, never for what happens to us."""
    yard = yards()
    yard.deploy()
    yard.start()
    yard.settle()
    assert yard.runners is not None
    stop(yard.runners)
    yard.submit(2)
    yard.wake()
    assert outcomes(yard) == []


# -- cancels ---------------------------------------------------------------------------


def test_a_job_in_hand_is_cancelled_here_and_others_are_told(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.deploy()
    submitted = yard.submit(2)
    yard.start()
    hand = yard.hand()
    yard.run()
    yard.settle()  # the second job waits for the first Runner to be ready
    yard.tell(CancelRequested(frozenset(submitted)))
    (told,) = outcomes(yard)
    assert [(o.job.id, o.verdict) for o in told.finished] == [(submitted[1], Verdict.CANCELLED)]
    assert yard.cancels.get(timeout=10.0) == (hand.number, frozenset(submitted[:1]))


# -- dedicated -------------------------------------------------------------------------


def test_dedicated_scripts_are_up_before_their_first_job(yards: Yarder) -> None:
    yard = yards(dedicated=("f/test/a", "default:f/test/b"), processes=1)
    for name in "abc":
        yard.deploy(name, dedicated=True)
    yard.start()
    assert {yard.hand().script.path for _ in range(2)} == {"f/test/a", "f/test/b"}
    yard.settle()
    assert yard.hands.empty()
    row = yard.look.execute("select tags from mill.node").fetchone()
    assert row is not None
    assert set(row[0]) == {"python3", "bun", "flow", "default:f/test/a", "default:f/test/b"}


def test_a_star_pins_all(yards: Yarder) -> None:
    yard = yards(dedicated=("*",))
    for name in "abc":
        yard.deploy(name, dedicated=True)
    yard.start()
    assert {yard.hand().script.path for _ in range(3)} == {"f/test/a", "f/test/b", "f/test/c"}


def test_pinned_processes_take_nobodys_place_and_give_none(yards: Yarder) -> None:
    yard = yards(dedicated=("f/test/a",), processes=1)
    yard.deploy("a", dedicated=True)
    yard.start()
    yard.ready(yard.hand())
    a_busy_runner(yard, "b")
    a_busy_runner(yard, "c")
    assert yard.drained.get(timeout=10.0) == 2
    assert yard.drained.empty()


def test_a_new_version_is_pinned_and_the_old_one_drained(yards: Yarder) -> None:
    yard = yards(dedicated=("f/test/a",))
    old = yard.deploy("a", dedicated=True)
    yard.start()
    first = yard.hand()
    yard.ready(first)
    new = yard.deploy("a", "2", dedicated=True)
    yard.tell(Deployed("default:f/test/a"))
    second = yard.hand()
    assert (first.script.hash, second.script.hash) == (old.hash, new.hash)
    assert yard.drained.get(timeout=10.0) == first.number


def test_the_old_version_of_a_script_that_is_not_dedicated_goes_too(yards: Yarder) -> None:
    yard = yards(processes=3)
    yard.start()
    old, _ = a_busy_runner(yard, "a")
    other, _ = a_busy_runner(yard, "b")
    (late,) = yard.submit(1, "a", scheduled_in_seconds=1e6)
    yard.deploy("a", "2")
    yard.tell(Deployed("default:f/test/a"))
    assert yard.drained.get(timeout=10.0) == old.number
    yard.settle()
    assert yard.drained.empty(), other
    # A job of the old version that comes still has a process of its own version, which then goes.
    yard.look.execute("update mill.queue set scheduled_for = now() where id = %s", [late])
    yard.wake()
    _, jobs = yard.run()
    again = yard.hand()
    assert again.script == old.script
    yard.ready(again)
    yard.finish(again, jobs)
    assert yard.drained.get(timeout=10.0) == again.number


def test_going_back_to_a_version_keeps_its_process(yards: Yarder) -> None:
    yard = yards()
    yard.start()
    hand, _ = a_busy_runner(yard, "a")
    yard.submit(1)
    yard.wake()
    _, jobs = yard.run()
    for body in ("2", "1"):
        yard.deploy("a", body)
        yard.tell(Deployed("default:f/test/a"))
    yard.finish(hand, jobs)
    assert yard.drained.empty()


def test_jobs_of_the_old_version_are_worked_off_by_it(yards: Yarder) -> None:
    yard = yards(dedicated=("f/test/a",))
    yard.deploy("a", dedicated=True)
    yard.start()
    first = yard.hand()
    yard.ready(first)
    yard.submit(1)
    yard.wake()
    number, jobs = yard.run()
    assert number == first.number
    yard.deploy("a", "2", dedicated=True)
    yard.tell(Deployed("default:f/test/a"))
    yard.ready(yard.hand())
    assert yard.drained.empty()
    yard.finish(first, jobs)
    assert yard.drained.get(timeout=10.0) == first.number


def test_a_pinned_process_that_dies_is_started_again(yards: Yarder) -> None:
    yard = yards(dedicated=("f/test/a",))
    yard.deploy("a", dedicated=True)
    yard.start()
    first = yard.hand()
    yard.ready(first)
    yard.end(first)
    assert yard.hand().script == first.script


def test_a_deployment_whose_ring_was_lost_is_found_by_the_poll(yards: Yarder) -> None:
    yard = yards(dedicated=("*",))
    yard.start()
    yard.settle()
    yard.deploy("a", dedicated=True)
    yard.tell(Poll())
    assert yard.hand().script.path == "f/test/a"


# -- what gets stuck -------------------------------------------------------------------


def test_a_row_that_nobody_holds_is_given_back(yards: Yarder) -> None:
    """As after a crash between the claim and the dispatch."""
    yard = yards(processes=1)
    yard.deploy()
    (job,) = yard.submit(1)
    yard.look.execute(
        "update mill.queue set running = true, node = %s, claim = gen_random_uuid(), worker = 'test/worker'",
        [yard.context.node],
    )
    yard.start()
    assert ids(yard.run()[1]) == [job]


def test_rows_in_somebodys_hands_are_not_given_back(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.start()
    hand, _ = a_busy_runner(yard)
    submitted = yard.submit(4)
    yard.wake()
    _, jobs = yard.run()
    claims = {job.id: job.claim for job in jobs}
    # One is with the Runner, one in the Completer, one comes back just now, one waits here.
    hand.held[:] = jobs[:1]
    yard.in_completer = frozenset([jobs[1].id])
    hand.returns = 1
    hand.actor_ref.tell(lambda self: setattr(self, "held", [jobs[0], jobs[2]]))  # it still names it
    yard.tell(Reconcile())
    yard.tell(Returned(hand.number, [jobs[2], jobs[3]], 1))
    hand.actor_ref.tell(lambda self: setattr(self, "held", [jobs[0], jobs[2], jobs[3]]))
    yard.settle()
    rows = yard.look.execute("select id::text, claim::text from mill.queue where running").fetchall()
    assert {row[0]: row[1] for row in rows}.items() >= {(job, claims[job]) for job in ids(jobs[:2])}
    assert len(submitted) == 4


def test_outages_leave_one_reconciliation_pending(
    yards: Yarder, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of them would leave one more query every 30 s, for good."""
    timers: list[Timer] = []

    def record(delay: float, target: object, message: object) -> Timer:
        timer = send_after(delay, target, message)  # type: ignore[arg-type]  # as it came
        if isinstance(message, Reconcile):
            timers.append(timer)
        return timer

    monkeypatch.setattr(reconciling, "send_after", record)
    yard = yards()
    yard.start()
    yard.settle()
    proxy.shut()
    for _ in range(5):
        yard.tell(Reconcile())
    yard.settle()
    proxy.open()
    assert len(timers) > 5
    assert sum(timer.is_pending for timer in timers) == 1


def test_a_count_that_went_wrong_does_not_stop_the_claims_for_good(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.deploy()
    yard.start()
    yard.settle()
    actor = yard.ref.actor()
    assert actor is not None
    actor._unsettled = 1_000_000
    (job,) = yard.submit(1)
    yard.wake()
    assert yard.held() == set()
    yard.tell(Reconcile())
    assert ids(yard.run()[1]) == [job]


def test_a_script_that_nobody_needs_is_forgotten(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard, "a")
    actor = yard.ref.actor()
    assert actor is not None
    assert len(actor._scripts) == 1
    yard.end(hand)
    yard.settle()
    wait_until(lambda: not actor._scripts, "its script is forgotten")


def test_a_job_that_finds_no_runner_goes_back_to_the_queue(
    yards: Yarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "RELEASE_SECONDS", 0.15)
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard)
    hand.is_obedient = False  # it drains, but its job goes on and on
    yard.deploy("b")
    (running,) = yard.submit(1)
    (waiting,) = yard.submit(1, "b")
    yard.wake()
    assert ids(yard.run()[1]) == [running]
    wait_until(lambda: waiting in released(yard), "it is given back")
    assert yard.drained.get(timeout=10.0) == hand.number


# -- crashes ---------------------------------------------------------------------------


def test_a_new_puller_adopts_the_runners_of_the_old_one(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard, us_each=1992)
    yard.submit(5)
    yard.wake()
    _, jobs = yard.run()
    first = yard.ref
    first.tell("nonsense")
    assert first.exited.wait(10.0)
    yard.start()
    yard.settle()
    assert yard.hands.empty()
    assert hand.puller == yard.ref
    assert len(hand.held) == 5
    assert yard.held() == set(ids(jobs))
    yard.finish(hand, jobs)
    more = yard.submit(1)
    yard.wake()
    assert ids(yard.run()[1]) == more


def test_what_waited_in_a_puller_that_crashed_goes_back(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.deploy()
    submitted = yard.submit(2)
    yard.start()
    yard.hand()
    yard.run()
    yard.settle()
    assert yard.held() == set(submitted)
    yard.ref.tell("nonsense")
    assert yard.ref.exited.wait(10.0)
    assert released(yard) == submitted[1:]


def released(yard: Yard) -> list[str]:
    """What the Completer was told to give back."""
    return [job.id for told in yard.heard() if isinstance(told, Release) for job in told.jobs]


def test_a_crash_between_the_claim_and_the_dispatch_strands_nothing(
    yards: Yarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard = yards(processes=2)
    yard.start()
    hand, _ = a_busy_runner(yard)
    kept = yard.submit(1)
    yard.wake()
    assert ids(yard.run()[1]) == kept

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("between the claim and the dispatch")

    with monkeypatch.context() as patch:
        patch.setattr(pool_module.Pool, "hold", crash)
        claimed = yard.submit(3)
        first = yard.ref
        first.tell(Wake())
        assert first.exited.wait(10.0)
    assert yard.held() >= set(claimed)
    before = claims_of(yard)
    yard.start()
    wait_until(lambda: not any(claims_of(yard).get(job) == before[job] for job in claimed), "they are let go")
    assert claims_of(yard)[kept[0]] == before[kept[0]]
    assert ids(hand.held) == kept


def claims_of(yard: Yard) -> dict[str, str]:
    rows = yard.look.execute("select id::text, claim::text from mill.queue where running").fetchall()
    return dict(rows)


def test_a_runner_that_drains_is_adopted_as_that(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard)
    hand.is_draining = True
    yard.ref.tell("nonsense")
    assert yard.ref.exited.wait(10.0)
    yard.start()
    yard.submit(1)
    yard.wake()
    assert hand.held == []


# -- outages ---------------------------------------------------------------------------


def test_a_claim_whose_reply_was_lost_is_asked_for_what_it_holds(yards: Yarder, proxy: Proxy) -> None:
    yard = yards(processes=1)
    yard.start()
    hand, _ = a_busy_runner(yard, us_each=1992)
    submitted = yard.submit(5)
    lost = proxy.lose_reply("mill puller")
    yard.wake()
    _, jobs = yard.run()
    assert lost.is_set()
    assert ids(jobs) == submitted
    assert len({job.claim for job in jobs}) == 1
    assert len(hand.held) == 5
    assert yard.claims.get(timeout=10.0).action is Action.CLAIM


def test_a_scheduled_job_is_not_forgotten_because_a_look_ahead_failed(yards: Yarder, proxy: Proxy) -> None:
    yard = yards()
    yard.deploy()
    (job,) = yard.submit(1, scheduled_in_seconds=0.3)
    lost = proxy.lose_reply("mill puller", b"next_due")
    yard.start()
    assert ids(yard.run()[1]) == [job]
    assert lost.is_set()


def test_it_waits_for_a_database_that_is_away(yards: Yarder, proxy: Proxy) -> None:
    yard = yards(processes=1)
    yard.start()
    a_busy_runner(yard)
    submitted = yard.submit(2)
    proxy.shut()
    yard.tell(Wake())
    yard.tell(Reconcile())
    proxy.open()
    seen: list[str] = []
    while len(seen) < 2:
        seen += ids(yard.run()[1])
    assert seen == submitted
    assert yard.ref.is_alive()


def test_a_stop_does_not_wait_for_a_database_that_is_away(yards: Yarder, proxy: Proxy) -> None:
    yard = yards(processes=1)
    yard.deploy()
    yard.start()
    yard.settle()
    proxy.shut()
    yard.tell(Wake())
    assert stop(yard.ref, timeout=15.0)


# -- stopping --------------------------------------------------------------------------


def test_a_stop_drains_the_runners_and_gives_back_what_waits(yards: Yarder) -> None:
    yard = yards(processes=2)
    yard.deploy()
    submitted = yard.submit(2)
    yard.start()
    hand = yard.hand()
    yard.run()
    yard.settle()
    assert stop(yard.ref, timeout=15.0)
    assert yard.drained.get(timeout=10.0) == hand.number
    assert released(yard) == submitted[1:]


def test_a_stop_waits_for_running_jobs_no_longer_than_a_hurry_allows(yards: Yarder) -> None:
    yard = yards(processes=1)
    yard.deploy()
    yard.submit(1)
    yard.start()
    hand = yard.hand()
    hand.is_obedient = False
    yard.run()
    yard.ref.life.stop_requested.set()
    assert not stop_soon(yard)
    yard.context.hurry.set()
    assert yard.ref.exited.wait(10.0)


def stop_soon(yard: Yard) -> bool:
    """Ask it to stop; whether it did at once."""
    from supervisors import request_stop

    request_stop(yard.ref)
    yard.drained.get(timeout=10.0)
    return yard.ref.exited.is_set()


def test_without_a_completer_nobody_waits_for_answers(yards: Yarder) -> None:
    """They would reach nobody: the jobs run again, and the sooner the better."""
    yard = yards(processes=1)
    yard.deploy()
    yard.submit(1)
    yard.start()
    hand = yard.hand()
    hand.is_obedient = False
    yard.run()
    assert yard.completer is not None
    stop(yard.completer)
    began = monotonic()
    assert stop(yard.ref, timeout=15.0)
    assert monotonic() - began < 4.0  # the grace is 5 s
