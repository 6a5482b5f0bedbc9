"""Files of code: where they lie, what they are called, who may read them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest

from mill_actors.runtimes.code import CodeCache
from mill_actors.runtimes.language import Language
from mill_actors.runtimes.languages import LANGUAGES
from tests.runtimes.harness import Warm

PYTHON, BUN = LANGUAGES["python3"], LANGUAGES["bun"]


@pytest.mark.parametrize(
    ("path", "language", "name"),
    [
        ("f/demo/enrich", PYTHON, "enrich.py"),
        ("f/demo/enrich", BUN, "enrich.ts"),
        ("f/demo/enrich.py", PYTHON, "enrich.py"),
        ("f/demo/page.tsx", BUN, "page.tsx"),
        ("f/demo/old.js", BUN, "old.js"),
        ("u/bob/two words-1", PYTHON, "two_words_1.py"),
        ("f/demo/2nd", PYTHON, "_2nd.py"),
        ("f/demo/..", PYTHON, "__.py"),
        ("f/demo/", PYTHON, "script.py"),
        ("f/demo/größe", PYTHON, "gr__e.py"),
    ],
)
def test_a_script_is_named_after_its_path(tmp_path: Path, path: str, language: Language, name: str) -> None:
    file = CodeCache(tmp_path).script("demo", "abc", path, language, "x = 'é'")
    assert file == tmp_path / "demo" / "abc" / name
    assert file.read_text(encoding="utf-8") == "x = 'é'"


def test_no_name_leads_out_of_the_root(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "root")
    for workspace in ("..", ".", "", "../..", "a/../../b", "bootstrap", "scratch"):
        file = cache.script(workspace, "../h", "f/x", PYTHON, "")
        assert file.resolve().is_relative_to(tmp_path / "root")
        assert len(file.relative_to(tmp_path / "root").parts) == 3
    assert not (tmp_path / "root" / "bootstrap").exists()


def test_files_are_readable_by_all_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        cache = CodeCache(tmp_path / "a" / "root")
        files = [cache.script("demo", "abc", "f/x", PYTHON, ""), *cache.bootstrap().rglob("*")]
        scratch = cache.scratch()
    finally:
        os.umask(before)
    for file in files:
        wanted = 0o755 if file.is_dir() else 0o644
        assert stat.S_IMODE(file.stat().st_mode) & wanted == wanted, file
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700


def test_a_version_is_written_once(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path)
    first = cache.script("demo", "abc", "f/x", PYTHON, "x = 1")
    written = first.stat().st_mtime_ns
    assert cache.script("demo", "abc", "f/x", PYTHON, "x = 1") == first
    assert first.stat().st_mtime_ns == written
    assert [file.name for file in first.parent.iterdir()] == ["x.py"]


def test_a_scratch_folder_goes_with_all_in_it(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path)
    folder = cache.scratch()
    assert folder != cache.scratch()
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("x")
    cache.remove_scratch(folder)
    assert not folder.exists()
    cache.remove_scratch(folder)


@pytest.mark.parametrize("language", [PYTHON, BUN])
def test_the_copied_bootstrap_runs(tmp_path: Path, language: Language) -> None:
    cache = CodeCache(tmp_path)
    content = (
        "def main(a): return a" if language is PYTHON else "export function main(a: number) { return a; }"
    )
    script = cache.script("demo", "abc", "f/demo/echo", language, content)
    with Warm(language, script, cache.scratch(), bootstrap=cache.bootstrap()) as warm:
        warm.ready()
        assert warm.result({"a": 1}) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as somebody else")
@pytest.mark.parametrize("language", [PYTHON, BUN])
def test_a_process_of_another_user(language: Language) -> None:
    # A folder anyone can reach: pytest's own belong to one user alone.
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    root.chmod(0o755)
    cache = CodeCache(root)
    interpreter = "/usr/bin/python3" if language is PYTHON else None
    content = {
        "python3": "import os\ndef main():\n  open('mine', 'w').close()\n  return [os.getuid(), os.listdir('.')]",
        "bun": "import fs from 'fs'; export function main() { fs.writeFileSync('mine', ''); console.log('x');"
        "fs.writeFileSync('/dev/stderr', 'y'); return [process.getuid!(), fs.readdirSync('.')] }",
    }[language.name]
    script = cache.script("demo", "abc", "f/demo/who", language, content)
    try:
        if language is BUN:
            program = root / "bun"
            shutil.copy(language.find(None), program)
            program.chmod(0o755)
            interpreter = str(program)
        nobody = 65534
        work = cache.scratch((nobody, nobody))
        with Warm(
            language, script, work, bootstrap=cache.bootstrap(), interpreter=interpreter, user="nobody"
        ) as warm:
            warm.ready()
            assert warm.result() == [nobody, ["mine"]]
    finally:
        shutil.rmtree(root)


def test_folders_of_a_killed_node_are_swept_and_those_in_use_are_not(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path)
    program = (
        "import sys; from pathlib import Path; from mill_actors.runtimes.code import CodeCache\n"
        "print(CodeCache(Path(sys.argv[1])).scratch(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        ours = cache.scratch()
        with mock.patch("mill_actors.runtimes.code._NEW_SECONDS", 0.0):
            assert cache.sweep() == 0
            other.kill()
            other.wait()
            assert cache.sweep() == 1
    assert ours.is_dir()
    assert not theirs.exists()
    cache.remove_scratch(ours)
