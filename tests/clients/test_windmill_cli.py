"""npm's `windmill-cli` against a `mill dev`: a folder goes there and comes back, and jobs are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mill_actors.runtimes.bun import find_bun
from mill_actors.runtimes.language import InterpreterNotFound
from tests.clients.conftest import Desk

PROJECT = Path(__file__).with_name("project")
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SECOND = """
defaultTs: bun
includes: ["f/second/**"]
includeSchedules: true
skipResourceTypes: true
"""
#: What the command itself keeps beside one's files.
OWN = {"wmill-lock.yaml"}


def interpreter() -> str:
    """Bun or Node; without either all fails."""
    try:
        return find_bun()
    except InterpreterNotFound:
        node = shutil.which("node")
        assert node is not None, "windmill-cli needs Bun or Node"
        return node


@dataclass
class Wmill:
    """`wmill` as somebody types it in a folder."""

    program: Path
    settings: Path
    folder: Path

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [interpreter(), str(self.program), *arguments],
            cwd=self.folder,
            env={**os.environ, "WMILL_CONFIG_DIR": str(self.settings)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said = COLOURS.sub("", done.stdout)
        assert done.returncode == code, said
        return said

    def beside(self, folder: Path) -> Wmill:
        """The same command in another folder, which has but the project's settings."""
        folder.mkdir()
        shutil.copy(PROJECT / "wmill.yaml", folder)
        return Wmill(self.program, self.settings, folder)


def files(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in OWN
    }


@pytest.fixture(scope="module")
def pushed(desk: Desk, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Wmill, str]:
    """The command in a folder that was pushed, and what it said to that."""
    folder = tmp_path_factory.mktemp("wmill")
    shutil.copytree(PROJECT, folder / "project")
    wmill = Wmill(packages / "windmill-cli" / "esm" / "main.js", folder, folder / "project")
    wmill("workspace", "add", "here", "default", f"{desk.api.url}/", "--token", desk.api.token)
    return wmill, wmill("sync", "push", "--yes")


@pytest.fixture
def wmill(pushed: tuple[Wmill, str]) -> Wmill:
    return pushed[0]


def test_a_folder_is_pushed(pushed: tuple[Wmill, str]) -> None:
    made = set(re.findall(r"^\+ ([\w-]+) (\S+)$", pushed[1], re.MULTILINE))
    assert {name for _, name in made} == files(PROJECT).keys() - {"wmill.yaml"}
    assert f"All {len(made)} changes pushed" in pushed[1]


def test_what_was_pushed_is_not_pushed_again(wmill: Wmill) -> None:
    assert "0 changes to apply" in wmill("sync", "push", "--yes")


def test_the_same_files_come_back(wmill: Wmill, tmp_path: Path) -> None:
    other = wmill.beside(tmp_path / "other")
    other("sync", "pull", "--yes")
    assert files(other.folder) == files(PROJECT)
    assert "0 changes to apply" in other("sync", "pull", "--yes")
    assert "0 changes to apply" in wmill("sync", "pull", "--yes")


def test_secrets_travel_encrypted_unless_they_are_asked_for(wmill: Wmill, tmp_path: Path) -> None:
    other = wmill.beside(tmp_path / "other")
    settings = other.folder / "wmill.yaml"
    settings.write_text(settings.read_text().replace("plainSecrets: true", "plainSecrets: false"))
    other("sync", "pull", "--yes")
    assert "hush" not in (other.folder / "f/demo/password.variable.yaml").read_text()
    assert "0 changes to apply" in other("sync", "push", "--yes")


def test_changes_are_pushed(wmill: Wmill, desk: Desk, tmp_path: Path) -> None:
    other = wmill.beside(tmp_path / "other")
    (other.folder / "wmill.yaml").write_text(SECOND)
    second = other.folder / "f" / "second"
    shutil.copytree(PROJECT / "f" / "demo", second)
    other("sync", "push", "--yes", "--plain-secrets")
    (second / "hello.py").write_text("def main(x: int = 1):\n    return -x\n")
    step = second / "doubles.flow" / "step_a.inline_script.py"
    step.write_text(step.read_text().replace("x * 2", "x * 3"))
    for name in ("typed.ts", "typed.script.yaml", "greeting.variable.yaml", "hourly.schedule.yaml"):
        (second / name).unlink()
    said = other("sync", "push", "--yes", "--plain-secrets")
    assert set(re.findall(r"^([-~]) \S+ f/second/(\S+)$", said, re.MULTILINE)) == {
        ("~", "hello.py"),
        ("~", "doubles.flow/step_a.inline_script.py"),
        ("-", "typed.ts"),
        ("-", "greeting.variable.yaml"),
        ("-", "hourly.schedule.yaml"),
    }
    assert desk.run("f/second/hello", x=2) == -2
    assert desk.run("f/second/doubles", "f", x=2) == 7
    assert desk.api.get("scripts/get/p/f/second/typed").json()["archived"]
    assert desk.api.get("variables/get/f/second/greeting").status_code == 404
    shutil.rmtree(second / "doubles.flow")
    other("sync", "push", "--yes", "--plain-secrets")
    assert desk.api.get("flows/get/f/second/doubles").status_code == 404


