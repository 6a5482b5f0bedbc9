"""Flows beside a node that runs them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from mill_actors.flows.version import FlowOptions
from mill_actors.store.client import Client
from mill_actors.store.flow_versions import make_flow
from tests.cli.conftest import Mill, open_gate
from tests.cli.test_flow_files import step
from tests.cli.test_flow_rehearsal import raw


def deploy(live: Mill, path: str, *modules: Any, dedicated: bool = False, **more: Any) -> str:
    value = json.dumps({"modules": modules, **more}).encode()
    with Client(live.environ["DATABASE_URL"]) as client:
        client.deploy_flow(make_flow("default", path, value, options=FlowOptions(dedicated=dedicated)))
    return path


LOOP = step(
    "b",
    type="forloopflow",
    iterator={"type": "javascript", "expr": "results.a"},
    skip_failures=True,
    modules=[raw("c", "def main(n):\n    print('item', n)\n    return 6 // n\n", n="flow_input.iter.value")],
)


@pytest.fixture(scope="module")
def looping(live: Mill) -> str:
    return deploy(
        live,
        "f/live/looping",
        raw("a", "def main(n):\n    print('making')\n    return list(range(n))\n", n="flow_input.n"),
        LOOP,
        raw("d", "def main(all):\n    return len(all)\n", all="results.b"),
    )


@pytest.fixture(scope="module")
def asking(live: Mill) -> str:
    return deploy(
        live,
        "f/live/asking",
        {**raw("a", "def main():\n    return 'a'\n"), "suspend": {"required_events": 1}},
        raw("b", "def main(said, who):\n    return [said, who]\n", said="resume", who="approvers"),
    )


@pytest.mark.parametrize("command", [["flow", "run"], ["run"]])
def test_run_tells_each_step_and_prints_the_result(command: list[str], live: Mill, looping: str) -> None:
    done = live(*command, looping, "--arg", "n=3")
    assert done.out == "3\n"
    lines = [line.partition(" in ")[0] for line in done.err.splitlines()]
    assert [line for line in lines if line.startswith("mill: ")][:-1] == [
        "mill: a success",
        "mill: b[0] failure",
        "mill: b[1] success",
        "mill: b[2] success",
        "mill: d success",
    ]
    assert ": ZeroDivisionError: " in done.err
    assert "a | making" in lines
    assert "b[2] | item 2" in lines
    assert lines[-1].endswith("success")


def test_a_failed_flow_is_1(live: Mill) -> None:
    path = deploy(live, "f/live/failing", raw("a", "def main():\n    raise ValueError('no')\n"))
    done = live("flow", "run", path, "--json", code=1)
    assert (done.json["status"], done.json["result"]["error"]["message"]) == ("failure", "no")
    assert "There is no flow 'f/live/failin'" in live("flow", "run", "f/live/failin", code=2).err


def test_a_flow_that_stops_early_is_skipped_and_went_well(live: Mill) -> None:
    stops = {**raw("a", "def main():\n    return 1\n")}
    stops["stop_after_if"] = {"expr": "result == 1", "skip_if_stopped": True}
    path = deploy(live, "f/live/stops", stops, raw("b", "def main():\n    return 2\n"))
    done = live("run", path)
    assert done.out == "1\n"
    assert " skipped in " in done.err


def test_status_and_show_and_get_of_a_run(live: Mill, looping: str) -> None:
    job = live("flow", "run", looping, "-a", "n=3", "--json").json["id"]
    status = live("flow", "status", job).json
    assert [(m["type"], m["id"]) for m in status["modules"]] == [
        ("Success", "a"),
        ("Success", "b"),
        ("Success", "d"),
    ]
    assert status["step"] == 3
    assert status["modules"][1]["flow_jobs_success"] == [False, True, True]
    drawn = live("flow", "show", job).out
    assert drawn.startswith("f/live/looping  success\n├── a  python3  success\n")
    assert (
        "├── b  for each of results.a  success (3 jobs)\n│   └── c  python3  done 2, failed 1 of 3\n" in drawn
    )
    assert "  class s_a,s_b,s_d green" in live("flow", "show", job, "--mermaid").out
    shown = live("job", "get", job).out
    assert "flow       f/live/looping (" in shown
    assert f"b[2]   {status['modules'][1]['flow_jobs'][2]}   success" in shown
    told = live("job", "get", job, "--json").json
    assert [(s["step"], s["iteration"]) for s in told["steps"]] == [
        ("a", None),
        ("b", 0),
        ("b", 1),
        ("b", 2),
        ("d", None),
    ]
    inner = live("job", "get", status["modules"][1]["flow_jobs"][2]).out
    assert f"step       b[2] of {job}" in inner
    assert "has no steps" in live("flow", "status", status["modules"][0]["job"], code=2).err
    assert "There is no job" in live("flow", "status", str(uuid.uuid4()), code=1).err


WORK = """
def main(n, gate):
    if n in (7, 11):
        raise ValueError(n)
    if n == 39:
        open(gate).read()
    return n
