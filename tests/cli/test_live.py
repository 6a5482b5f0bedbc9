"""Commands beside a node that runs."""

from __future__ import annotations

import json
import signal
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.jobs.script import ScriptOptions
from tests.cli.conftest import Mill, open_gate

HELLO = """
def main(name, times=1):
    print(f"greeting {name}")
    return f"Hello {name}! " * times
"""
GATE = """
def main(gate):
    print("waiting at", gate, flush=True)
    open(gate).read()
    return "through"
"""


@pytest.fixture(scope="module")
def hello(live: Mill) -> str:
    return live.script("f/live/hello", HELLO)


@pytest.fixture(scope="module")
def waiter(live: Mill) -> str:
    return live.script("f/live/gate", GATE)


@pytest.fixture
def gate(live: Mill) -> Path:
    return live.gate(uuid.uuid4().hex)


def test_run_prints_the_result_on_stdout_and_the_rest_on_stderr(live: Mill, hello: str) -> None:
    done = live("run", hello, "--arg", "name=Ada", "--arg", "times=2")
    assert done.out == '"Hello Ada! Hello Ada! "\n'
    assert done.err.startswith("greeting Ada\nmill: job ")
    assert " success in " in done.err
    told = live("run", hello, "--args", '{"name": "Bo"}', "--json").json
    assert (told["status"], told["result"], told["attempt"]) == ("success", "Hello Bo! ", 1)


def test_a_failure_is_1_with_the_users_stack(live: Mill) -> None:
    path = live.script("f/live/bad", "def main():\n    raise ValueError('no such month')\n")
    done = live("run", path, code=1)
    assert done.out == ""
    assert 'bad.py", line 2, in main' in done.err
    assert "\nValueError: no such month\n" in done.err
    told = live("run", path, "--json", code=1).json
    assert (told["status"], told["result"]["error"]["name"]) == ("failure", "ValueError")
    shown = live("job", "get", told["id"]).out
    assert "status     failure" in shown
    assert "  ValueError: no such month" in shown


def test_a_wrong_argument_is_the_jobs_failure(live: Mill, hello: str) -> None:
    done = live("run", hello, "--arg", "nam=Ada", code=1)
    assert "InvalidArgs: missing argument 'name'" in done.err


def test_an_unknown_path_names_similar_ones(live: Mill, hello: str) -> None:
    assert live("run", "f/live/helo", code=2).err.rstrip().endswith("Did you mean f/live/hello?")


def test_attempts_are_shown(live: Mill) -> None:
    path = live.script(
        "f/live/flaky",
        "import os\n"
        "def main(mark):\n"
        "    print('trying')\n"
        "    if not os.path.exists(mark):\n"
        "        open(mark, 'w').close()\n"
        "        raise OSError('not yet')\n"
        "    return 'now'\n",
        ScriptOptions(retry=RetryPolicy(ConstantRetry(attempts=2, seconds=0))),
    )
    mark = live.folder / uuid.uuid4().hex
    done = live("run", path, "--arg", f"mark={mark}", "--json")
    assert done.json["attempt"] == 2
    assert done.err.count("trying") == 2
    assert "mill: attempt 2\n" in done.err
    told = live("job", "get", done.json["id"], "--json").json
    assert [(each["attempt"], each["error"]["error"]["message"]) for each in told["attempts"]] == [
        (1, "not yet")
    ]
    shown = live("job", "get", done.json["id"]).out
    assert "attempt    2" in shown
    assert "attempt 1 failed after " in shown
    assert "  OSError: not yet" in shown


def test_logs_come_while_the_job_runs(live: Mill, waiter: str, gate: Path) -> None:
    with live.running("run", waiter, "--arg", f"gate={gate}", "--json") as run:
        run.until_err("waiting at")
        job = live("job", "list", "--status", "running", "--path", waiter, "--json").json[0]["id"]
        with live.running("job", "logs", job, "--follow") as follow:
            follow.until_out("waiting at")
            open_gate(gate)
            follow.end()
        done = run.end().json
    assert (done["id"], done["result"]) == (job, "through")
    assert live("job", "logs", job).out == f"waiting at {gate}\n"
    assert [row["text"] for row in live("job", "logs", job, "--json").lines] == [f"waiting at {gate}\n"]


