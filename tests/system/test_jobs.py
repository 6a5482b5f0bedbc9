"""Submit → done, through everything there is: what jobs get, and what they may do."""

from __future__ import annotations

import json
from time import monotonic, time

import psutil
import pytest

from mill_actors.actors.life import Node
from mill_actors.jobs.lifecycle import Action
from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.jobs.token import verify
from mill_actors.store.submission import Submission
from tests.system.engine import Engine
from tests.system.oracle import LEDGER_TS
from tests.system.proxy import wait_until


def test_submit_to_done_in_both_languages(engine: Engine) -> None:
    engine.node()
    engine.deploy("py", "def main(x: int): return {'y': x + 1}")
    engine.deploy("ts", "export function main(x: number) { return { y: x + 1 } }", "bun")
    assert engine.run("py", x=1).value == {"y": 2}
    assert engine.run("ts", x=2).value == {"y": 3}


@pytest.mark.parametrize("language", ["python3", "bun"])
def test_many_jobs_run_once_each(engine: Engine, language: str) -> None:
    _, moves = engine.node()
    if language == "bun":
        engine.deploy("ledger", LEDGER_TS, "bun")
    else:
        engine.deploy_ledger()
    jobs = engine.submit(600)
    engine.all_done(jobs)
    engine.oracle.check(jobs, started_once=True)
    for job in jobs:
        assert moves.actions(job) == [Action.CLAIM, Action.SUCCEED]


def test_a_failure_has_the_users_own_error(engine: Engine) -> None:
    engine.node()
    engine.deploy("bad", "def main():\n    raise ValueError('no')\n")
    result = engine.run("bad")
    assert result.status == "failure"
    error = result.value["error"]
    assert (error["name"], error["message"]) == ("ValueError", "no")
    assert "line 2, in main" in error["stack"]


def test_what_a_job_prints_can_be_read_while_it_runs(engine: Engine) -> None:
    engine.node()
    gate = engine.gate()
    engine.deploy("loud", "def main(gate):\n    print('one')\n    open(gate).close()\n    print('two')\n")
    job, future = engine.client.start("f/test/loud", {"gate": gate.path})
    wait_until(lambda: [c.text for c in engine.client.logs(job)] == ["one\n"], "the first line")
    gate.open()
    future.result(20)
    assert "".join(chunk.text for chunk in engine.client.logs(job)) == "one\ntwo\n"


# -- what user code may do -------------------------------------------------------------

VANDALS = {
    "sys.exit": "import sys; sys.exit(3)",
    "os._exit": "import os; os._exit(3)",
    "base exception": "raise KeyboardInterrupt",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "kill itself": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "close descriptors": "import os\nfor fd in (0, 1, 2): os.close(fd)",
    "close everything": "import os\nos.closerange(3, 4096)",
    "fill memory": "x = []\nwhile True: x.append(bytearray(10_000_000))",
    "write into the protocol": "import os; os.write(4, b'garbage\\n')",
    "forge an answer": (
        "import os\nos.write(4, ('[\"done\",\"' + os.environ['WM_JOB_ID'] + '\",\"x\",0,0,null]\\n').encode())"
    ),
    "huge result": "return 'x' * 100_000_000",
    "exhaust the stack": "def f(): f()\nf()",
    "change everything": (
        "import os, sys, signal, builtins\nos.chdir('/'); os.environ.clear(); sys.path.clear(); "
        "sys.stdout = None\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nbuiltins.open = None"
    ),
    "threads": "import threading\nfor _ in range(5): threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "a result that is none": "return object()",
    "a zero character": "return 'a\\0b'",
    "half a character": "return '\\ud800'",
}
#: What is known of how they end; the others may end either way.
ENDS = {
    "sys.exit": "SystemExit",
    "os._exit": "ProcessDied",
    "segfault": "ProcessDied",
    "kill itself": "ProcessDied",
    "huge result": "ResultTooLarge",
    "a result that is none": "InvalidResult",
}


