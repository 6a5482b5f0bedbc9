"""Flows on disk: which files they are, `mill flow validate`, `mill flow show`, `mill deploy`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mill_actors.cli.flow_files import FlowFileError, read_document
from mill_actors.store.client import Client
from tests.cli.conftest import Mill
from tests.cli.test_deploy import write
from tests.flows.corpus import BIG, document, with_unheard

CODE = "def main(x=0):\n    return x\n"
RAW = """\
summary: {summary}
value:
  modules:
    - id: a
      value:
        type: rawscript
        language: python3
        content: {content}
        input_transforms: {{}}
"""
INLINE = RAW.format(summary="Monthly", content="'!inline a.inline_script.py'")


def flow(*modules: Any, **more: Any) -> str:
    return json.dumps({"summary": "", "value": {"modules": list(modules), **more}})


def step(step_id: str, **value: Any) -> dict[str, Any]:
    return {"id": step_id, "value": value or {"type": "identity"}}


# ---------------------------------------------------------------- documents


def test_yaml_is_read_as_windmill_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(
        "base: &base {type: identity, n: 010}\n"
        "again: *base\n"
        "merged: {<<: *base, on: yes}\n"
        "when: 2024-01-01\n"
        "nothing: ~\n"
        "empty:\n"
        "numbers: [1, -2, 1.5, 1e3, 0x10, 1:30]\n"
        "answers: [true, False, on, no]\n"
    )
    assert read_document(file) == {
        "base": {"type": "identity", "n": 10},
        "again": {"type": "identity", "n": 10},
        "merged": {"type": "identity", "n": 10, "on": "yes"},
        "when": "2024-01-01",
        "nothing": None,
        "empty": None,
        "numbers": [1, -2, 1.5, 1000.0, 16, "1:30"],
        "answers": [True, False, "on", "no"],
    }


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("flow.yaml", "a: 1\nb: 2\na: 3\n", "line 3: 'a' is there twice"),
        ("flow.yaml", "a: [1\n", "is not YAML: line"),
        ("flow.yaml", "a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("flow.json", '{"a": 1, "a": 2}', "is not JSON: 'a' is there twice"),
        ("flow.json", '{"a": NaN}', "NaN is no JSON"),
        ("flow.json", "{", "is not JSON: "),
        ("flow.json", "[" * 100_000, "is nested too deep"),
    ],
)
def test_what_is_no_document(name: str, text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(FlowFileError) as caught:
        read_document(file)
    assert says in str(caught.value)


def test_inline_code_is_filled_in_wherever_a_step_is(tmp_path: Path) -> None:
    write(tmp_path, {"flow.yaml": "", "x.py": CODE, "deep/y.py": "y", "x.lock": "requests==2\n"})
    document = {
        "value": {
            "modules": [{"value": {"content": "!inline x.py", "lock": "!inline x.lock"}}],
            "failure_module": {"value": {"content": "!inline deep/y.py"}},
        },
        "other": "!inline x.py",
    }
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(document))
    assert read_document(file) == {
        "value": {
            "modules": [{"value": {"content": CODE, "lock": "requests==2\n"}}],
            "failure_module": {"value": {"content": "y"}},
        },
        "other": "!inline x.py",
    }
    tagged = tmp_path / "flow.yaml"
    tagged.write_text("content: !inline x.py\n")
    assert read_document(tagged) == {"content": CODE}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../secret.py", "is not in the flow's folder"),
        ("/etc/passwd", "is not in the flow's folder"),
        ("link.py", "is not in the flow's folder"),
        ("", "is not in the flow's folder"),
        ("gone.py", "is not there"),
        ("binary.py", "cannot be read"),
    ],
)
def test_inline_code_stays_in_the_flows_folder(name: str, says: str, tmp_path: Path) -> None:
    write(tmp_path, {"secret.py": "secret", "run.flow/flow.yaml": ""})
    folder = tmp_path / "run.flow"
    (folder / "link.py").symlink_to("../secret.py")
    (folder / "binary.py").write_bytes(b"\xff")
    (folder / "flow.yaml").write_text(f"value: [{{content: '!inline {name}'}}]\n")
    with pytest.raises(FlowFileError) as caught:
        read_document(folder / "flow.yaml")
    assert caught.value.faults[0].startswith("value[0].content: ")
    assert says in caught.value.faults[0]


# ---------------------------------------------------------------- validate


def test_validate_tells_every_fault_of_every_flow(bare: Mill) -> None:
    write(
        bare.folder,
        {
            "f/a/good.flow/flow.yaml": INLINE,
            "f/a/good.flow/a.inline_script.py": CODE,
            "f/a/bad__flow/flow.yaml": INLINE,
            "f/a/loop.flow.json": flow(
                step("a"), step("l", type="forloopflow", modules=[], skip_failures=False), step("a")
            ),
        },
    )
    done = bare("flow", "validate", ".", code=1)
    assert done.out.splitlines() == [
        "f/a/bad__flow/flow.yaml: value.modules[0].value.content: a.inline_script.py is not there",
        "f/a/loop.flow.json: value.modules[1].value.iterator: is missing",
        "f/a/loop.flow.json: value.modules[2].id: a is the id of value.modules[0] too",
    ]
    told = bare("flow", "validate", ".", "--json", code=1).json
    assert [(each["file"], len(each["faults"])) for each in told] == [
        ("f/a/bad__flow/flow.yaml", 1),
        ("f/a/good.flow/flow.yaml", 0),
        ("f/a/loop.flow.json", 2),
    ]
    assert bare("flow", "validate", "f/a/good.flow").err == "mill: 1 flow without faults\n"


def test_validate_takes_any_file_and_a_value_alone(bare: Mill) -> None:
    write(
        bare.folder,
        {"anything.yaml": "modules: []\n", "bad.json": '{"modules": 3}', "notes.txt": "", "empty/x": ""},
    )
    bare("flow", "validate", "anything.yaml")
    assert bare("flow", "validate", "bad.json", code=1).out.startswith("bad.json: value.modules: ")
    assert "is no flow" in bare("flow", "validate", "notes.txt", code=2).err
    assert "has no flows below f/ or u/" in bare("flow", "validate", "empty", code=2).err
    assert "there is no such file" in bare("flow", "validate", "gone.yaml", code=2).err


# ---------------------------------------------------------------- show

DRAWN = flow(
    {**step("a", type="script", path="f/a/load", input_transforms={}), "summary": "Load"},
    step(
        "l",
        type="forloopflow",
        iterator={"type": "javascript", "expr": "results.a"},
        skip_failures=True,
        parallel=True,
        modules=[{**step("c"), "retry": {"constant": {"attempts": 1, "seconds": 1}}}],
    ),
    step("d", type="branchone", branches=[{"expr": "1 < 2", "modules": [step("e")]}], default=[]),
    {**step("g"), "suspend": {"required_events": 1}},
    failure_module=step("failure", type="script", path="f/a/sorry", input_transforms={}),
)


def test_show_draws_a_file(bare: Mill) -> None:
    write(bare.folder, {"f/a/run.flow.json": DRAWN})
    assert bare("flow", "show", "f/a/run.flow.json").out == (
        "f/a/run\n"
        "├── a  f/a/load  “Load”\n"
        "├── l  for each of results.a, in parallel\n"
        "│   └── c  identity  (retry)\n"
        "├── d  one of\n"
        "│   ├── default\n"
        "│   └── if 1 < 2\n"
        "│       └── e  identity\n"
        "├── g  identity  (then approval)\n"
        "└── failure  f/a/sorry\n"
    )
    drawn = bare("flow", "show", "f/a/run.flow.json", "--mermaid").out
    assert drawn.startswith("flowchart TD\n")
    assert '  s_a["a Load"]\n' in drawn
    assert "  s_c -. next .-> s_l\n" in drawn
    assert '  s_d_b1["if 1 &lt; 2"]\n' in drawn
    assert "  start -. on error .-> s_failure\n" in drawn
    assert "s_g_v" not in drawn


# ---------------------------------------------------------------- deploy


def test_flows_are_deployed_after_scripts(mill: Mill, dsn: str) -> None:
    write(
        mill.folder / "repo",
        {
            "f/billing/charge.py": CODE,
            "f/billing/run.flow/flow.yaml": INLINE + "dedicated_worker: true\nschema: {type: object}\n",
            "f/billing/run.flow/a.inline_script.py": CODE,
            "f/billing/deep/total__flow/flow.json": flow(
                step("a", type="script", path="f/billing/charge", input_transforms={}),
                step("b", type="flow", path="f/billing/run", input_transforms={}),
                step("c", type="flow", path="f/billing/nowhere", input_transforms={}),
                step("d", type="script", path="f/billing/gone", input_transforms={}),
            ),
            "u/ada/plain.flow.yml": RAW.format(summary="Plain", content="'def main(): pass'"),
            "f/billing/notes.yaml": "not: a flow\n",
            "f/billing/board.app/app.yaml": "x: 1\n",
        },
    )
    done = mill("deploy", "repo", "--json")
    assert [(row["path"], row["kind"], row["language"], row["tag"], row["changed"]) for row in done.json] == [
        ("f/billing/charge", "script", "python3", "python3", True),
        ("f/billing/deep/total", "flow", None, "flow", True),
        ("f/billing/run", "flow", None, "default:flow/f/billing/run", True),
        ("u/ada/plain", "flow", None, "flow", True),
    ]
    assert done.err.splitlines() == [
        f"mill: not deployed: {Path('repo/f/billing/board.app')}: only scripts and flows are",
        "mill: f/billing/deep/total: step c: there is no flow f/billing/nowhere yet",
        "mill: f/billing/deep/total: step d: there is no script f/billing/gone yet",
    ]
    assert [row["changed"] for row in mill("deploy", "repo", "--json").json] == [False] * 4
    assert "unchanged" in mill("deploy", "repo").out
    with Client(dsn) as client:
        found = client.flow("f/billing/run")
        assert (found.summary, found.dedicated, json.loads(found.schema or "")) == (
            "Monthly",
            True,
            {"type": "object"},
        )
        assert json.loads(found.value)["modules"][0]["value"]["content"] == CODE
    assert mill("flow", "show", "f/billing/run").out == "f/billing/run  Monthly\n└── a  python3\n"
    told = mill("flow", "show", "f/billing/runn", code=2).err
    assert "There is no flow 'f/billing/runn'" in told
    assert "Did you mean f/billing/run" in told


def test_what_was_deployed_is_read_back_as_it_stood(mill: Mill, dsn: str) -> None:
    told = with_unheard(document(BIG, description="", on_behalf_of_email="ada@example.com", tag="gpu"))
    more = {"dedicated_worker": False, "visible_to_runner_only": True, "ws_error_handler_muted": False}
    write(mill.folder, {"f/a/one.flow.json": json.dumps(told | more)})
    on_disk = mill("flow", "show", "f/a/one.flow.json", "--json").json
    assert on_disk == {"document": told | more, "status": None, "inside": None}
    assert [row["changed"] for row in mill("deploy", "f", "--json").json] == [True]
    assert [row["changed"] for row in mill("deploy", "f", "--json").json] == [False]
    assert mill("flow", "show", "f/a/one", "--json").json == on_disk
    job = mill("flow", "run", "f/a/one", "--no-wait").out.strip()
    # A field beside the value is part of what a version is named by; a run keeps the one it began with.
    write(mill.folder, {"f/a/one.flow.json": json.dumps(told | more | {"unheard_of": 3})})
    assert [row["changed"] for row in mill("deploy", "f", "--json").json] == [True]
    assert mill("flow", "show", "f/a/one", "--json").json["document"]["unheard_of"] == 3
    assert mill("flow", "show", job, "--json").json["document"] == told | more
    with Client(dsn) as client:
        assert (client.flow("f/a/one").tag, client.flow("f/a/one").schema is None) == ("gpu", False)


def test_a_flow_is_deployed_by_its_folder_its_document_or_its_plain_file(mill: Mill, dsn: str) -> None:
    write(
        mill.folder,
        {
            "f/a/one.flow/flow.yaml": INLINE,
            "f/a/one.flow/a.inline_script.py": CODE,
            "f/a/two.flow.json": flow(),
            "loose.flow.json": flow(),
        },
    )
    assert mill("deploy", "f/a/one.flow", "--json").json[0]["path"] == "f/a/one"
    assert mill("deploy", "f/a/one.flow/flow.yaml", "--json").json[0]["changed"] is False
    assert mill("deploy", "f/a/two.flow.json", "--json").json[0]["path"] == "f/a/two"
    assert "say --path f/folder/name" in mill("deploy", "loose.flow.json", code=2).err
    told = mill(
        "deploy",
        "loose.flow.json",
        "--path",
        "f/a/three",
        "--priority",
        "7",
        "--dedicated",
        "--concurrency-limit",
        "2",
        "--timeout",
        "60",
        "--json",
    ).json
    assert told[0]["tag"] == "default:flow/f/a/three"
    with Client(dsn) as client:
        options = client.flow("f/a/three").options
    assert (options["priority"], options["concurrency_limit"], options["timeout_seconds"]) == (7, 2, 60)


def test_faults_of_flows_and_scripts_come_together_and_nothing_is_deployed(mill: Mill, dsn: str) -> None:
    write(
        mill.folder,
        {
            "f/a/late.py": CODE,
            "f/a/late.script.yaml": "timeout: never\n",
            "f/a/good.flow.json": flow(),
            "f/a/one.flow/flow.yaml": "value:\n  modules:\n    - {id: a}\n",
            "f/a/two.flow.json": flow(
                step("x", type="aiagent"), step("y", type="rawscript", content="", language="go")
            ),
        },
    )
    done = mill("deploy", ".", code=2)
    assert done.err.startswith("mill: There are 5 faults, and nothing was deployed:\n")
    assert "f/a/late.script.yaml: timeout: " in done.err
    assert "f/a/one.flow/flow.yaml: value.modules[0].value: " in done.err
    assert "f/a/two.flow.json: value.modules[0].value.type: step x is of type" in done.err
    assert 'f/a/two.flow.json: value.modules[1].value.language: step y is in "go"' in done.err
    with Client(dsn) as client:
        assert client.scripts() == []
        assert client.flows() == []


def test_one_path_is_one_flow(mill: Mill) -> None:
    write(mill.folder, {"f/a/one.flow.json": flow(), "f/a/one.flow/flow.json": flow()})
    assert "f/a/one: is both " in mill("deploy", ".", code=2).err


def test_a_dry_run_deploys_no_flow(mill: Mill, dsn: str) -> None:
    write(mill.folder, {"f/a/one.flow.json": flow()})
    assert mill("deploy", ".", "--dry-run", "--json").json[0]["changed"] is None
    with Client(dsn) as client:
        assert client.flows() == []


def test_a_file_that_cannot_be_read(bare: Mill) -> None:
    write(bare.folder, {"f/a/one.flow.json": ""})
    os.truncate(bare.folder / "f/a/one.flow.json", 0)
    (bare.folder / "f/a/one.flow.json").write_bytes(b"\xff\xff")
    assert "cannot be read" in bare("flow", "validate", "f/a/one.flow.json", code=1).out
