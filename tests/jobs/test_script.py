from __future__ import annotations

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.errors import InvalidArgs
from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.jobs.script import Script, ScriptOptions, make_script

VARIANTS = [
    ScriptOptions(), ScriptOptions(tag="gpu"), ScriptOptions(dedicated=True), ScriptOptions(priority=1),
    ScriptOptions(timeout_seconds=1.0), ScriptOptions(retry=RetryPolicy(ConstantRetry(1))),
    ScriptOptions(concurrency_limit=1), ScriptOptions(concurrency_key="k"),
]  # fmt: skip


def script(
    workspace: str = "default", path: str = "f/a/b", language: str = "python3", content: str = "x",
    options: ScriptOptions = ScriptOptions(),
) -> Script:  # fmt: skip
    return make_script(workspace, path, language, content, options)


def test_the_hash_is_known_and_stays() -> None:
    """It names versions in the database: what changes it orphans them all."""
    assert script().hash == "54e77c2aff4c0e7a"
    assert script(options=ScriptOptions(tag="gpu", concurrency_limit=2)).hash == "25018dd96de71054"


def test_what_a_version_is_made_of_is_in_its_hash() -> None:
    made = [script(path="f/a/c"), script(language="bun"), script(content="y"), script(content="x ")]
    made += [script(options=options) for options in VARIANTS]
    for one, other in itertools.combinations(made, 2):
        assert one.hash != other.hash


def test_who_has_it_is_not_in_its_hash() -> None:
    assert script(workspace="acme").hash == script().hash


def test_options_that_say_nothing_new_are_no_new_version() -> None:
    assert script(options=ScriptOptions(priority=0, tag=None)).hash == script().hash


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_hash_is_16_hex_digits(content: str) -> None:
    digest = script(content=content).hash
    assert len(digest) == 16
    assert set(digest) <= set(string.hexdigits.lower())


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
)
def test_content_cannot_pass_for_something_else(one: str, other: str) -> None:
    assert (script(content=one).hash == script(content=other).hash) == (one == other)


@pytest.mark.parametrize(
    ("options", "tag"),
    [
        (ScriptOptions(), "python3"),
        (ScriptOptions(tag="gpu"), "gpu"),
        (ScriptOptions(dedicated=True), "default:f/a/b"),
        (ScriptOptions(dedicated=True, tag="gpu"), "gpu"),
    ],
)
def test_the_tag_is_told_or_the_scripts_own_or_the_language(options: ScriptOptions, tag: str) -> None:
    made = script(options=options)
    assert (made.tag, made.dedicated) == (tag, options.dedicated)


@pytest.mark.parametrize("path", ["f/a/b", "u/ann/x", "f/a/b/c", "f/a-b/c_d.e", "u/1/2"])
def test_paths_are_windmills(path: str) -> None:
    assert script(path=path).path == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "f",
        "f/a",
        "f/a/",
        "/f/a/b",
        "x/a/b",
        "f//b",
        "f/a b/c",
        "f/a/b\n",
        "f/a/é",
        "f/a.b/c",
        "F/a/b",
        "f/a/b/",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgs, match="a path looks like"):
        script(path=path)


@pytest.mark.parametrize("content", ["\0", "x\0y", "\ud800"])
def test_code_that_no_database_stores_is_refused(content: str) -> None:
    with pytest.raises(InvalidArgs):
        script(content=content)
