"""`mill flow test`: real processes, no database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Mill
from tests.cli.test_deploy import write
from tests.cli.test_flow_files import flow, step


def raw(step_id: str, code: str, language: str = "python3", **inputs: str) -> dict[str, Any]:
    return step(
        step_id,
        type="rawscript",
        language=language,
        content=code,
        input_transforms={name: {"type": "javascript", "expr": expr} for name, expr in inputs.items()},
    )


CHARGE = """
def main(customer):
    print("charging", customer)
    if customer == 1:
        raise ValueError("no money")
    return customer * 2
"""
LOOP = step(
    "b",
    type="forloopflow",
    iterator={"type": "javascript", "expr": "results.a"},
    skip_failures=True,
    modules=[
        step(
            "c",
            type="script",
            path="f/a/charge",
            input_transforms={"customer": {"type": "javascript", "expr": "flow_input.iter.value"}},
        )
    ],
)


def test_a_flow_runs_with_the_scripts_and_flows_beside_it(bare: Mill) -> None:
    write(
        bare.folder,
        {
            "f/a/run.flow.json": flow(
                raw("a", "def main(n):\n    return list(range(n))\n", n="flow_input.n"),
                LOOP,
                step("s", type="flow", path="f/a/sub", input_transforms={}),
            ),
            "f/a/charge.py": CHARGE,
            "f/a/sub__flow/flow.yaml": "value:\n  modules:\n    - id: x\n      value:\n"
            "        {type: rawscript, language: bun, content: '!inline x.ts', input_transforms: {}}\n",
            "f/a/sub__flow/x.ts": "export function main() { console.log('hi'); return 5 }\n",
        },
    )
    done = bare("flow", "test", "f/a/run.flow.json", "-a", "n=3")
    assert done.out == "5\n"
    lines = [line.partition(" in ")[0] for line in done.err.splitlines()]
    assert lines == [
        "mill: a success",
        "b[0] | charging 0",
        "mill: b[0] success",
        "b[1] | charging 1",
        "mill: b[1] failure",
        "b[2] | charging 2",
        "mill: b[2] success",
        "s.x | hi",
        "mill: s.x success",
        "mill: s success",
        "mill: f/a/run success",
    ]
    assert ": ValueError: no money" in done.err
    assert not (bare.folder / ".mill/postgres").exists()


def test_a_failure_is_1_with_its_stack(bare: Mill) -> None:
    write(bare.folder, {"run.yaml": flow(raw("a", "def main():\n    raise ValueError('no such month')\n"))})
    done = bare("flow", "test", "run.yaml", code=1)
    assert done.out == ""
    assert "\nValueError: no such month\n" in done.err
    told = bare("flow", "test", "run.yaml", "--json", code=1).json
    assert (told["status"], told["result"]["error"]["name"]) == ("failure", "ValueError")


def test_faults_are_told_and_nothing_runs(bare: Mill) -> None:
    write(bare.folder, {"run.json": flow(step("a", type="nothing"))})
    done = bare("flow", "test", "run.json", code=2)
    assert "run.json: value.modules[0].value.type: " in done.err


ASKING = flow(
    {**raw("a", "def main():\n    return 'a'\n"), "suspend": {"required_events": 1}},
    raw("b", "def main(said):\n    return said\n", said="resume"),
)


@pytest.mark.parametrize(
    ("flags", "stdin", "code", "result"),
    [
        (["--approve"], "", 0, None),
        ([], "y\n", 0, None),
        ([], '{"limit": 3}\n', 0, {"limit": 3}),
    ],
)
def test_approvals_are_answered(flags: list[str], stdin: str, code: int, result: Any, bare: Mill) -> None:
    write(bare.folder, {"run.json": ASKING})
    done = bare("flow", "test", "run.json", *flags, code=code, stdin=stdin)
    assert json.loads(done.out) == result
    assert ("mill: step a asks for an approval" in done.err) == bool(stdin)


def test_who_refuses_fails_it_and_who_says_nothing_is_told_so(bare: Mill) -> None:
    write(bare.folder, {"run.json": ASKING})
    assert (
        "SuspendedDisapproved: Disapproved by terminal"
        in bare("flow", "test", "run.json", code=1, stdin="n\n").err
    )
    assert "--approve: nobody answers what step a asks" in bare("flow", "test", "run.json", code=2).err


def test_pauses_are_told_and_not_waited_for(bare: Mill) -> None:
    write(
        bare.folder,
        {
            "run.json": flow(
                {**step("a"), "sleep": {"type": "static", "value": 3600}},
                {
                    **raw("b", "def main():\n    raise OSError('never')\n"),
                    "retry": {"constant": {"attempts": 1, "seconds": 600}},
                },
            )
        },
    )
    done = bare("flow", "test", "run.json", code=1)
    assert "mill: sleeps 3600 s, which are not waited for\n" in done.err
    assert "mill: b (try 1) failure in " in done.err
    assert "mill: b waits 600 s before this try, which are not waited for\n" in done.err


def test_what_takes_too_long_is_killed_and_the_flow_goes_on(bare: Mill) -> None:
    write(
        bare.folder,
        {
            "run.json": flow(
                {
                    **raw("a", "import time\ndef main():\n    time.sleep(60)\n"),
                    "timeout": {"type": "static", "value": 1},
                    "continue_on_error": True,
                },
                raw("b", "def main(e):\n    return e\n", e="previous_result.error.name"),
                raw("c", "import os\ndef main():\n    os._exit(3)\n"),
            )
        },
    )
    done = bare("flow", "test", "run.json", code=1)
    assert "mill: a failure in 0 µs: Timeout: " in done.err
    assert "mill: b success" in done.err
    assert "mill: c failure in 0 µs: ProcessDied: " in done.err


def test_a_script_that_cannot_be_imported_or_is_not_there(bare: Mill) -> None:
    write(
        bare.folder,
        {
            "run.json": flow(
                {**raw("a", "import nothing_like_it\ndef main(): pass\n"), "continue_on_error": True},
                {**step("b", type="script", path="f/a/b", input_transforms={}), "continue_on_error": True},
                step("c", type="flow", path="f/a/c", input_transforms={}),
            )
        },
    )
    done = bare("flow", "test", "run.json", code=1)
    assert "No module named 'nothing_like_it'" in done.err
    assert "mill: b failure: ScriptNotFound: there is no script 'f/a/b'\n" in done.err
    assert "mill: c failure: FlowNotFound: there is no flow 'f/a/c'\n" in done.err


def test_variables_and_resources_are_what_the_command_says(bare: Mill) -> None:
    code = "def main(url, api):\n    return [url, api]\n"
    refers = step(
        "a",
        type="rawscript",
        language="python3",
        content=code,
        input_transforms={
            "url": {"type": "static", "value": "$var:f/a/url"},
            "api": {"type": "static", "value": "$res:f/a/api"},
        },
    )
    write(bare.folder, {"run.json": flow(refers)})
    done = bare(
        "flow",
        "test",
        "run.json",
        "--variable",
        "f/a/url=http://stub",
        "--resource",
        'f/a/api={"key": "$var:f/a/url"}',
        "--json",
    )
    assert done.json["result"] == ["http://stub", {"key": "http://stub"}]
    told = bare("flow", "test", "run.json", "--variable", "f/a/url=x", code=1).err
    assert "mill: a failure: ExecutionErr: $res:f/a/api: say --resource f/a/api=JSON\n" in told


def test_a_parallel_loop_uses_several_processes(bare: Mill) -> None:
    meeting = (
        "import os, time\n"
        "def main(n, folder):\n"
        "    open(f'{folder}/{n}', 'w').close()\n"
        "    while len(os.listdir(folder)) < 2:\n"
        "        time.sleep(0.01)\n"
        "    return n\n"
    )
    loop = step(
        "l",
        type="forloopflow",
        iterator={"type": "static", "value": [0, 1]},
        skip_failures=False,
        parallel=True,
        modules=[raw("m", meeting, n="flow_input.iter.value", folder="flow_input.folder")],
    )
    (bare.folder / "meeting").mkdir()
    write(bare.folder, {"run.json": flow(loop)})
    folder = json.dumps({"folder": str(bare.folder / "meeting")})
    done = bare("flow", "test", "run.json", "--input", folder, "--processes", "2")
    assert done.out == "[0,1]\n"