@pytest.mark.parametrize("deed", VANDALS)
def test_the_next_job_on_the_same_worker_succeeds(engine: Engine, deed: str) -> None:
    engine.node(worker__processes=1, worker__memory_mb=256 if deed == "fill memory" else 2048)
    body = VANDALS[deed].replace("\n", "\n        ")
    engine.deploy("vandal", f"def main(guilty: bool):\n    if guilty:\n        {body}\n    return 'fine'\n")
    bad, future = engine.client.start("f/test/vandal", {"guilty": True})
    waiting = [engine.client.start("f/test/vandal", {"guilty": False}) for _ in range(3)]
    result = future.result(20)
    if deed in ENDS:
        assert result.status == "failure"
        assert result.value["error"]["name"] == ENDS[deed]
    for job, innocent in waiting:
        assert innocent.result(20).value == "fine"
        assert engine.client.job(job).attempt == 1
    assert engine.run("vandal", guilty=False).value == "fine"
    assert engine.client.job(bad).status == result.status


@pytest.mark.parametrize("deed", ["exit", "throw", "huge", "kill", "print"])
def test_bun_may_do_the_same(engine: Engine, deed: str) -> None:
    engine.node(worker__processes=1)
    bodies = {
        "exit": "process.exit(3)",
        "throw": "throw 'a string'",
        "huge": "return 'x'.repeat(100_000_000)",
        "kill": "process.kill(process.pid, 'SIGKILL')",
        "print": "process.stdout.write('x'.repeat(3_000_000)); return 1",
    }
    engine.deploy(
        "vandal",
        f"export function main(guilty: boolean) {{ if (guilty) {{ {bodies[deed]} }} return 'fine' }}",
        "bun",
    )
    _, future = engine.client.start("f/test/vandal", {"guilty": True})
    innocents = [engine.client.start("f/test/vandal", {"guilty": False})[1] for _ in range(2)]
    assert future.result(20).status == ("success" if deed == "print" else "failure")
    assert [innocent.result(20).value for innocent in innocents] == ["fine", "fine"]


def test_a_child_that_outlives_its_job_outlives_no_process(engine: Engine) -> None:
    node, _ = engine.node(worker__processes=1)
    engine.deploy(
        "parent",
        "import os, subprocess\n"
        "def main(): return [os.getpid(), subprocess.Popen(['/bin/sleep', '1000']).pid]\n",
    )
    parent, child = engine.run("parent").value
    assert psutil.pid_exists(child)
    assert engine.run("parent").value[0] == parent
    node.stop()
    wait_until(lambda: _is_gone(child), "the child is gone too")


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_megabytes_of_output_are_cut_and_cost_nobody(engine: Engine) -> None:
    engine.node(worker__processes=1, worker__max_log_bytes_per_job=100_000)
    engine.deploy("loud", "def main(n):\n    for _ in range(n): print('x' * 999)\n    return n\n")
    loud, future = engine.client.start("f/test/loud", {"n": 20_000})
    quiet, after = engine.client.start("f/test/loud", {"n": 2})
    assert future.result(20).value == 20_000
    assert after.result(20).value == 2
    text = "".join(chunk.text for chunk in engine.client.logs(loud))
    assert len(text) < 101_000
    assert text.endswith("[output beyond 100,000 bytes is left out]\n")
    assert "".join(chunk.text for chunk in engine.client.logs(quiet)) == ("x" * 999 + "\n") * 2


def test_an_import_that_fails_fails_every_job_soon(engine: Engine) -> None:
    engine.node()
    engine.deploy("broken", "import nothing_of_that_name\ndef main(): ...\n")
    engine.deploy("sound", "def main(): return 1\n")
    began = monotonic()
    broken = [r.id for r in engine.client.submit_many([Submission(path="f/test/broken")] * 300)]
    assert engine.run("sound").value == 1
    engine.all_done(broken)
    assert monotonic() - began < 10.0
    for job in (broken[0], broken[-1]):
        error = json.loads(str(engine.client.job(job).result))["error"]
        assert error["name"] == "ModuleNotFoundError"
        assert "line 1" in error["stack"]
    engine.oracle.check(broken, statuses=["failure"], has_ledger=False)


def test_jobs_behind_a_slow_one_run_elsewhere(engine: Engine) -> None:
    engine.node(worker__processes=2)
    engine.deploy_ledger()
    engine.all_done(engine.submit(200))  # now it is known to be quick
    gate = engine.gate()
    (slow,) = engine.submit(1, args={"gate": gate.path})
    quick = engine.submit(100)
    engine.all_done(quick)
    assert engine.open([slow]) == 1
    gate.open()
    engine.all_done([slow])
    engine.oracle.check([slow, *quick], started_once=True)