"""
INSIDE = {
    "type": "forloopflow",
    "iterator": {"type": "static", "value": 40},
    "skip_failures": True,
    "modules": [
        raw("work", WORK, n="flow_input.iter.value", gate="flow_input.gate"),
        step(
            "either",
            type="branchone",
            branches=[
                {
                    "expr": "results.work % 10 == 0",
                    "summary": "tens",
                    "modules": [raw("ten", "def main(): pass")],
                },
                {"expr": "results.work < 0", "summary": "never", "modules": [step("no")]},
            ],
            default=[step("rest"), {**step("odd"), "skip_if": {"expr": "results.work % 2 == 0"}}],
        ),
        step(
            "both",
            type="branchall",
            parallel=True,
            branches=[
                {"summary": "left", "modules": [raw("l1", "def main(): pass"), step("l2")]},
                {
                    "summary": "right",
                    "modules": [
                        step(
                            "deep",
                            type="whileloopflow",
                            skip_failures=False,
                            modules=[
                                {**step("d1"), "stop_after_if": {"expr": "flow_input.iter.index == 1"}},
                                step("d2"),
                            ],
                        )
                    ],
                },
            ],
        ),
    ],
}
NEVER = {"type": "branchone", "branches": [], "default": [step("in1"), raw("in2", "def main(): pass")]}


STANDS = """\
├── loop  for each of a list  running 39/40
│   ├── work  python3  done 37, failed 2, running 1 of 40
│   ├── either  one of  done 37 of 40
│   │   ├── default  chosen 33
│   │   │   ├── rest  identity  done 33 of 33
│   │   │   └── odd  identity  (may be skipped)  done 17, skipped 16 of 33
│   │   ├── tens  chosen 4
│   │   │   └── ten  python3  done 4 of 4
│   │   └── never
│   │       └── no  identity
│   └── both  all of, in parallel  done 74 of 80 branches
│       ├── left  done 37 of 40
│       │   ├── l1  python3  done 37 of 40
│       │   └── l2  identity  done 37 of 40
│       └── right  done 37 of 40
│           └── deep  while  done 74 of 74 iterations
│               ├── d1  identity  (may stop)  done 74 of 74
│               └── d2  identity  done 37 of 74
└── once  one of
    └── default
        ├── in1  identity
        └── in2  python3
"""
OVER = """\
├── loop  for each of a list  success (40 jobs)
│   ├── work  python3  done 38, failed 2 of 40
│   ├── either  one of  done 38 of 40
│   │   ├── default  chosen 34
│   │   │   ├── rest  identity  done 34 of 34
│   │   │   └── odd  identity  (may be skipped)  done 18, skipped 16 of 34
│   │   ├── tens  chosen 4
│   │   │   └── ten  python3  done 4 of 4
│   │   └── never
│   │       └── no  identity
│   └── both  all of, in parallel  done 76 of 80 branches
│       ├── left  done 38 of 40
│       │   ├── l1  python3  done 38 of 40
│       │   └── l2  identity  done 38 of 40
│       └── right  done 38 of 40
│           └── deep  while  done 76 of 76 iterations
│               ├── d1  identity  (may stop)  done 76 of 76
│               └── d2  identity  done 38 of 76
└── once  one of  success, default
    └── default  chosen
        ├── in1  identity  success
        └── in2  python3  success
