"""Warm processes for tests: `python(source)` and `bun(source)`, ready and closed at the end."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mill_actors.runtimes.languages import LANGUAGES
from tests.runtimes.harness import Warm

Start = Callable[..., Warm]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process of a language; it may turn out broken."""
    with ExitStack() as stack:

        def start_one(name: str, source: str, *, filename: str = "script", **options: Any) -> Warm:
            language = LANGUAGES[name]
            code = tmp_path / f"code-{len(list(tmp_path.iterdir()))}"
            work = code / "work"
            work.mkdir(parents=True)
            file = code / (filename if "." in filename else filename + language.suffixes[0])
            file.write_text(textwrap.dedent(source), encoding="utf-8")
            return stack.enter_context(Warm(language, file, work, **options))

        yield start_one


@pytest.fixture
def python(start: Start) -> Start:
    def ready(source: str, **options: Any) -> Warm:
        warm = start("python3", source, **options)
        warm.ready()
        return warm

    return ready


@pytest.fixture
def bun(start: Start) -> Start:
    def ready(source: str, **options: Any) -> Warm:
        warm = start("bun", source, **options)
        warm.ready()
        return warm

    return ready
