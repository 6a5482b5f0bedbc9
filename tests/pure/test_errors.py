from __future__ import annotations

import inspect

import pytest

from mill_actors import errors
from mill_actors.errors import ConfigError, MillError, SchemaMismatch, StoreRefused, StoreUnavailable

CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)
]


def test_there_is_one_tree() -> None:
    assert all(issubclass(cls, MillError) for cls in CLASSES)


def test_the_tree_is_drawn_completely() -> None:
    drawing = inspect.getdoc(errors) or ""
    assert [cls.__name__ for cls in CLASSES if cls.__name__ not in drawing] == []


def test_the_default_message_is_the_first_line_of_the_docstring() -> None:
    assert str(StoreUnavailable()) == "PostgreSQL cannot be reached."
    assert str(StoreUnavailable("gone")) == "gone"


@pytest.mark.parametrize(("faults", "first"), [(["a"], "a fault"), (["a", "b"], "2 faults")])
def test_a_config_error_lists_all_faults(faults: list[str], first: str) -> None:
    error = ConfigError(faults)
    assert error.faults == tuple(faults)
    assert first in str(error)
    assert all(f"\n  {fault}" in str(error) for fault in faults)


def test_attributes_say_what_messages_say() -> None:
    assert (SchemaMismatch(3, 5).found, SchemaMismatch(3, 5).wanted) == (3, 5)
    assert StoreRefused("no", "22P05").sqlstate == "22P05"