def test_a_timeout_ends_the_job_alone(engine: Engine) -> None:
    engine.node(worker__processes=1)
    engine.deploy_ledger()
    engine.all_done(engine.submit(100))
    gate = engine.gate()
    (late,) = engine.submit(1, args={"gate": gate.path}, options={"timeout_seconds": 0.3})
    others = engine.submit(50)
    engine.all_done([late, *others])
    engine.oracle.check([late], statuses=["failure"])
    assert "did not end within 0.3 s" in str(engine.client.job(late).result)
    engine.oracle.check(others, started_once=True)
    assert {engine.client.job(job).attempt for job in others} == {1}


def test_a_loop_for_ever_is_ended_by_its_timeout(engine: Engine) -> None:
    engine.node(worker__processes=1)
    engine.deploy("loop", "def main():\n    while True: pass\n", timeout_seconds=0.3)
    engine.deploy("loop_ts", "export function main() { while (true); }", "bun", timeout_seconds=0.3)
    for name in ("loop", "loop_ts"):
        assert engine.run(name).value["error"]["name"] == "Timeout"


# -- what jobs get ---------------------------------------------------------------------


@pytest.mark.parametrize("language", ["python3", "bun"])
def test_the_environment_says_who_and_what(engine: Engine, language: str) -> None:
    engine.node()
    if language == "python3":
        script = engine.deploy("env", "import os\ndef main(): return dict(os.environ)\n")
    else:
        script = engine.deploy("env", "export function main() { return { ...process.env } }", "bun")
    seen = []
    for user in ("u/ann", "u/bob"):
        job, future = engine.client.start("f/test/env", created_by=user)
        found = future.result(20).value
        seen.append(found["WM_TOKEN"])
        assert found["WM_JOB_ID"] == job
        assert found["WM_WORKSPACE"] == "default"
        assert found["WM_JOB_PATH"] == "f/test/env"
        assert found["WM_RUNNABLE_ID"] == script.hash
        assert found["WM_USERNAME"] == user.removeprefix("u/")
        assert found["WM_PERMISSIONED_AS"] == user
        (key,) = (
            engine.look.execute("select token_key from mill.workspace where id = 'default'").fetchone() or ()
        )
        statement, named = verify(bytes(key), found["WM_TOKEN"], time())
        assert (named, statement.workspace, statement.runs_as) == (job, "default", user)
    assert len(set(seen)) == 2


def test_a_workspace_that_was_made_later_has_tokens_too(engine: Engine) -> None:
    engine.node()
    engine.look.execute("insert into mill.workspace (id) values ('later')")
    from mill_actors.jobs.script import make_script

    engine.client.deploy(
        make_script("later", "f/test/env", "python3", "import os\ndef main(): return os.environ['WM_TOKEN']")
    )
    token = engine.client.run("f/test/env", workspace="later", timeout=20).value
    (key,) = engine.look.execute("select token_key from mill.workspace where id = 'later'").fetchone() or ()
    statement, _ = verify(bytes(key), token, time())
    assert statement.workspace == "later"


def test_a_job_sees_the_process_as_the_one_before_found_it(engine: Engine) -> None:
    engine.node(worker__processes=1)
    engine.deploy(
        "guest",
        "import os, sys\n"
        "def main():\n"
        "    seen = [os.getcwd() != '/', 'LEFT' not in os.environ, sys.stdout is not None]\n"
        "    os.chdir('/'); os.environ['LEFT'] = 'x'; sys.stdout = None\n"
        "    return seen\n",
    )
    for _ in range(3):
        assert engine.run("guest").value == [True, True, True]


# -- order, time, limits ---------------------------------------------------------------


def test_a_scheduled_job_runs_on_time_and_not_by_a_poll(engine: Engine) -> None:
    engine.node(worker__poll_seconds=1000)
    engine.deploy_ledger()
    engine.all_done(engine.submit(1))  # warm
    began = monotonic()
    jobs = engine.submit(3, options={"scheduled_in_seconds": 0.5})
    later = engine.submit(1, options={"scheduled_in_seconds": 0.9})
    engine.all_done([*jobs, *later])
    took = [line.at / 1e9 - began for line in engine.oracle.lines("start") if line.job in {*jobs, *later}]
    assert all(0.45 < seconds < 2.5 for seconds in took), took
    engine.oracle.check([*jobs, *later], started_once=True)


