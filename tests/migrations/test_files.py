"""Migrations as files, in the repository and in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mill_actors.store.migrations import load_migrations, migrations_folder

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({}, "there are no migrations"),
        ({"0001-one.sql": ""}, "NNNN_noun.sql"),
        ({"0001_one.sql": "", "0001_two.sql": ""}, "the next number is 0002"),
        ({"0001_one.sql": "", "0003_two.sql": ""}, "the next number is 0002"),
        ({"0001_one.sql": "-- migrate: breakin\n"}, "no mark 'breakin'"),
    ],
)
def test_a_folder_that_breaks_the_form_is_refused(files: dict[str, str], fault: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=fault):
        load_migrations(tmp_path)


def test_marks_are_read(tmp_path: Path) -> None:
    (tmp_path / "0001_one.sql").write_text("-- migrate: breaking\nselect 1;\n")
    (tmp_path / "0002_two.sql").write_text("-- migrate: no-transaction\n-- why\nselect 2;\n")
    (tmp_path / "schema.sql").write_text("not one of them")
    one, two = load_migrations(tmp_path)
    assert (str(one), one.is_breaking, one.in_transaction) == ("0001_one", True, True)
    assert (str(two), two.is_breaking, two.in_transaction) == ("0002_two", False, False)


def test_the_repository_has_its_migrations_beside_the_package() -> None:
    if (ROOT / "pyproject.toml").exists():
        assert migrations_folder() == ROOT / "migrations"


@pytest.mark.slow
def test_the_wheel_has_its_migrations_inside_the_package(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    program = (
        "from mill_actors.store.migrations import load_migrations, migrations_folder\n"
        "print(migrations_folder(), len(load_migrations()), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    folder, count = done.stdout.split("\n")[:2]
    assert Path(folder) == tmp_path / "installed" / "mill_actors" / "migrations"
    assert int(count) == len(load_migrations())
    for file in (tmp_path / "installed" / "mill_actors" / "store" / "sql").glob("*.sql"):
        assert file.read_text() == (ROOT / "mill_actors" / "store" / "sql" / file.name).read_text()
