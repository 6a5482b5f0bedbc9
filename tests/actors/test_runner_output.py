"""Whose log a printed byte is in: always that of the job that printed it."""

from __future__ import annotations

import pytest

from mill_actors.actors import runner as runner_module
from mill_actors.actors.messages import Cancel, Drain, Tidy
from tests.actors.stage import Stager, make_job, make_jobs


def test_what_a_job_printed_is_its_log(stage: Stager) -> None:
    on = stage()
    first, silent, last = make_jobs(3)
    on.run([first, silent, last])
    on.process.take_permits(3)
    on.process.print("one\n")
    one = on.process.done(first)
    none = on.process.done(silent)
    on.process.print("three without newline")
    on.process.say(one, none, on.process.done(last))
    on.settle()
    assert on.logs() == {first.id: "one\n", last.id: "three without newline"}


def test_what_the_import_prints_is_no_jobs(stage: Stager) -> None:
    on = stage(ready=False)
    job = make_job()
    on.run([job])
    on.process.print("imported\n")
    on.process.say(on.process.ready())
    on.settle()
    on.process.take_permits()
    on.process.print("ran\n")
    on.process.say(on.process.done(job))
    on.settle()
    assert on.logs() == {job.id: "ran\n"}


def test_a_job_that_prints_before_ready_was_heard_has_its_log(stage: Stager) -> None:
    """Frames are written ahead: the first job may have ended before we know that it could begin."""
    on = stage(ready=False)
    first, second = make_jobs(2)
    on.run([first, second])
    on.process.print("imported\n")
    ready = on.process.ready()
    on.process.take_permits(2)
    on.process.print("first\n")
    one = on.process.done(first)
    on.process.print("second\n")
    on.process.say(ready, one, on.process.done(second))
    on.settle()
    assert on.logs() == {first.id: "first\n", second.id: "second\n"}


def test_the_log_of_a_running_job_comes_while_it_runs(stage: Stager) -> None:
    on = stage()
    job = make_job()
    on.run([job])
    on.process.take_permits()
    on.process.print("one\n")
    on.tick()
    assert on.logs() == {job.id: "one\n"}
    on.process.print("two\n")
    on.tick()
    on.process.print("three\n")
    on.process.say(on.process.done(job))
    on.settle()
    assert on.logs() == {job.id: "one\ntwo\nthree\n"}


def test_nobody_gets_the_output_of_the_one_behind(stage: Stager) -> None:
    """The first has ended and its answer is on the way; what is printed now is the second's."""
    on = stage()
    zero, first, second = make_jobs(3)
    on.run([zero, first, second])
    on.process.take_permits(3)
    on.process.print("zero\n")
    on.process.say(on.process.done(zero))
    on.process.print("first\n")
    answer = on.process.done(first)
    on.process.print("second's secret\n")
    on.tick()
    on.process.say(answer)
    on.process.print("more\n")
    on.process.say(on.process.done(second))
    on.settle()
    assert on.logs() == {zero.id: "zero\n", first.id: "first\n", second.id: "second's secret\nmore\n"}


@pytest.mark.parametrize("code", [1, None])
def test_a_job_that_kills_its_process_leaves_its_log(stage: Stager, code: int | None) -> None:
    on = stage()
    job, waiting = make_jobs(2)
    on.run([job, waiting])
    on.process.take_permits()
    on.process.print("last words")
    on.process.exit(code=code, signal=None if code else 11)
    on.ended()
    assert on.logs() == {job.id: "last words"}


def test_a_cancelled_job_keeps_its_log(stage: Stager) -> None:
    on = stage()
    job = make_job()
    on.run([job])
    on.process.take_permits()
    on.process.print("so far")
    on.ref.tell(Cancel(frozenset([job.id])))
    on.settle()
    on.process.exit(signal=9)
    on.ended()
    assert on.logs() == {job.id: "so far"}


def test_what_is_beyond_the_limit_is_left_out(stage: Stager) -> None:
    on = stage(max_log_bytes_per_job=10)
    loud, quiet = make_jobs(2)
    on.run([loud, quiet])
    on.process.take_permits(2)
    on.process.print("0123456789 and more")
    one = on.process.done(loud)
    on.process.print("quiet")
    on.process.say(one, on.process.done(quiet))
    on.settle()
    assert on.logs() == {
        loud.id: "0123456789\n[output beyond 10 bytes is left out]\n",
        quiet.id: "quiet",
    }