def test_higher_priority_runs_first(engine: Engine) -> None:
    engine.deploy_ledger()
    low = engine.submit(5, options={"priority": 0})
    high = engine.submit(5, options={"priority": 90})
    middle = engine.submit(5, options={"priority": 50})
    engine.node(worker__processes=1)
    engine.all_done([*low, *middle, *high])
    order = [line.job for line in engine.oracle.lines("start")]
    assert order[:5] == high
    assert order[5:10] == middle


def test_what_was_not_started_in_time_is_cancelled(engine: Engine) -> None:
    engine.deploy_ledger()
    late = engine.submit(3, options={"expires_in_seconds": 0.0})
    _, moves = engine.node()
    good = engine.submit(3, options={"expires_in_seconds": 1000})
    engine.all_done([*late, *good])
    engine.oracle.check(late, statuses=["cancelled"])
    engine.oracle.check(good, started_once=True)
    moves.wait(Action.EXPIRE, late)
    assert not set(engine.oracle.starts()) & set(late)


def test_a_limit_of_one_is_a_limit_of_one_on_two_nodes(engine: Engine) -> None:
    engine.deploy_ledger(concurrency_limit=1)
    engine.node()
    engine.node(node__name="other")
    jobs = engine.submit(60)
    engine.all_done(jobs)
    engine.oracle.check(jobs, started_once=True)
    assert engine.oracle.most_at_once() == 1


def test_a_limit_of_two_by_argument(engine: Engine) -> None:
    engine.deploy_ledger(concurrency_limit=2, concurrency_key="$workspace/$args[ledger]")
    engine.node(worker__processes=4)
    jobs = engine.submit(24, args={"body": "import time; time.sleep(0.01)"})
    engine.all_done(jobs)
    engine.oracle.check(jobs, started_once=True)
    assert engine.oracle.most_at_once() == 2


def test_a_limited_job_that_was_scheduled_is_admitted_when_it_is_due(engine: Engine) -> None:
    engine.node()
    engine.deploy_ledger(concurrency_limit=1)
    jobs = engine.submit(3, options={"scheduled_in_seconds": 0.3})
    engine.all_done(jobs)
    engine.oracle.check(jobs, started_once=True)
    assert engine.oracle.most_at_once() == 1


def test_a_failed_attempt_is_tried_again_and_kept(engine: Engine) -> None:
    _, moves = engine.node()
    engine.deploy_ledger("flaky", retry=RetryPolicy(constant=ConstantRetry(3, 0.01)))
    good = "import os\nif open(os.environ['WM_JOB_ID'], 'a').tell() < 2: open(os.environ['WM_JOB_ID'], 'a').write('x'); raise OSError('again')"
    (job,) = engine.submit(1, "flaky", args={"body": good})
    (lost,) = engine.submit(1, "flaky", args={"body": "raise OSError('never')"})
    engine.all_done([job, lost])
    row = engine.client.job(lost)
    assert (row.status, row.attempt) == ("failure", 4)
    attempts = engine.client.attempts(lost)
    assert [attempt.attempt for attempt in attempts] == [1, 2, 3]
    assert {attempt.error["error"]["message"] for attempt in attempts} == {"never"}
    assert all(attempt.started_at <= attempt.ended_at for attempt in attempts)
    assert moves.actions(lost) == [*[Action.CLAIM, Action.RETRY] * 3, Action.CLAIM, Action.FAIL]
    engine.oracle.check([job], statuses=["success", "failure"])
    engine.oracle.check([lost], statuses=["failure"])


def test_a_job_whose_tag_nobody_serves_can_be_known(engine: Engine) -> None:
    engine.node(worker__tags=("python3",))
    engine.deploy_ledger()
    (job,) = engine.submit(1, options={"tag": "gpu"})
    assert engine.client.tags_served() == {"python3"}
    assert engine.client.job(job).tag not in engine.client.tags_served()
    engine.node(node__name="other", worker__tags=("gpu",))
    assert "gpu" in engine.client.tags_served()
    engine.all_done([job])


