"""A Runner and its process: answers, deaths, cancels, and every way two messages can cross."""

from __future__ import annotations

import json

import pytest

from mill_actors.actors import runner as runner_module
from mill_actors.actors.messages import (
    Adopt,
    Adopted,
    Cancel,
    Drain,
    Holding,
    Progress,
    Ready,
    Returned,
    Run,
)
from mill_actors.jobs.outcome import Verdict
from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.jobs.script import ScriptOptions
from supervisors import NORMAL, stop
from supervisors.testing import Probe, Signals
from tests.actors.stage import Stager, make_job, make_jobs

TRY_TWICE = ScriptOptions(retry=RetryPolicy(constant=ConstantRetry(1, 0.5)))


def ids(jobs: object) -> list[str]:
    return [job.id for job in jobs]  # type: ignore[attr-defined]  # jobs of any kind


# -- answers ---------------------------------------------------------------------------


def test_a_job_becomes_a_frame_and_its_answer_an_outcome(stage: Stager) -> None:
    on = stage()
    job = make_job(args='{"x": 1}')
    on.run([job])
    assert on.process.take_permits() == [0]
    on.process.say(on.process.done(job, b'{"y":2}', us=77))
    assert on.settle() == frozenset()
    (outcome,) = on.finished
    assert (outcome.job, outcome.verdict, outcome.result, outcome.duration_us) == (
        job, Verdict.SUCCESS, b'{"y":2}', 77,
    )  # fmt: skip
    assert on.told(Progress) == [Progress(1, 1, 77, 7)]
    context, run = on.process.frames
    assert context[1]["WM_USERNAME"] == "admin"
    assert run[:5] == ["run", 0, job.id, job.claim, {"x": 1}]


def test_a_step_of_a_flow_is_told_whose_it_is(stage: Stager) -> None:
    on = stage()
    flow, root = make_job().id, make_job().id
    step = make_job(args='{"x": "$var:u/ann/x"}', filled='{"x": 1}', parent_job=flow, root_job=root, step="a")
    on.run([make_job(), step])
    plain, run = [frame for frame in on.process.frames if frame[0] == "run"]
    assert len(plain) == 6
    assert (run[2], run[4]) == (step.id, {"x": 1})
    assert run[6] == {"WM_FLOW_JOB_ID": flow, "WM_ROOT_FLOW_JOB_ID": root, "WM_FLOW_STEP_ID": "a"}


def test_the_context_is_sent_when_the_user_changes(stage: Stager) -> None:
    on = stage()
    jobs = [make_job(created_by=user) for user in ("u/ann", "u/ann", "u/bob")]
    on.run(jobs)
    assert [frame[0] for frame in on.process.frames] == ["context", "run", "run", "context", "run"]


def test_ready_is_told_to_the_puller(stage: Stager) -> None:
    on = stage()
    assert [told.runner for told in on.told(Ready)] == [1]


def test_a_failure_is_tried_again_as_the_script_says(stage: Stager) -> None:
    on = stage(options=TRY_TWICE)
    first, last = make_job(attempt=1), make_job(attempt=2)
    on.run([first, last])
    on.process.take_permits(2)
    on.process.say(on.process.fail(first), on.process.fail(last))
    on.settle()
    assert ids(o.job for o in on.retried) == [first.id]
    assert ids(o.job for o in on.finished) == [last.id]


def test_a_job_has_a_policy_of_its_own(stage: Stager) -> None:
    on = stage(options=TRY_TWICE)
    job = make_job(retry={})
    on.run([job])
    on.process.take_permits()
    on.process.say(on.process.fail(job))
    on.settle()
    assert ids(o.job for o in on.finished) == [job.id]


def test_an_answer_for_a_job_it_does_not_hold_is_nothing(stage: Stager) -> None:
    on = stage()
    mine, stranger = make_job(), make_job()
    on.run([mine])
    on.process.take_permits()
    forged = make_job(id=mine.id)  # the right job, another claim
    on.process.say(on.process.done(stranger), on.process.done(forged), on.process.done(mine))
    on.settle()
    assert ids(o.job for o in on.finished) == [mine.id]


