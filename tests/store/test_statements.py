from __future__ import annotations

from pathlib import Path

import pytest

from mill_actors.store.queries import load
from mill_actors.store.statements import split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1", ["select 1"]),
        ("select 1; select 2;", ["select 1", "select 2"]),
        ("-- 5 % of all;\nselect 1 -- it's", ["select 1"]),
        ("select /* a; b */ 1", ["select   1"]),
        ("select 'a;--b', 'it''s;'", ["select 'a;--b', 'it''s;'"]),
        ('select "a;b"', ['select "a;b"']),
        (r"select e'a\';b'", [r"select e'a\';b'"]),
        ("do $$ a; b; $$; select 1", ["do $$ a; b; $$", "select 1"]),
        ("do $x$ a; $$ b; $x$", ["do $x$ a; $$ b; $x$"]),
        ("select 1\n\n, 'a\n\nb'", ["select 1\n\n, 'a\n\nb'"]),
        ("select 2 - 1 / 1", ["select 2 - 1 / 1"]),
        ("-- nothing", []),
    ],
)
def test_statements_are_told_apart(text: str, expected: list[str]) -> None:
    assert split(text) == expected


def test_queries_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- What the file is about.\n\n-- name: one :many\n-- why\nselect 1;\n")
    (tmp_path / "b.sql").write_text("-- name: two\nselect 2\n-- name: three\nselect 3\n")
    sql = load(tmp_path)
    assert dict(sql) == {
        "one": "/* one */ select 1",
        "two": "/* two */ select 2",
        "three": "/* three */ select 3",
    }
    assert sql.two == sql["two"]
    with pytest.raises(AttributeError, match="no statement is named 'four'"):
        _ = sql.four


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("select 1", "before the first name"),
        ("-- name: one\nselect 1\n-- name: one\nselect 2", "named twice"),
        ("-- name: One\nselect 1", "no name of a statement"),
        ("-- name: one :few\nselect 1", "no name of a statement"),
        ("-- name: one\n-- nothing", "0 statements"),
        ("-- name: one\nselect 1; select 2", "2 statements"),
        ("-- name: get\nselect 1", "another name"),
    ],
)
def test_what_breaks_the_form_fails_when_it_is_loaded(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(text)
    with pytest.raises(ValueError, match=fault):
        load(tmp_path)
