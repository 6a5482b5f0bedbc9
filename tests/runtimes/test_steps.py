"""What a step of a flow has of its own: variables, and the folder `./shared`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.harness import Warm, result_of

PROGRAMS = {
    "python3": """
        import os, pathlib, shutil, subprocess
        def main(env=None, child="", write="", read="", then="", set=None):
            if write: pathlib.Path("shared/file").write_text(write)
            for name, value in (set or {}).items(): os.environ[name] = value
            if child: subprocess.run(["sh", "-c", child])
            found = None
            if read: found = pathlib.Path("shared", read).read_text() if os.path.exists("shared/" + read) else None
            if then == "chdir": os.chdir("/")
            if then == "delete": os.unlink("shared")
            if then == "folder": os.unlink("shared"); os.mkdir("shared"); open("shared/mine", "w").write("mine")
            if then == "file": os.unlink("shared"); open("shared", "w").close()
            if then == "elsewhere": os.unlink("shared"); os.symlink("/", "shared")
            if then == "gone": shutil.rmtree(os.getcwd())
            if env: return [os.environ.get(name) for name in env]
            return found
    """,
    "bun": """
        import * as fs from "node:fs";
        export function main(env?: string[], child = "", write = "", read = "", then = "", set: Record<string, string> = {}) {
            if (write) fs.writeFileSync("shared/file", write);
            Object.assign(process.env, set);
            if (child) Bun.spawnSync(["sh", "-c", child], { stdio: ["inherit", "inherit", "inherit"] });
            let found = null;
            if (read) found = fs.existsSync("shared/" + read) ? fs.readFileSync("shared/" + read, "utf8") : null;
            if (then === "chdir") process.chdir("/");
            if (then === "delete") fs.unlinkSync("shared");
            if (then === "folder") { fs.unlinkSync("shared"); fs.mkdirSync("shared"); fs.writeFileSync("shared/mine", "mine"); }
            if (then === "file") { fs.unlinkSync("shared"); fs.writeFileSync("shared", ""); }
            if (then === "elsewhere") { fs.unlinkSync("shared"); fs.symlinkSync("/", "shared"); }
            if (then === "gone") fs.rmSync(process.cwd(), { recursive: true });
            if (env) return env.map((name) => process.env[name]);
            return found;
        }
    """,
}

NAMES = [
    "WM_JOB_ID",
    "WM_TOKEN",
    "WM_FLOW_JOB_ID",
    "WM_FLOW_STEP_ID",
    "CONSTANT",
    "WM_USERNAME",
    "MILL_SHARED",
]


@pytest.fixture(params=PROGRAMS)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def warm(start: Start, language: str) -> Warm:
    warm = start(language, PROGRAMS[language], env={"CONSTANT": "c"})
    warm.ready()
    return warm


@pytest.fixture
def flows(tmp_path: Path) -> list[str]:
    """The folders of three flows, each with a file that tells its number."""
    folders = []
    for number in range(3):
        folder = tmp_path / f"flow-{number}"
        folder.mkdir()
        (folder / "number").write_text(str(number))
        folders.append(str(folder))
    return folders


# -- variables


def test_a_steps_variables_are_its_own(warm: Warm) -> None:
    def run(job: str, **variables: str) -> Any:
        return warm.result({"env": NAMES[:6]}, job=job, variables=variables or None)

    assert run("a") == ["a", "t", None, None, "c", None]
    assert run("b", WM_FLOW_JOB_ID="f", WM_FLOW_STEP_ID="x") == ["b", "t", "f", "x", "c", None]
    assert run("c", WM_FLOW_JOB_ID="f", WM_FLOW_STEP_ID="y") == ["c", "t", "f", "y", "c", None]
    assert run("d", WM_FLOW_JOB_ID="g") == ["d", "t", "g", None, "c", None]
    assert run("e") == ["e", "t", None, None, "c", None]
    assert run("f", WM_FLOW_STEP_ID="é" * 3000) == ["f", "t", None, "é" * 3000, "c", None]
    assert run("g") == ["g", "t", None, None, "c", None]


def test_children_have_a_steps_variables(warm: Warm) -> None:
    show = {"child": 'echo "$WM_JOB_ID $WM_FLOW_STEP_ID ${WM_FLOW_JOB_ID-none} ${MILL_SHARED-none}"'}
    assert warm.printed(show, job="a", variables={"WM_FLOW_STEP_ID": "x"}) == "a x none none\n"
    assert warm.printed(show, job="b", variables={"WM_FLOW_JOB_ID": "f" * 2000}) == f"b  {'f' * 2000} none\n"
    assert warm.printed(show, job="c") == "c  none none\n"
    assert warm.printed(show, job="d", variables={}) == "d  none none\n"


def test_a_steps_variables_stand_above_the_contexts(warm: Warm) -> None:
    def run(**variables: str) -> Any:
        return warm.result({"env": ["CONSTANT", "WM_USERNAME"]}, variables=variables or None)

    warm.context(WM_USERNAME="alice")
    assert run(WM_USERNAME="step", CONSTANT="step") == ["step", "step"]
    assert run() == ["c", "alice"]
    assert run(WM_USERNAME="step") == ["c", "step"]
    warm.context(WM_USERNAME="bob", CONSTANT="context")
    assert run(WM_USERNAME="step") == ["context", "step"]
    assert run() == ["context", "bob"]
    assert run(CONSTANT="step") == ["step", "bob"]
    warm.context()
    assert run() == ["c", None]


def test_what_a_job_does_to_its_variables_ends_with_it(warm: Warm) -> None:
    step = {"WM_FLOW_STEP_ID": "x", "WM_FLOW_JOB_ID": "f"}
    show = {"child": "echo $WM_FLOW_STEP_ID", "env": ["WM_FLOW_STEP_ID", "WM_FLOW_PATH"]}
    warm.result({"set": {"WM_FLOW_STEP_ID": "forged", "WM_FLOW_PATH": "forged"}}, variables=step)
    reply = warm.run(show, variables=step)
    assert (result_of(reply), warm.log(reply)) == (["x", None], "x\n")
    warm.result({"set": {"WM_FLOW_STEP_ID": "forged"}}, variables=step)
    reply = warm.run(show)
    assert (result_of(reply), warm.log(reply)) == ([None, None], "\n")


def test_steps_keep_their_variables_when_many_are_sent(warm: Warm) -> None:
    for number in range(300):
        variables = {"WM_FLOW_JOB_ID": str(number)} if number % 3 else None
        warm.send({"env": ["WM_FLOW_JOB_ID"]}, variables=variables)
    wanted = [[str(number) if number % 3 else None] for number in range(300)]
    assert [result_of(warm.answer()) for _ in range(300)] == wanted


def test_a_steps_unreadable_arguments_fail_it_alone(warm: Warm) -> None:
    deep = "[" * 500_000 + "]" * 500_000
    warm.error(raw=f'{{"env": {deep}}}', variables={"WM_FLOW_JOB_ID": "f"})
    assert warm.result({"env": ["WM_FLOW_JOB_ID"]}) == [None]


# -- ./shared


def test_steps_in_different_processes_see_one_folder(start: Start, flows: list[str]) -> None:
    shared = {"MILL_SHARED": flows[0]}
    python, bun = (start(name, source) for name, source in PROGRAMS.items())
    python.ready()
    bun.ready()
    python.result({"write": "from python"}, variables=shared)
    assert bun.result({"read": "file"}, variables=shared) == "from python"
    bun.result({"write": "from bun"}, variables=shared)
    assert python.result({"read": "file"}, variables=shared) == "from bun"


def test_every_flow_has_its_own(warm: Warm, flows: list[str]) -> None:
    for number in (0, 0, 1, 2, 2, 0):
        shared = {"MILL_SHARED": flows[number], "WM_FLOW_JOB_ID": "f"}
        assert warm.result({"read": "number"}, variables=shared) == str(number)


def test_where_it_lies_is_no_variable(warm: Warm, flows: list[str]) -> None:
    shared = {"MILL_SHARED": flows[0]}
    assert warm.result({"env": ["MILL_SHARED"]}, variables=shared) == [None]
    assert warm.printed({"child": "env | grep -c MILL_"}, variables=shared) == "0\n"


@pytest.mark.parametrize("variables", [None, {}, {"WM_FLOW_JOB_ID": "f"}])
def test_a_job_of_no_such_flow_sees_none(
    warm: Warm, flows: list[str], variables: dict[str, str] | None
) -> None:
    assert warm.result({"read": "number"}, variables={"MILL_SHARED": flows[0]}) == "0"
    assert warm.result({"read": "number"}, variables=variables) is None
    assert list(warm.work.iterdir()) == []
    assert warm.result({"read": "number"}, variables={"MILL_SHARED": flows[1]}) == "1"


@pytest.mark.parametrize("then", ["chdir", "delete", "folder", "file", "elsewhere"])
@pytest.mark.parametrize("after", [0, 1])
def test_whatever_a_job_does_to_it_the_next_finds_it(
    warm: Warm, flows: list[str], then: str, after: int
) -> None:
    warm.result({"then": then}, variables={"MILL_SHARED": flows[0]})
    assert warm.result({"read": "number"}, variables={"MILL_SHARED": flows[after]}) == str(after)
    assert (warm.work / "shared").readlink() == Path(flows[after])
    kept = [path for path in warm.work.iterdir() if path.name != "shared"]
    if then == "folder":
        assert [(path.name[:10], (path / "mine").read_text()) for path in kept] == [("shared.old", "mine")]
    else:
        assert kept == []


@pytest.mark.parametrize("then", ["folder", "file", "elsewhere"])
def test_what_a_job_put_in_its_place_is_left_where_no_flow_needs_it(
    warm: Warm, flows: list[str], then: str
) -> None:
    warm.result({"then": then}, variables={"MILL_SHARED": flows[0]})
    warm.result()
    assert [path.name for path in warm.work.iterdir()] == ["shared"]
    assert (warm.work / "shared").is_symlink() == (then == "elsewhere")


def test_a_folder_called_shared_of_other_jobs_is_theirs(warm: Warm, flows: list[str]) -> None:
    (warm.work / "shared").mkdir()
    warm.result({"write": "theirs"})
    assert warm.result({"read": "file"}, variables={"WM_FLOW_JOB_ID": "f"}) == "theirs"
    assert warm.result({"read": "file"}, variables={"MILL_SHARED": flows[0]}) is None
    assert (warm.work / "shared.old2" / "file").read_text() == "theirs"


@pytest.mark.parametrize("script", ["python3", "bun"])
def test_it_lies_where_the_process_was_started(
    start: Start, flows: list[str], script: str, tmp_path: Path
) -> None:
    chdir = f"import os; os.chdir({str(tmp_path)!r})\n"
    if script == "bun":
        chdir = f"process.chdir({str(tmp_path)!r});\n"
    warm = start(script, chdir + ("def main(): pass" if script == "python3" else "export function main() {}"))
    warm.ready()
    warm.result(variables={"MILL_SHARED": flows[0]})
    assert (warm.work / "shared" / "number").read_text() == "0"
    assert not (tmp_path / "shared").exists()


def test_where_it_cannot_be_made_the_job_fails_and_no_other(warm: Warm, flows: list[str]) -> None:
    warm.result({"then": "gone"})
    error = warm.error({"read": "number"}, variables={"MILL_SHARED": flows[0]})
    assert error["name"] == "SharedFolder"
    assert "./shared" in error["message"]
    assert warm.result({"env": ["MILL_SHARED"]}) == [None]
    warm.work.mkdir()


def test_a_job_that_was_taken_back_changes_nothing(warm: Warm, flows: list[str]) -> None:
    number = warm.next_number()
    warm.send_unpermitted(number, variables={"MILL_SHARED": flows[0], "WM_FLOW_JOB_ID": "f"})
    assert warm.result({"env": ["WM_FLOW_JOB_ID"]}) == [None]
    assert list(warm.work.iterdir()) == []
