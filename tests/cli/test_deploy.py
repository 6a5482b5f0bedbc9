"""`mill deploy`: which files, under which paths, with which options."""

from __future__ import annotations

from pathlib import Path

import pytest

from mill_actors.store.client import Client
from tests.cli.conftest import ROOT, Mill


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


CODE = "def main(): pass\n"


def test_a_folder_tree(mill: Mill, dsn: str) -> None:
    write(
        mill.folder / "repo",
        {
            "f/billing/charge.py": CODE,
            "f/billing/charge.script.yaml": "dedicated_worker: true\ntimeout: 5\ncache_ttl: 3\n",
            "f/billing/charge.script.lock": "requests==2\n",
            "f/billing/deep/total.bun.ts": "export function main() {}",
            "f/billing/types.d.ts": "",
            "f/billing/old.deno.ts": "export function main() {}",
            "f/billing/query.pg.sql": "select 1",
            "f/billing/monthly.flow/step.py": CODE,
            "f/billing/__pycache__/charge.cpython-311.pyc": "",
            "f/billing/.hidden.py": CODE,
            "u/ada/hello.js": "export function main() {}",
            "setup.py": CODE,
        },
    )
    done = mill("deploy", "repo", "--json")
    assert [(row["path"], row["language"], row["tag"], row["changed"]) for row in done.json] == [
        ("f/billing/charge", "python3", "default:f/billing/charge", True),
        ("f/billing/deep/total", "bun", "bun", True),
        ("u/ada/hello", "bun", "bun", True),
    ]
    assert "f/billing/charge: charge.script.yaml: not used: cache_ttl\n" in done.err
    assert "old.deno.ts: there is no runtime for it yet" in done.err
    assert "query.pg.sql: there is no runtime for it yet" in done.err
    assert "monthly.flow: there is no flow.yaml in it" in done.err
    with Client(dsn) as client:
        assert client.script("f/billing/charge").options.timeout_seconds == 5
    again = mill("deploy", "repo", "--json", "--timeout", "9")
    assert [row["changed"] for row in again.json] == [True, True, True]
    assert [row["changed"] for row in mill("deploy", "repo", "--json", "--timeout", "9").json] == [False] * 3
    assert "unchanged" in mill("deploy", "repo", "--timeout", "9").out


def test_the_examples_deploy(mill: Mill) -> None:
    assert len(mill("deploy", str(ROOT / "examples/scripts"), "--json").json) >= 2
    assert [row["path"] for row in mill("deploy", str(ROOT / "examples/demo"), "--json").json] == [
        "f/demo/enrich",
        "f/demo/score",
    ]


@pytest.mark.parametrize(
    ("file", "flags", "path"),
    [
        ("charge.py", ["--path", "f/billing/charge"], "f/billing/charge"),
        ("f/billing/charge.py", [], "f/billing/charge"),
        ("x/f/a/u/ada/charge.py", [], "u/ada/charge"),
        ("f/billing/charge.py", ["--path", "u/ada/other"], "u/ada/other"),
    ],
)
def test_a_single_file(file: str, flags: list[str], path: str, mill: Mill) -> None:
    write(mill.folder, {file: CODE})
    assert mill("deploy", file, *flags, "--json").json[0]["path"] == path


def test_a_folder_inside_f(mill: Mill) -> None:
    write(mill.folder, {"f/billing/deep/charge.py": CODE})
    assert mill("deploy", "f/billing", "--json").json[0]["path"] == "f/billing/deep/charge"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere: there is no such file or folder"),
        (["charge.py"], "say --path f/folder/name"),
        (["charge.py", "--path", "charge"], "'charge' does not look like f/folder/name"),
        (["notes.txt", "--path", "f/a/notes"], "no language has files that end so"),
        (["empty"], "has no folder f/ or u/"),
        (["repo", "--path", "f/a/b"], "--path: goes with a single file"),
        (["doubled"], "f/a/b: is both"),
    ],
)
def test_what_cannot_be_deployed(arguments: list[str], says: str, mill: Mill) -> None:
    write(
        mill.folder,
        {
            "charge.py": CODE,
            "notes.txt": "",
            "empty/x": "",
            "repo/f/a/b.py": CODE,
            "doubled/f/a/b.py": CODE,
            "doubled/f/a/b.ts": "",
        },
    )
    done = mill("deploy", *arguments, code=2)
    assert says in done.err
    assert done.out == ""


def test_all_faults_at_once_and_nothing_deployed(mill: Mill, dsn: str) -> None:
    write(
        mill.folder,
        {
            "f/a/good.py": CODE,
            "f/a/late.py": CODE,
            "f/a/late.script.yaml": "timeout: never\n",
            "f/a/wide.py": CODE,
            "f/a/wide.script.yaml": "concurrent_limit: -1\n",
        },
    )
    done = mill("deploy", ".", "--priority", "101", code=2)
    assert "late.script.yaml: timeout: " in done.err
    assert "wide.script.yaml: concurrent_limit: " in done.err
    assert done.err.count("--priority: ") == 1
    with Client(dsn) as client:
        assert client.scripts() == []


def test_a_dry_run_deploys_nothing(mill: Mill, dsn: str) -> None:
    write(mill.folder, {"f/a/b.py": CODE})
    assert mill("deploy", ".", "--dry-run", "--json").json[0]["changed"] is None
    with Client(dsn) as client:
        assert client.scripts() == []


def test_a_workspace_that_is_not_there(mill: Mill) -> None:
    write(mill.folder, {"f/a/b.py": CODE})
    done = mill("deploy", ".", "--workspace", "nowhere", code=2)
    assert done.err == "mill: --workspace: there is no workspace 'nowhere'\n"
