"""PyPI's `wmill`, from outside and from inside a running job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wmill

from tests.api.conftest import HELLO
from tests.api.people import member
from tests.clients.conftest import Desk

INSIDE = Path(__file__).with_name("f") / "inside.py"
DOUBLE = "def main(x=1):\n    return {'double': 2 * x}\n"
# Any: much of it has no annotations.
Windmill: Any = wmill.Windmill


def code(content: str, **inputs: str) -> dict[str, Any]:
    transforms = {name: {"type": "javascript", "expr": expr} for name, expr in inputs.items()}
    return {"type": "rawscript", "language": "python3", "content": content, "input_transforms": transforms}


@pytest.fixture(scope="module", autouse=True)
def hashes(desk: Desk) -> dict[str, str]:
    """Scripts and flows, and the scripts' hashes."""
    desk.flow("f/c/doubles", {"id": "a", "value": code(DOUBLE, x="flow_input.x")})
    return {
        "hello": desk.api.script("f/c/hello", HELLO),
        "fails": desk.api.script("f/c/fails", "def main():\n    raise ValueError('no luck')\n"),
        "nothing": desk.api.script("f/c/nothing", "def main():\n    pass\n"),
        "sleeps": desk.api.script("f/c/sleeps", "import time\ndef main():\n    time.sleep(600)\n"),
        "inside": desk.api.script("f/c/inside", INSIDE.read_text()),
    }


@pytest.fixture
def outside(desk: Desk) -> Any:
    client = Windmill(base_url=desk.api.url, token=desk.api.token, workspace="default")
    yield client
    client.client.close()


def inside(desk: Desk, name: str, /, **args: Any) -> Any:
    """Run a function of f/inside.py as a job."""
    return desk.run("f/c/inside", _ENTRYPOINT_OVERRIDE=name, **args)


# ---------------------------------------------------------------- from outside


def test_scripts_are_run_and_waited_for(outside: Any, hashes: dict[str, str]) -> None:
    assert outside.run_script_by_path("f/c/hello", {"name": "Ada"}) == "Hello Ada"
    assert outside.run_script_by_hash(hashes["hello"], {"name": "Bob"}) == "Hello Bob"
    assert outside.run_script(path="f/c/hello", timeout=30, verbose=True) == "Hello you"
    assert outside.run_script("f/c/nothing") is None
    with pytest.raises(Exception, match="Result was none"):
        outside.run_script("f/c/nothing", assert_result_is_not_none=True)


def test_jobs_are_started_and_looked_at(outside: Any, hashes: dict[str, str]) -> None:
    jobs = [
        outside.run_script_by_path_async("f/c/hello", {"name": "1"}),
        outside.run_script_by_hash_async(hashes["hello"], {"name": "2"}),
        outside.run_script_async(path="f/c/hello", args={"name": "3"}),
        outside.run_script_async(hash_=hashes["hello"], args={"name": "4"}),
    ]
    assert [outside.wait_job(job) for job in jobs] == [f"Hello {n}" for n in range(1, 5)]
    assert [outside.get_result(job) for job in jobs] == [f"Hello {n}" for n in range(1, 5)]
    told = outside.get_job(jobs[0])
    assert (told["type"], told["success"], told["script_path"]) == ("CompletedJob", True, "f/c/hello")
    assert {outside.get_job_status(job) for job in jobs} == {"COMPLETED"}
    assert outside.get_root_job_id(jobs[0]) == jobs[0]


def test_a_flow_is_run(outside: Any) -> None:
    job = outside.run_flow_async("f/c/doubles", {"x": 21})
    assert outside.wait_job(job) == {"double": 42}
    assert outside.get_job(job)["flow_status"]["modules"][0]["type"] == "Success"


def test_a_failure_says_what_the_script_said(outside: Any) -> None:
    with pytest.raises(Exception, match="ValueError"):
        outside.run_script_by_path("f/c/fails")


def test_what_waits_is_cancelled(outside: Any) -> None:
    job = outside.run_script_by_path_async("f/c/hello", scheduled_in_secs=3600)
    assert outside.get_job_status(job) == "WAITING"
    with pytest.raises(Exception, match="404"):
        outside.get_result(job)
    assert job in outside.cancel_job(job, "no longer wanted")
    with pytest.raises(Exception, match="no longer wanted"):
        outside.wait_job(job)
    outside.cancel_job(job)


