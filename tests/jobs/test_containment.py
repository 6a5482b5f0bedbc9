"""What is in what, as PostgreSQL's `@>` has it."""

from __future__ import annotations

import pytest

from mill_actors.jobs.containment import contains


@pytest.mark.parametrize(
    ("value", "wanted", "told"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [{"c": 2}]}}, True),
        ({"a": 1}, {}, True),
        ({"a": 1}, {"b": None}, False),
        ({"b": None}, {"b": None}, True),
        ([1, 2, 3], [3, 1, 1], True),
        ([1], [2], False),
        ([[1]], [1], False),
        (1, 1.0, True),
        (1, True, False),
        (True, 1, False),
        (0, False, False),
        ("a", "a", True),
        (None, None, True),
        ({}, [], False),
        (2**70, 2**70, True),
    ],
)
def test_contains(value: object, wanted: object, told: bool) -> None:
    assert contains(value, wanted) is told