# -- cancels ---------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once(engine: Engine) -> None:
    engine.deploy_ledger()
    (job,) = engine.submit(1)
    assert engine.client.cancel(job, "tired") == "cancelled"
    engine.node()
    engine.oracle.check([job], statuses=["cancelled"])
    assert engine.client.cancel(job) == "cancelled"
    assert json.loads(str(engine.client.job(job).result))["error"]["reason"] == "tired"


def test_a_running_job_is_cancelled_and_nobody_else(engine: Engine) -> None:
    node, moves = engine.node(worker__processes=1)
    engine.deploy_ledger()
    engine.all_done(engine.submit(100))
    gate = engine.gate()
    (job,) = engine.submit(1, args={"gate": gate.path})
    engine.started(101)
    others = engine.submit(20)
    (language,) = _language_processes()
    assert engine.client.cancel(job, "tired") == "requested"
    engine.all_done([job, *others])
    engine.oracle.check([job], statuses=["cancelled"])
    engine.oracle.check(others, started_once=True)
    assert moves.actions(job) == [Action.CLAIM, Action.CANCEL]
    engine.all_gone([language])
    assert node.context.counters.stale == 0


def _language_processes() -> list[psutil.Process]:
    from supervisors.testing import reaper_pid

    return [child for child in psutil.Process().children() if child.pid != reaper_pid()]


def test_a_job_in_hand_is_cancelled_before_it_starts(engine: Engine) -> None:
    engine.node(worker__processes=1)
    engine.deploy_ledger()
    gate = engine.gate()
    first = engine.submit(1, args={"gate": gate.path})
    engine.started(1)
    second = engine.submit(1)
    engine.client.cancel(second[0])
    gate.open()
    engine.all_done([*first, *second])
    engine.oracle.check(second, statuses=["cancelled"])
    engine.oracle.check(first, started_once=True)
    assert engine.oracle.starts()[second[0]] == 0


def test_a_forced_cancel_does_not_wait_for_the_worker(engine: Engine) -> None:
    node, _ = engine.node()
    engine.deploy_ledger()
    gate = engine.gate()
    (job,) = engine.submit(1, args={"gate": gate.path})
    engine.started(1)
    assert engine.client.cancel(job, force=True) == "cancelled"
    assert engine.client.job(job).status == "cancelled"
    (after,) = engine.submit(1)
    engine.all_done([after])
    wait_until(lambda: node.context.counters.stale == 1, "what its worker still said is stale")
    engine.oracle.check([job], statuses=["cancelled"])


# -- versions --------------------------------------------------------------------------


def _versions(node: Node) -> set[str]:
    """Which versions have a process."""
    from supervisors import which_children

    children = which_children(node.context.address("worker/runners"))
    return {str(child.ref.info()["script"]).split()[1] for child in children if child.ref is not None}  # type: ignore[attr-defined]


@pytest.mark.parametrize("dedicated", [False, True])
def test_new_versions_under_load(engine: Engine, dedicated: bool) -> None:
    """None is lost, none runs another version than its path meant, and old processes end."""
    node, _ = engine.node(worker__dedicated=("*",) if dedicated else ())
    expected: dict[str, int] = {}
    for version in range(6):
        engine.deploy("versioned", f"def main(n): return [{version}, n]", dedicated=dedicated)
        if dedicated and version == 0:
            wait_until(lambda: "default:f/test/versioned" in engine.client.tags_served(), "it is pinned")
        given = [Submission(path="f/test/versioned", args={"n": n}) for n in range(150)]
        expected |= {receipt.id: version for receipt in engine.client.submit_many(given)}
    engine.all_done(list(expected))
    engine.oracle.check(list(expected), has_ledger=False)
    rows = engine.look.execute("select id::text, result->>0 from mill.completed_job").fetchall()
    wrong = [job for job, version in rows if int(version) != expected[job]]
    assert wrong == []
    assert engine.run("versioned", n=-1).value == [5, -1]
    wait_until(lambda: _versions(node) == {engine.client.scripts()[0].hash}, "the old processes are gone")
    assert node.context.counters.stale == 0
