"""Every module can be the first one that is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Imports what others wrote once; then each module of ours in a fork of its own, so
# that none finds what another one has imported. (A start of Python each: 12 s.)
PROGRAM = """
import importlib, os, sys, traceback
for name in sys.argv[1].split(","):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
failed = []
for name in sys.argv[2].split(","):
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(f"cannot be imported first: {failed}" if failed else 0)
"""

THEIRS = "aiohttp,msgspec,orjson,psutil,psycopg,psycopg.types.json,pykka,rich.console,typer,uuid_utils"


def modules() -> list[str]:
    found = []
    for package in ("mill_actors", "supervisors"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            if file.name != "__main__.py":
                found.append(name.removesuffix(".__init__"))
    return found


def test_every_module_can_be_imported_first() -> None:
    assert len(modules()) > 20
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, THEIRS, ",".join(modules())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