def test_a_wait_that_takes_too_long_cancels_once_more_when_the_program_ends(desk: Desk) -> None:
    program = """
import wmill
client = wmill.Windmill()
job = client.run_script_by_path_async("f/c/sleeps")
print(job, flush=True)
client.wait_job(job, timeout=0.1)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "BASE_INTERNAL_URL": desk.api.url,
            "WM_TOKEN": desk.api.token,
            "WM_WORKSPACE": "default",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TimeoutError: reached timeout" in done.stderr
    assert "atexit" not in done.stderr
    assert desk.api.wait(done.stdout.strip()).status == "cancelled"


def test_a_policy_for_retries(outside: Any, desk: Desk) -> None:
    policy = {"constant": {"attempts": 1, "seconds": 0}}
    job = outside.run_script_by_path_async("f/c/fails", retry=policy)
    with pytest.raises(Exception, match="no luck"):
        outside.wait_job(job)
    assert [each.attempt for each in desk.api.store.attempts(job)] == [1]


def test_who_and_where(outside: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outside.version.startswith("CE v1.")
    assert outside.whoami()["email"] == outside.user["email"] == "admin@localhost"
    assert outside.username_to_email("admin") == "admin@localhost"
    member(desk.api.dsn, "bob")
    assert outside.username_to_email("bob") == "bob@example.com"
    with pytest.raises(Exception, match="404"):
        outside.username_to_email("nobody")
    monkeypatch.setattr(wmill.client, "_client", outside)
    with pytest.warns(DeprecationWarning, match="get_version"):
        assert wmill.get_version() == outside.version


def test_a_token_is_made(outside: Any, desk: Desk) -> None:
    other = Windmill(base_url=desk.api.url, token=outside.create_token(), workspace="default")
    assert other.whoami()["email"] == "admin@localhost"
    other.client.close()


def test_code_is_run_that_nobody_deployed(outside: Any) -> None:
    script = "def main(x):\n    return x * 2\n"
    assert outside.run_inline_script_preview(script, "python3", {"x": 21}) == 42


# ---------------------------------------------------------------- from inside


def test_a_job_knows_itself(desk: Desk) -> None:
    told = desk.run("f/c/inside")
    assert told.pop("version").startswith("CE v1.")
    job = told.pop("job")
    assert desk.api.store.job(job).path == "f/c/inside"
    assert told == {"workspace": "default", "email": "admin@localhost", "user": "admin"}


def test_each_job_sends_its_own_token(desk: Desk) -> None:
    """A process outlives its jobs, and a job's token does not: what was made by an earlier job goes on."""
    first, second = (inside(desk, "clients") for _ in range(2))
    assert first["token"] != second["token"]
    assert first["who"] == second["who"] == ["admin@localhost"] * 3


def test_a_script_that_asks_while_it_is_imported_is_told_why_not(desk: Desk) -> None:
    desk.api.script("f/c/early", "import wmill\nNAME = wmill.get_variable('f/c/x')\ndef main():\n    pass\n")
    answer = desk.api.post("jobs/run_wait_result/p/f/c/early", json={})
    assert answer.status_code == 422
    assert "ask in main" in answer.json()["error"]["message"]


def test_a_job_makes_a_token(desk: Desk) -> None:
    assert inside(desk, "makes_a_token") == [False, "admin@localhost"]


def test_a_job_starts_others(desk: Desk, hashes: dict[str, str]) -> None:
    told = inside(desk, "children", path="f/c/hello", digest=hashes["hello"], flow="f/c/doubles")
    first = [f"Hello {name}" for name in "abcd"]
    assert told["waited"] == told["results"] == [*first, {"double": 2}, {"double": 4}]
    mother = told["parents"][0]
    assert desk.api.store.job(mother).path == "f/c/inside"
    assert told["parents"] == [mother] * 4 + [None, mother]
    assert told["statuses"] == ["COMPLETED"]
    names = ("by_path", "by_hash", "deprecated", "sync", "sync_by_hash")
    assert [told[name] for name in names] == [f"Hello {name}" for name in "efghi"]


def test_variables_and_resources(desk: Desk) -> None:
    db = {"host": "y", "password": "hush!"}
    told = inside(desk, "values")
    assert told.pop("pages") == 1
    assert told == {
        "plain": "two",
        "prefixed": "two",
        "secret": "hush!",
        "db": db,
        "nested": [1, None, db],
        "verbatim": {"host": "y", "password": "$var:u/admin/secret"},
        "nothing": None,
        "listed": [["u/admin/db", "postgresql"]],
    }