@pytest.mark.parametrize("last", ["", "y"])
def test_a_job_that_prints_for_ever_fills_no_memory(stage: Stager, last: str) -> None:
    on = stage(max_log_bytes_per_job=10)
    loud, quiet = make_jobs(2)
    on.run([loud])
    on.process.take_permits()
    for _ in range(5):
        on.process.print("x" * 1000)
        on.tick()
        assert on.process.capture.size() == 0
    on.process.print(last)
    on.process.say(on.process.done(loud))
    on.run([quiet])
    on.process.take_permits()
    on.process.print("quiet")
    on.process.say(on.process.done(quiet))
    on.settle()
    assert on.logs()[quiet.id] == "quiet"
    assert on.logs()[loud.id] == "x" * 10 + "\n[output beyond 10 bytes is left out]\n"


@pytest.mark.parametrize("is_busy", [False, True])
def test_what_a_forgotten_thread_prints_while_nothing_runs_is_forgotten(
    stage: Stager, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    monkeypatch.setattr(runner_module, "MAX_CAPTURE_BYTES", 100)
    on = stage()
    if is_busy:
        on.run([make_job()])
        on.process.take_permits()
    on.process.print("x" * 200)
    on.ref.tell(Tidy())
    on.settle()
    assert on.process.capture.size() == (200 if is_busy else 0)


# -- emptying the file -----------------------------------------------------------------


@pytest.fixture
def small_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "MAX_CAPTURE_BYTES", 100)


@pytest.mark.usefixtures("small_capture")
def test_the_file_is_emptied_under_load_and_no_log_suffers(stage: Stager) -> None:
    on = stage()
    jobs = make_jobs(6)
    on.run(jobs)
    waiting = list(jobs)
    sizes = []
    while waiting:
        begun = on.process.take_permits()
        assert begun, "nothing may start, although jobs wait"
        job = waiting.pop(0)
        on.process.print(f"{job.id}: " + "x" * 60)
        sizes.append(on.process.capture.size())
        on.process.say(on.process.done(job))
        on.settle()
    assert max(sizes) < 300
    assert on.logs() == {job.id: f"{job.id}: " + "x" * 60 for job in jobs}
    assert [o.job.id for o in on.finished] == [job.id for job in jobs]


@pytest.mark.usefixtures("small_capture")
def test_jobs_that_wait_for_the_emptying_do_not_wait_for_a_slow_one(stage: Stager) -> None:
    on = stage()
    loud, slow, *waiting = make_jobs(4)
    on.run([loud, slow, *waiting])
    on.process.take_permits(2)
    on.process.print("x" * 200)
    on.process.say(on.process.done(loud))
    assert on.settle() == {slow.id, *(job.id for job in waiting)}
    on.tick()
    assert [job.id for job in on.returned] == [job.id for job in waiting]


@pytest.mark.usefixtures("small_capture")
def test_jobs_that_wait_for_the_emptying_can_be_cancelled(stage: Stager) -> None:
    on = stage()
    loud, running, cancelled, last = make_jobs(4)
    on.run([loud, running, cancelled, last])
    on.process.take_permits(2)
    on.process.print("x" * 200)
    on.process.say(on.process.done(loud))
    on.ref.tell(Cancel(frozenset([cancelled.id])))
    on.process.say(on.process.done(running))
    on.settle()
    assert [o.job.id for o in on.finished if o.verdict == "cancelled"] == [cancelled.id]
    assert on.process.take_permits(2) == [4]
    on.process.say(on.process.done(last))
    assert on.settle() == frozenset()


@pytest.mark.usefixtures("small_capture")
def test_jobs_that_wait_for_the_emptying_survive_the_process(stage: Stager) -> None:
    on = stage()
    loud, running, waiting = make_jobs(3)
    on.run([loud, running, waiting])
    on.process.take_permits(2)
    on.process.print("x" * 200)
    on.process.say(on.process.done(loud))
    on.process.exit(code=1)
    on.ended()
    assert [job.id for job in on.returned] == [waiting.id]
    assert list(on.errors()) == [running.id]


@pytest.mark.usefixtures("small_capture")
def test_jobs_that_wait_for_the_emptying_are_given_back_by_a_drain(stage: Stager) -> None:
    on = stage()
    loud, running, waiting = make_jobs(3)
    on.run([loud, running, waiting])
    on.process.take_permits(2)
    on.process.print("x" * 200)
    on.process.say(on.process.done(loud))
    on.ref.tell(Drain())
    on.process.say(on.process.done(running))
    on.ended()
    assert [job.id for job in [*on.released, *on.returned]] == [waiting.id]