"""


@pytest.mark.parametrize("dedicated", [False, True], ids=["ordinary", "held whole"])
def test_show_counts_what_is_inside_loops_and_tells_branches(dedicated: bool, live: Mill) -> None:
    gate = live.gate(uuid.uuid4().hex)
    path = deploy(
        live, f"f/live/inside{dedicated}", step("loop", **INSIDE), step("once", **NEVER), dedicated=dedicated
    )
    with live.running("flow", "run", path, "-a", f"gate={gate}") as run:
        with Client(live.environ["DATABASE_URL"]) as client, gate.open("wb"):
            # The last iteration stands there.
            (job,) = [job.id for job in client.list(path=path)]
            assert live("flow", "show", job).out == f"{path}  open\n{STANDS}"
            inside = live("flow", "show", job, "--json").json["inside"]
            assert {name: count for name, count in inside["steps"]["work"].items() if count} == {
                "of": 40,
                "done": 37,
                "failed": 2,
                "running": 1,
            }
        run.end()
    assert live("flow", "show", job).out == f"{path}  success\n{OVER}"
    drawn = live("flow", "show", job, "--mermaid").out
    for line in [
        '  s_work["work python3<br/>done 38, failed 2 of 40"]',
        '  s_either_b1["tens<br/>chosen 4"]',
        '  s_either_b2["never"]',
        '  s_both{{"both all of, in parallel<br/>done 76 of 80 branches"}}',
        '  s_deep{{"deep while<br/>done 76 of 76 iterations"}}',
        '  s_in1["in1 identity<br/>success"]',
        "  class s_work red",
    ]:
        assert f"{line}\n" in drawn


def test_an_approval_is_asked_for_and_given(live: Mill, asking: str) -> None:
    with live.running("flow", "run", asking, "--json") as run:
        line = run.until_err("waits for an approval: `mill flow resume ")
        job = line.rpartition(" ")[2].strip().rstrip("`")
        assert "step b waits for an approval" in live("job", "get", job).out
        assert "b  python3  waits for approval" in live("flow", "show", job).out
        answered = live("flow", "resume", job, "--value", '{"limit": 3}', "--approver", "ada")
        assert answered.out == f"{job}\n"
        assert run.end().json["result"] == [{"limit": 3}, ["ada"]]
    late = live("flow", "resume", job, code=1)
    assert late.err == f"mill: Flow {job} is over (success): nothing waits for an answer.\n"


def test_an_approval_is_refused(live: Mill, asking: str) -> None:
    with live.running("flow", "run", asking) as run:
        line = run.until_err("waits for an approval: `mill flow resume ")
        live("flow", "resume", line.rpartition(" ")[2].strip().rstrip("`"), "--disapprove")
        assert "Disapproved by admin" in run.end(1).err


def test_an_answer_may_come_before_the_question(live: Mill) -> None:
    gate = live.gate(uuid.uuid4().hex)
    path = deploy(
        live,
        "f/live/early",
        {**raw("a", "def main(gate):\n    open(gate).read()\n", gate="flow_input.gate")}
        | {"suspend": {"required_events": 1}},
        raw("b", "def main(said):\n    return said\n", said="resume"),
    )
    with live.running("flow", "run", path, "-a", f"gate={gate}", "--json") as run:
        with Client(live.environ["DATABASE_URL"]) as client:
            while not (found := client.list(path=path)):
                pass
        live("flow", "resume", found[0].id, "--value", '"early"')
        open_gate(gate)
        assert run.end().json["result"] == "early"


def test_restart(live: Mill, looping: str) -> None:
    job = live("flow", "run", looping, "-a", "n=3", "--json").json["id"]
    done = live("flow", "restart", job, "--step", "b", "--iteration", "2", "--json")
    assert done.json["result"] == 3
    assert done.json["id"] != job
    assert done.err.count("item ") == 1
    assert "mill: a as before\n" in done.err
    assert "mill: b[1] as before\n" in done.err
    assert "mill: b[2] success" in done.err
    again = live("flow", "restart", job, "--step", "d", "--no-wait").out.strip()
    assert live("job", "logs", again, "--follow").code == 0
    for flags, says in [
        (["--step", "x"], "'x' is no step of the flow itself; those are a, b, d"),
        (["--step", "b", "--iteration", "9"], "iteration 3 of 'b' did not run"),
        (["--step", "a", "--iteration", "1"], "'a' is no loop and no branches that run one after another"),
    ]:
        assert says in live("flow", "restart", job, *flags, code=2).err
    assert (
        "has no steps"
        in live(
            "flow", "restart", live("job", "get", job, "--json").json["steps"][0]["id"], "--step", "a", code=2
        ).err
    )


def test_cancel_of_a_flow(live: Mill, asking: str) -> None:
    with live.running("flow", "run", asking, "--json") as run:
        line = run.until_err("waits for an approval: `mill flow resume ")
        job = line.rpartition(" ")[2].strip().rstrip("`")
        assert live("job", "cancel", job).out.split()[1] in {"requested", "cancelled"}
        assert run.end(1).json["status"] == "cancelled"


def test_nothing_is_said_of_further_iterations(live: Mill) -> None:
    loop = step(
        "l",
        type="forloopflow",
        iterator={"type": "static", "value": list(range(300))},
        skip_failures=False,
        modules=[step("x"), step("y")],
    )
    path = deploy(live, "f/live/long", loop)
    done = live("flow", "run", path)
    assert "mill: l: further jobs of it are not told one by one\n" in done.err
    assert "mill: l[0] success" in done.err
    assert "mill: l[299] success" not in done.err


def test_a_dedicated_flow_is_told_like_any_other(live: Mill) -> None:
    asks = {**raw("c", "def main():\n    print('in it')\n    return 2\n"), "suspend": {"required_events": 1}}
    loop = step(
        "l",
        type="forloopflow",
        iterator={"type": "static", "value": [1]},
        skip_failures=False,
        modules=[asks, step("d")],
    )
    path = deploy(live, "f/live/pinned", raw("a", "def main(): return 1\n"), loop, dedicated=True)
    with live.running("flow", "run", path) as run:
        line = run.until_err("mill: l[0].d waits for an approval: `mill flow resume ")
        body = line.rpartition(" ")[2].strip().rstrip("`")
        assert [m["type"] for m in live("flow", "status", body).json["modules"]] == [
            "Success",
            "WaitingForEvents",
        ]
        live("flow", "resume", body)
        done = run.end()
    assert done.out == "[2]\n"
    assert "mill: l[0] success" in done.err


def test_steps_are_listed_if_asked_for(live: Mill, looping: str) -> None:
    job = live("flow", "run", looping, "-a", "n=1", "--json").json["id"]
    first = live("flow", "status", job).json["modules"][0]["job"]
    assert first not in live("job", "list", "--limit", "1000").out
    assert first in live("job", "list", "--limit", "1000", "--steps").out
