"""Patterns that people send."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mill_actors.api.job_filters import ListQuery, filters_of
from mill_actors.api.permissions import Principal
from mill_actors.jobs.jsons import encode
from mill_actors.store.access import Account


def fits(pattern: str, label: str) -> bool:
    told = ListQuery(label=pattern, allow_wildcards=True)
    accepts = filters_of(Principal(Account("a@b", None, is_superadmin=True)), told, "completed").accepts
    assert accepts is not None
    job = SimpleNamespace(args=None, result=encode({"wm_labels": [label]}).decode())
    return accepts(cast("Any", job))


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("abc", ["abc"], ["abcd", "xabc", ""]),
        ("a*", ["a", "abc", "a\nb"], ["ba"]),
        ("*c", ["c", "abc", "cc"], ["ca"]),
        ("a*b*c", ["abc", "axbxc", "abbcc", "abcbc"], ["ac", "acb", "abcd"]),
        ("*b*", ["b", "abc"], ["ac"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("a_b", ["a_b"], ["axb"]),
        ("a.b*", ["a.bc"], ["axbc"]),
        ("a%b*", ["a%b"], ["axb"]),
        ("\\\\*", ["\\\\x"], ["x"]),
        ("x*,y*", ["xa", "yb"], ["za"]),
        ("**", ["", "x"], []),
        ("a*b*", ["ab"], ["b"]),
    ],
)
def test_a_star_is_anything(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [label for label in good + bad if fits(pattern, label)] == good


@pytest.mark.timeout(10)
def test_many_stars_are_no_work() -> None:
    assert not fits("*a" * 200 + "*b", "a" * 5000)