def test_answers_beside_a_line_that_is_none_count(stage: Stager) -> None:
    """What one job writes into the pipe must not cost the others their results."""
    on = stage()
    jobs = make_jobs(4)
    on.run(jobs)
    on.process.take_permits(3)
    on.process.say(on.process.done(jobs[0]), b"hello", on.process.done(jobs[1]))
    assert on.settle() == frozenset(ids(jobs[2:]))
    on.process.say(b"no newline, and then " + on.process.done(jobs[2]))
    assert on.settle() == {jobs[3].id}
    assert on.process.kills == 0
    assert [(o.job.id, o.verdict) for o in on.finished] == [(job.id, Verdict.SUCCESS) for job in jobs[:3]]


@pytest.mark.parametrize(
    "line",
    [
        b'["done"]',
        b"[]",
        b"\xff\xfe",
        b'["done","a","b","c","d",null]',
        b'["ready","x",0]',
        b"{}",
        b"\0" * 100,
    ],
)
def test_any_nonsense_is_no_answer_and_does_no_harm(stage: Stager, line: bytes) -> None:
    on = stage()
    job = make_job()
    on.run([job])
    on.process.take_permits()
    on.process.say(line)
    assert on.settle() == {job.id}
    on.process.say(on.process.done(job))
    on.settle()
    assert [o.verdict for o in on.finished] == [Verdict.SUCCESS]


@pytest.mark.parametrize("kind", ["ready", "broken"])
def test_a_process_says_only_once_how_its_import_went(stage: Stager, kind: str) -> None:
    """Later it is user code that says so, which could fail the jobs of others."""
    on = stage()
    running, waiting = make_jobs(2)
    on.run([running, waiting])
    on.process.take_permits()
    on.process.print("out\n")
    on.process.say(b'["ready",0,0]' if kind == "ready" else on.process.broken())
    assert on.settle() == {running.id, waiting.id}
    assert on.finished == []
    on.process.say(on.process.done(running))
    on.settle()
    assert on.logs() == {running.id: "out\n"}


def test_endless_nonsense_ends_the_process(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(2)
    on.run(jobs)
    on.process.take_permits()
    on.process.say(*[b"nonsense"] * 200)
    on.settle()
    assert on.process.kills >= 1
    on.process.exit(signal=9)
    on.ended()
    assert on.ref.exit_reason == NORMAL
    assert {job: error["name"] for job, error in on.errors().items()} == {jobs[0].id: "ProtocolBroken"}
    assert ids(on.returned) == [jobs[1].id]


def test_an_answer_that_was_torn_fails_its_job_and_no_other(stage: Stager) -> None:
    on = stage()
    torn, other = make_jobs(2)
    on.run([torn, other])
    on.process.take_permits(2)
    whole = on.process.done(torn, b'"xxxxxxxx"')
    on.process.say(whole[:-5] + b"\0" + whole[-5:], on.process.done(other))
    on.settle()
    assert {o.job.id: o.verdict for o in on.finished} == {
        torn.id: Verdict.FAILURE, other.id: Verdict.SUCCESS,
    }  # fmt: skip


@pytest.mark.parametrize(("out", "us"), [(-5, 10), (1 << 70, 10), (0, -1), (0, 1 << 70)])
def test_forged_numbers_hurt_nobody(stage: Stager, out: int, us: int) -> None:
    on = stage()
    first, second = make_jobs(2)
    on.run([first, second])
    on.process.take_permits(2)
    on.process.say(on.process.done(first, out=out, us=us))
    on.process.say(on.process.done(second))
    on.settle()
    for outcome in on.finished:
        assert 0 <= outcome.duration_us < 1 << 62


# -- the import ------------------------------------------------------------------------


def test_an_import_that_fails_fails_its_jobs_with_the_users_error(stage: Stager) -> None:
    on = stage(ready=False)
    jobs = make_jobs(3)
    on.run(jobs)
    on.process.print("half way through\n")
    on.process.say(on.process.broken("ImportError"))
    on.process.exit(code=1)
    on.ended()
    assert sorted(ids(o.job for o in on.finished)) == sorted(ids(jobs))
    assert {error["stack"] for error in on.errors().values()} == {"line 1"}
    assert "half way through\n" in on.logs().values()
    assert on.credited == 3


def test_jobs_that_come_after_the_broken_import_are_not_lost(stage: Stager) -> None:
    on = stage(ready=False)
    early, late = make_jobs(2)
    on.run([early])
    on.process.say(on.process.broken())
    on.run([late])
    on.process.exit(code=1)
    on.ended()
    assert sorted(ids(o.job for o in on.finished)) == sorted([early.id, late.id])


def test_a_process_that_dies_while_it_imports_fails_its_jobs(stage: Stager) -> None:
    on = stage(ready=False)
    jobs = make_jobs(2)
    on.run(jobs)
    on.process.exit(signal=11)
    on.ended()
    assert sorted(on.errors()) == sorted(ids(jobs))
    for error in on.errors().values():
        assert error["name"] == "ProcessDied"
        assert "signal 11" in error["message"]
        assert "imported" in error["message"]


def test_an_import_that_hangs_is_ended(stage: Stager) -> None:
    on = stage(ready=False, start_timeout_seconds=1e-6)
    job = make_job()
    on.run([job])
    on.tick()
    assert on.process.kills == 1
    on.process.exit(signal=9)
    on.ended()
    assert on.errors()[job.id]["name"] == "StartTimeout"


# -- deaths ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "signal", "words"), [(3, None, "exited with code 3"), (None, 11, "ended by signal 11")]
)
def test_a_death_fails_the_job_that_ran_and_no_other(
    stage: Stager, code: int | None, signal: int | None, words: str
) -> None:
    on = stage()
    jobs = make_jobs(3)
    on.run(jobs)
    on.process.take_permits(2)
    on.process.say(on.process.done(jobs[0]))
    on.process.exit(code=code, signal=signal)
    on.ended()
    assert ids(o.job for o in on.finished) == ids(jobs[:2])
    assert words in on.errors()[jobs[1].id]["message"]
    assert ids(on.returned) == [jobs[2].id]
    assert on.credited == 3