def test_states(desk: Desk) -> None:
    path = "f/c/inside/user"
    assert inside(desk, "states") == {
        "before": None,
        "after": {"seen": 3},
        "property": {"seen": 3},
        "path": path,
        "same": path,
        "elsewhere": [None, [1]],
    }
    assert inside(desk, "states")["before"] == {"seen": 3}


def test_progress(desk: Desk, outside: Any) -> None:
    other = outside.run_script_by_path_async("f/c/hello", scheduled_in_secs=3600)
    told = inside(desk, "progress", other=other)
    assert told == {
        "before": None,
        "after": 42,
        "mine": 42,
        "other": [None, 99],
        "draining": False,
        "root": True,
    }
    outside.cancel_job(other)


def test_a_job_ends_the_others_of_its_script(desk: Desk, outside: Any) -> None:
    job = outside.run_script_by_path_async("f/c/inside", {"_ENTRYPOINT_OVERRIDE": "runs_on"})
    while outside.get_job_status(job) != "RUNNING":
        outside.get(f"/w/default/jobs_u/getupdate/{job}", params={"running": "false"})
    assert inside(desk, "alone") == [job]
    assert desk.api.wait(job).status == "cancelled"


def test_code_from_a_job(desk: Desk) -> None:
    assert inside(desk, "inline") == 42


def test_an_address(desk: Desk) -> None:
    assert inside(desk, "address", username="admin") == "admin@localhost"


def test_a_stream_is_in_the_log(desk: Desk) -> None:
    assert inside(desk, "stream") == "streamed"


# ---------------------------------------------------------------- inside flows

KEEPS = """
import wmill
def main(x):
    wmill.set_flow_user_state("seen", {"x": x})
    return [wmill.get_flow_user_state("seen"), wmill.get_flow_user_state("nothing")]
"""
READS = """
import os, wmill
def main():
    wmill.set_state(wmill.get_state_path())
    return [wmill.get_flow_user_state("seen"), wmill.get_root_job_id(), os.environ["WM_FLOW_JOB_ID"], wmill.get_state()]
"""
ASKS = """
import wmill
def main(level):
    return wmill.get_resume_urls("Ada", flow_level=level)
"""
CONCLUDES = "def main(said, who):\n    return [said, who]\n"


def test_steps_of_a_flow_share_values(desk: Desk) -> None:
    one = {"id": "a", "value": code(KEEPS, x="flow_input.x")}
    other = {"id": "b", "value": code(READS)}
    both = {"id": "c", "value": code("def main(a, b): return [a, b]", a="results.a", b="results.b")}
    desk.flow("f/c/shares", one, other, both)
    first, (seen, root, flow, state) = desk.run("f/c/shares", "f", x=1)
    assert first == [{"x": 1}, None]
    assert (seen, root, state) == ({"x": 1}, flow, "f/c/shares/b_user")


@pytest.mark.parametrize("level", [None, True])
@pytest.mark.parametrize("answer", ["resume", "cancel"])
def test_a_flow_is_resumed_by_its_urls(desk: Desk, outside: Any, level: bool | None, answer: str) -> None:
    asks = {"id": "a", "value": code(ASKS, level="flow_input.level"), "suspend": {"required_events": 1}}
    ends = {"id": "b", "value": code(CONCLUDES, said="resume", who="approvers")}
    desk.flow("f/c/asks", asks, ends)
    job = outside.run_flow_async("f/c/asks", {"level": level})
    first = {"type": "WaitingForPriorSteps"}
    while first["type"] not in {"Success", "Failure"}:
        outside.get(f"/w/default/jobs_u/getupdate/{job}", params={"running": "true"})
        first = outside.get_job(job)["flow_status"]["modules"][0]
    urls = outside.get_result(first["job"])
    assert set(urls) == {"approvalPage", "resume", "cancel"}
    answered = desk.api.client.post(urls[answer], json={"ok": 1})
    assert answered.status_code == 201, answered.text
    if answer == "resume":
        assert outside.wait_job(job) == [{"ok": 1}, ["Ada"]]
    else:
        with pytest.raises(Exception, match="not successful"):
            outside.wait_job(job)