def test_cancel_of_a_running_job(live: Mill, waiter: str, gate: Path) -> None:
    with live.running("run", waiter, "--arg", f"gate={gate}", "--json") as run:
        run.until_err("waiting at")
        job = live("job", "list", "--status", "running", "--path", waiter, "--json").json[0]["id"]
        assert live("job", "cancel", job, "--reason", "enough").out == f"{job}  requested\n"
        done = run.end(1)
    assert json.loads(done.out)["status"] == "cancelled"
    assert "Canceled: Job canceled: enough by u/admin" in done.err
    finished = live("run", live.script("f/live/quick", "def main(): return 1\n"), "--json").json["id"]
    over = live("job", "cancel", finished, code=1)
    assert over.out == f"{finished}  success\n"
    assert "over already" in over.err


def test_run_outlives_its_connection(live: Mill, waiter: str, gate: Path) -> None:
    with live.running("run", waiter, "--arg", f"gate={gate}", "--json") as run:
        run.until_err("waiting at")
        with psycopg.connect(live.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and application_name in ('mill client', 'mill waiter')"
            )
        run.until_err("the database is away; job ")
        open_gate(gate)
        assert run.end().json["result"] == "through"


def test_ctrl_c_leaves_the_job_alone_and_says_how_to_cancel_it(live: Mill, hello: str) -> None:
    with live.running("run", hello, "--arg", "name=Ada", "--tag", "nobody") as run:
        line = run.until_err("waits: nobody serves its tag 'nobody'")
        run.signal(signal.SIGINT)
        err = run.end(130).err
    job = line.split()[2]
    assert f"mill: job {job} goes on; `mill job cancel {job}` stops it" in err
    assert live("job", "cancel", job).out == f"{job}  cancelled\n"


def test_submitted_jobs_are_run(live: Mill, hello: str) -> None:
    stdin = "".join(f'{{"name": "N{n}"}}\n' for n in range(300))
    ids = live("submit", hello, "--ids", stdin=stdin).out.split()
    # Started in order, so the last one's end is not far from everybody's.
    live("job", "logs", ids[-1], "--follow")
    assert live("job", "get", ids[0], "--json").json["result"] == "Hello N0! "


def test_a_dedicated_script_is_served_from_its_deployment(live: Mill) -> None:
    path = live.script("f/live/pinned", "def main(): return 'pinned'\n", ScriptOptions(dedicated=True))
    assert live("run", path, "--json").json["result"] == "pinned"
    runners = [
        each["info"]["script"]
        for each in actors(live("tree", "--json").json[0]["tree"])
        if "runner " in each["name"]
    ]
    assert any(script.startswith(path) for script in runners)


def actors(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [tree, *(actor for child in tree["children"] for actor in actors(child))]


def test_the_tree(live: Mill) -> None:
    (picture,) = live("tree", "--json").json
    names = [actor["name"] for actor in actors(picture["tree"])]
    assert {"listener", "heartbeat", "log writer", "worker", "completer", "runners", "puller"} <= set(names)
    assert all(
        {"state", "restarts", "inbox", "info"} <= set(actor) and actor["restarts"] == 0
        for actor in actors(picture["tree"])
    )
    text = live("tree").out
    assert text.startswith("actor ")
    assert f"node {picture['name']} (pid {picture['pid']})" in text
    assert "└─ puller " in text


def test_the_tree_goes_on_until_ctrl_c(live: Mill) -> None:
    with live.running("tree", "--watch", "--interval", "0.1") as tree:
        tree.until_out("puller")
        tree.until_out("puller")
        tree.signal(signal.SIGINT)
        tree.end(130)


def test_top(live: Mill) -> None:
    told = live("top", "--count", "2", "--interval", "0.1", "--json").lines
    assert len(told) == 2
    assert set(told[0]["open"]) == {"waiting", "scheduled", "limited", "running"}
    assert told[0]["nodes"][0]["rates"]["succeed"] >= 0
    assert "success/s" in live("top", "--count", "1", "--interval", "0.1").out


def test_no_node_runs_here(live: Mill, tmp_path: Path) -> None:
    done = live("tree", "--work-dir", str(tmp_path), code=1)
    assert done.err.startswith(f"mill: no node runs with the work dir {tmp_path}")