def test_a_script_is_run(wmill: Wmill, desk: Desk) -> None:
    said = wmill("script", "run", "f/demo/hello", "-d", '{"x": 41}')
    assert "to 41" in said
    assert said.rstrip().endswith("42")
    assert json.loads(wmill("script", "run", "f/demo/typed", "-s", "-d", '{"name": "Ada"}')) == "hi Ada"
    desk.api.script("u/admin/fails", "def main():\n    raise ValueError('no luck')\n")
    assert "no luck" in wmill("script", "run", "u/admin/fails", code=1)


def test_a_flow_is_run(wmill: Wmill) -> None:
    said = wmill("flow", "run", "f/demo/doubles", "-d", '{"x": 20}')
    assert "doubling 20" in said
    assert "to 40" in said
    assert said.rstrip().endswith("41")


def test_code_is_tried_and_pushed_alone(wmill: Wmill) -> None:
    assert "6" in wmill("script", "preview", "f/demo/hello.py", "-d", '{"x": 5}')
    assert "up to date" in wmill("script", "push", "f/demo/hello.py")
    assert "up to date" in wmill("flow", "push", "f/demo/doubles.flow", "f/demo/doubles")
    assert "11" in wmill("flow", "preview", "f/demo/doubles.flow", "-d", '{"x": 5}')


def test_jobs_are_looked_at(wmill: Wmill, desk: Desk) -> None:
    job = desk.api.post("jobs/run/p/f/demo/hello", json={"x": 4}).text
    desk.api.wait(job)
    listed: list[dict[str, Any]] = json.loads(wmill("job", "list", "--json"))
    assert job in {each["id"] for each in listed}
    assert "f/demo/hello" in wmill("job", "get", job)
    assert "to 4" in wmill("job", "logs", job)
    assert wmill("job", "result", job).strip() == "5"


def test_jobs_run_again(wmill: Wmill, desk: Desk) -> None:
    script = desk.api.post("jobs/run/p/f/demo/hello", json={"x": 4}).text
    flow = desk.api.post("jobs/run/f/f/demo/doubles", json={"x": 4}).text
    desk.api.wait(script)
    desk.api.wait(flow)
    again = wmill("job", "rerun", script).strip()
    assert (again != script, desk.api.wait(again).value) == (True, 5)
    later = wmill("job", "restart", flow, "--step", "b").strip()
    assert (later != flow, desk.api.wait(later).value) == (True, 9)


def test_locks_are_made_though_there_is_nothing_to_lock(wmill: Wmill, tmp_path: Path) -> None:
    other = wmill.beside(tmp_path / "other")
    shutil.copytree(PROJECT / "f", other.folder / "f")
    other("script", "new", "f/demo/newer", "python3")
    assert "Updated" in other("generate-metadata", "--yes")
    assert "lock: ''" in (other.folder / "f" / "demo" / "newer.script.yaml").read_text()


def test_a_job_is_cancelled(wmill: Wmill, desk: Desk) -> None:
    job = desk.api.post("jobs/run/p/f/demo/hello", params={"scheduled_in_secs": 3600}, json={}).text
    wmill("job", "cancel", job)
    assert desk.api.wait(job).status == "cancelled"


@pytest.mark.parametrize(
    ("noun", "name"),
    [
        ("script", "f/demo/hello"),
        ("flow", "f/demo/doubles"),
        ("variable", "f/demo/greeting"),
        ("resource", "f/demo/db"),
        ("resource-type", "mydb"),
        ("schedule", "f/demo/hourly"),
        ("folder", "demo"),
    ],
)
def test_things_are_listed(wmill: Wmill, noun: str, name: str) -> None:
    assert name in wmill(noun, "list")


def test_a_schedule_is_switched(wmill: Wmill) -> None:
    wmill("schedule", "enable", "f/demo/hourly")
    assert "Enabled: true" in wmill("schedule", "get", "f/demo/hourly")
    wmill("schedule", "disable", "f/demo/hourly")
    assert "Enabled: false" in wmill("schedule", "get", "f/demo/hourly")


def test_one_variable_is_set_and_read(wmill: Wmill) -> None:
    wmill("variable", "add", "one", "u/admin/typed")
    wmill("variable", "add", "two", "u/admin/typed", "--yes")
    assert "Value: two" in wmill("variable", "get", "u/admin/typed")


def test_who_and_where(wmill: Wmill, desk: Desk) -> None:
    assert "admin@localhost" in wmill("workspace", "whoami")
    assert "default" in wmill("workspace", "list-remote")
    assert "mill-actors" in wmill("version")
    assert "default" in wmill("workers")
    assert "scripts.create" in wmill("audit", "list")
    assert "gone" in wmill("trash", "list", code=1)
    bound = desk.api.post("/users/tokens/create", json={"workspace_id": "default"}).text
    place = ("--base-url", desk.api.url, "--workspace", "default", "--token")
    assert "f/demo/hello" in wmill("script", "list", *place, bound)
    assert "authenticate" in wmill("script", "list", *place, "nobody", code=1)
    refused = wmill("workspace", "add", "bad", "default", "http://127.0.0.1:9/", "--token", "x", code=1)
    assert refused