@pytest.mark.parametrize("why", ["closed its stdout", "a frame was longer than 100 bytes"])
def test_a_death_that_we_caused_says_what_for(stage: Stager, why: str) -> None:
    on = stage()
    job = make_job()
    on.run([job])
    on.process.take_permits()
    on.process.exit(signal=9, why=why)
    on.ended()
    assert on.errors()[job.id]["message"] == f"the process {why} while it ran this job"


def test_a_death_is_tried_again_as_the_script_says(stage: Stager) -> None:
    on = stage(options=TRY_TWICE)
    job = make_job()
    on.run([job])
    on.process.take_permits()
    on.process.exit(code=1)
    on.ended()
    assert ids(o.job for o in on.retried) == [job.id]


def test_an_idle_process_may_die(stage: Stager) -> None:
    on = stage()
    on.process.exit(code=0)
    on.ended()
    assert on.finished == []
    assert on.ref.exit_reason == NORMAL


def test_what_comes_for_a_process_that_was_killed_goes_back(stage: Stager) -> None:
    """Run crosses the death: killed, fed, and only then known to be dead."""
    on = stage()
    slow, late = make_job(timeout_seconds=1e-6), make_job()
    on.run([slow])
    on.process.take_permits()
    on.tick()
    on.run([late])
    on.process.exit(signal=9)
    on.ended()
    assert on.errors()[slow.id]["name"] == "Timeout"
    assert ids(on.returned) == [late.id]


