"""What README says can be done, done."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT, Mill

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
(SCRIPT,) = re.findall(r"hello\.py\n(.*?)^\^D$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shop(live: Mill) -> Mill:
    file = live.folder / "scripts/f/shop/hello.py"
    file.parent.mkdir(parents=True)
    file.write_text(SCRIPT)
    live("deploy", "scripts")
    return live


def test_the_commands(shop: Mill) -> None:
    done = shop("run", "f/shop/hello", "--arg", "name=Ada", "--arg", "times=2")
    assert done.out in README
    assert done.err.startswith("greeting Ada\nmill: job ")
    assert shop("submit", "f/shop/hello", stdin='{"name": "Bo"}\n{"name": "Cy"}\n').out.startswith("2 jobs")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs(program: str, shop: Mill) -> None:
    program = program.replace("http://127.0.0.1:8000", shop.told["url"])
    program = program.replace("THE TOKEN", shop.told["token"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=shop.folder,
        env=shop.environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "wmill" in program:
        assert done.stdout == "{'greeting': 'Hello Ada! '}\n"
    elif "print(" in program:
        assert done.stdout == "success {'greeting': 'Hello Ada! '}\n"


def test_the_script_its_job_and_its_result_are_shorter_than_25_lines() -> None:
    (block,) = [
        b for b in re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if "deploy" in b
    ]
    assert len((block + PROGRAMS[0]).splitlines()) < 25


def test_every_link_leads_somewhere() -> None:
    for text in (README, (ROOT / "docs/architecture.md").read_text(encoding="utf-8")):
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / link).exists() or (ROOT / "docs" / link).exists(), link