def test_what_waits_is_given_back_when_the_puller_is_gone(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(2)
    on.run(jobs)
    on.process.take_permits()
    stop(on.puller)
    on.process.exit(code=1)
    on.ended()
    assert ids(on.released) == [jobs[1].id]


def test_a_runner_that_is_stopped_gives_everything_back(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(3)
    on.run(jobs)
    on.process.take_permits()
    stop(on.ref)
    assert sorted(ids(on.released)) == sorted(ids(jobs))
    assert on.process.kills >= 1
    assert on.process.is_closed


# -- slow jobs -------------------------------------------------------------------------


def test_what_waits_behind_a_slow_job_is_taken_back(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(4)
    on.run(jobs)
    on.process.take_permits()
    on.tick()
    assert ids(on.returned) == ids(jobs[1:])
    assert on.process.take_permits() == []
    on.process.say(on.process.done(jobs[0]))
    on.settle()
    assert ids(o.job for o in on.finished) == [jobs[0].id]


def test_a_job_that_could_not_begin_is_not_late(stage: Stager) -> None:
    """The process was not scheduled: the job goes elsewhere, and nobody is killed for it."""
    on = stage()
    job = make_job(timeout_seconds=1e-6)
    on.run([job])
    on.tick()
    assert on.process.kills == 0
    assert ids(on.returned) == [job.id]
    assert on.process.take_permits() == []


def test_what_was_returned_is_named_until_it_has_arrived(stage: Stager) -> None:
    on = stage()
    slow, first, second = make_jobs(3)
    on.run([slow, first])
    on.process.take_permits()
    on.tick()
    on.run([second])
    on.tick()
    assert [told.serial for told in on.told(Returned)] == [1, 2]
    named = [on.ref.ask(Holding(seen), timeout=10.0) for seen in (0, 1, 2)]
    assert named == [{slow.id, first.id, second.id}, {slow.id, second.id}, {slow.id}]


def test_a_process_that_starts_what_it_does_not_answer_is_ended(
    stage: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User code took permits that were not its own: those jobs would stand still for ever."""
    monkeypatch.setattr(runner_module, "MAX_DOUBTS", 3)
    on = stage()
    jobs = make_jobs(3)
    on.run(jobs)
    on.process.take_permits(3)
    for _ in range(3):
        on.tick()
    assert on.process.kills == 0
    on.tick()
    assert on.process.kills == 1
    on.process.exit(signal=9)
    on.ended()
    assert {error["name"] for error in on.errors().values()} == {"ProtocolBroken"}


def test_an_answer_ends_all_doubts(stage: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "MAX_DOUBTS", 3)
    on = stage()
    jobs = make_jobs(8)
    on.run(jobs)
    on.process.take_permits(8)
    for job in jobs[:5]:
        on.tick()
        on.tick()
        on.process.say(on.process.done(job))
    on.settle()
    assert on.process.kills == 0


def test_a_job_that_was_taken_back_may_come_again(stage: Stager) -> None:
    on = stage()
    slow, other = make_jobs(2)
    on.run([slow, other])
    on.process.take_permits()
    on.tick()
    on.run([other])
    on.process.say(on.process.done(slow))
    assert on.process.take_permits() == [2]  # not the number that was taken back
    on.process.say(on.process.done(other))
    on.settle()
    assert ids(o.job for o in on.finished) == [slow.id, other.id]


def test_a_timeout_ends_the_job_that_ran_and_no_other(stage: Stager) -> None:
    on = stage()
    slow = make_job(timeout_seconds=1e-6)
    waiting = make_jobs(2, timeout_seconds=1e-6)
    on.run([slow, *waiting])
    on.process.take_permits()
    on.tick()
    assert on.process.kills == 1
    on.process.exit(signal=9)
    on.ended()
    assert list(on.errors()) == [slow.id]
    assert "did not end within" in on.errors()[slow.id]["message"]
    assert ids(on.returned) == ids(waiting)


def test_an_answer_that_crosses_the_kill_counts(stage: Stager) -> None:
    on = stage()
    job = make_job(timeout_seconds=1e-6)
    on.run([job])
    on.process.take_permits()
    on.tick()
    on.process.say(on.process.done(job))  # it was in the pipe
    on.process.exit(signal=9)
    on.ended()
    assert [o.verdict for o in on.finished] == [Verdict.SUCCESS]


def test_nobody_is_blamed_for_the_time_of_the_one_before(stage: Stager) -> None:
    """The first has ended, its answer is on the way, the second has begun: it gets its own time."""
    on = stage()
    first = make_job(timeout_seconds=1e-6)
    second = make_job(timeout_seconds=1e6)
    on.run([first, second])
    on.process.take_permits(2)
    on.tick()
    on.process.say(on.process.done(first))
    on.settle()
    assert on.process.kills == 0
    on.process.say(on.process.done(second))
    on.settle()
    assert [o.verdict for o in on.finished] == [Verdict.SUCCESS] * 2


def test_a_job_that_began_between_the_sentence_and_the_kill_is_given_back(stage: Stager) -> None:
    on = stage()
    first = make_job(timeout_seconds=1e-6)
    on.run([first])
    on.process.take_permits()
    on.tick()  # the sentence: but the process has just answered, and takes what comes
    second = make_job()
    on.run([second])
    on.process.say(on.process.done(first))
    on.process.take_permits()
    on.process.exit(signal=9)
    on.ended()
    assert ids(o.job for o in on.finished) == [first.id]
    assert ids([*on.returned, *on.released]) == [second.id]


def test_too_much_memory_ends_the_job_that_ran(stage: Stager) -> None:
    on = stage(memory_mb=100)
    jobs = make_jobs(2)
    on.run(jobs)
    on.process.take_permits()
    on.process.used_mb = 150
    on.tick()
    on.process.exit(signal=9)
    on.ended()
    assert list(on.errors()) == [jobs[0].id]
    assert on.errors()[jobs[0].id]["name"] == "MemoryLimit"
    assert "150 MB" in on.errors()[jobs[0].id]["message"]
    assert ids(on.returned) == [jobs[1].id]


# -- cancels ---------------------------------------------------------------------------


def test_a_job_that_waits_is_cancelled_and_touches_no_other(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(4)
    on.run(jobs)
    on.process.take_permits()
    on.ref.tell(Cancel(frozenset([jobs[2].id])))
    on.settle()
    assert [(o.job.id, o.verdict) for o in on.finished] == [(jobs[2].id, Verdict.CANCELLED)]
    assert on.process.kills == 0
    assert on.process.take_permits(3) == [4, 5]
    for job in (jobs[0], jobs[1], jobs[3]):
        on.process.say(on.process.done(job))
    assert on.settle() == frozenset()
    assert [o.verdict for o in on.finished].count(Verdict.SUCCESS) == 3
    assert on.returned == on.released == []


def test_a_job_that_runs_is_cancelled_and_the_others_go_on_elsewhere(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(3)
    on.run(jobs)
    on.process.take_permits()
    on.ref.tell(Cancel(frozenset([jobs[0].id])))
    on.settle()
    assert ids(on.returned) == ids(jobs[1:])
    on.process.exit(signal=9)
    on.ended()
    assert [(o.job.id, o.verdict) for o in on.finished] == [(jobs[0].id, Verdict.CANCELLED)]


def test_running_and_waiting_are_cancelled_together(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(4)
    on.run(jobs)
    on.process.take_permits()
    on.ref.tell(Cancel(frozenset(ids(jobs[:3]))))
    on.settle()
    on.process.exit(signal=9)
    on.ended()
    assert sorted(ids(o.job for o in on.finished)) == ids(jobs[:3])
    assert {o.verdict for o in on.finished} == {Verdict.CANCELLED}
    assert ids(on.returned) == [jobs[3].id]
    assert on.credited == 4


def test_a_cancel_for_somebody_else_is_nothing(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(2)
    on.run(jobs)
    on.process.take_permits()
    on.ref.tell(Cancel(frozenset([make_job().id])))
    on.settle()
    assert on.process.kills == 0
    assert on.process.take_permits() == [1]


def test_a_cancel_that_crosses_the_answer_kills_nobody(stage: Stager) -> None:
    """The cancelled one has ended and the next one has begun: that one must not die for it."""
    on = stage()
    first, second = make_jobs(2)
    on.run([first, second])
    on.process.take_permits(2)
    on.ref.tell(Cancel(frozenset([first.id])))
    on.settle()
    assert on.process.kills == 0
    on.process.say(on.process.done(first), on.process.done(second))
    on.settle()
    assert [o.verdict for o in on.finished] == [Verdict.SUCCESS] * 2


def test_a_cancel_before_the_import_has_ended_starts_nothing(stage: Stager) -> None:
    on = stage(ready=False)
    jobs = make_jobs(2)
    on.run(jobs)
    on.ref.tell(Cancel(frozenset([jobs[0].id])))
    on.settle()
    assert [(o.job.id, o.verdict) for o in on.finished] == [(jobs[0].id, Verdict.CANCELLED)]
    on.process.say(on.process.ready())
    assert on.process.take_permits(2) == [2]


def test_a_cancelled_job_is_not_tried_again(stage: Stager) -> None:
    on = stage(options=TRY_TWICE)
    job = make_job()
    on.run([job])
    on.process.take_permits()
    on.ref.tell(Cancel(frozenset([job.id])))
    on.process.exit(signal=9)
    on.ended()
    assert on.retried == []
    assert [o.verdict for o in on.finished] == [Verdict.CANCELLED]


# -- draining --------------------------------------------------------------------------


def test_a_drain_lets_the_running_job_end(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(3)
    on.run(jobs)
    on.process.take_permits()
    on.ref.tell(Drain())
    assert on.settle() >= {jobs[0].id}
    on.process.say(on.process.done(jobs[0]))
    on.ended()
    assert ids(o.job for o in on.finished) == [jobs[0].id]
    assert sorted(ids([*on.returned, *on.released])) == ids(jobs[1:])


def test_a_drain_ends_an_idle_runner_at_once(stage: Stager) -> None:
    on = stage()
    on.ref.tell(Drain())
    on.ended()
    assert on.process.kills >= 1


def test_what_comes_after_a_drain_goes_back(stage: Stager) -> None:
    """A new Puller may not know that this one drains."""
    on = stage()
    running, late = make_jobs(2)
    on.run([running])
    on.process.take_permits()
    on.ref.tell(Drain())
    on.run([late])
    assert ids([*on.returned, *on.released]) == [late.id]
    on.process.say(on.process.done(running))
    on.ended()


def test_a_drain_before_the_import_has_ended_ends_it(stage: Stager) -> None:
    on = stage(ready=False)
    jobs = make_jobs(2)
    on.run(jobs)
    on.ref.tell(Drain())
    on.ended()
    assert sorted(ids([*on.returned, *on.released])) == ids(jobs)


def test_jobs_in_the_inbox_of_a_runner_that_ends_are_known_by_their_number(stage: Stager) -> None:
    """Run behind the PortExit: nobody reads it. The Puller sees fewer jobs come back than it sent."""
    on = stage()
    held, lost = make_jobs(2)
    on.run([held])
    on.process.take_permits()
    on.process.exit(code=1)
    on.ref.tell(Run([lost]))
    on.ended()
    assert on.credited == 1


# -- a new Puller ----------------------------------------------------------------------


def test_a_new_puller_adopts_it(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(2)
    on.run(jobs)
    heard = Signals[object]()
    told = on.ref.ask(Adopt(Probe.spawn(heard)), timeout=10.0)
    assert isinstance(told, Adopted)
    assert (told.runner, told.script, told.ready) == (1, on.script, True)
    assert told.jobs == frozenset(ids(jobs))
    on.process.take_permits(2)
    on.process.say(on.process.done(jobs[0]))
    on.settle()
    assert heard.next() == Progress(1, 1, 10, 4)


def test_what_was_sent_to_the_old_puller_is_nobodys_when_a_new_one_comes(stage: Stager) -> None:
    """It lay in the inbox of the one that crashed: if we still named it, it would be stranded."""
    on = stage()
    slow, returned = make_jobs(2)
    on.run([slow, returned])
    on.process.take_permits()
    on.tick()
    assert returned.id in on.settle()  # on its way to the Puller, so somebody's
    on.ref.ask(Adopt(Probe.spawn(Signals[object]())), timeout=10.0)
    assert on.settle() == {slow.id}


# -- tokens ----------------------------------------------------------------------------


def test_every_job_has_a_token_of_its_own(stage: Stager) -> None:
    from mill_actors.jobs.token import Statement, verify

    on = stage()
    jobs = make_jobs(2)
    on.run(jobs)
    tokens = [frame[5] for frame in on.process.frames if frame[0] == "run"]
    for job, token in zip(jobs, tokens, strict=True):
        statement, named = verify(b"k" * 32, token, 0)
        assert named == job.id
        assert statement == Statement("default", "u/admin", statement.expires_at)


def test_arguments_pass_through_untouched(stage: Stager) -> None:
    on = stage()
    args = '{"text": "a\\u0000b", "big": 123456789012345678901234567890, "x":\n1}'
    on.run([make_job(args=args)])
    assert on.process.frames[-1][4] == json.loads(args)
