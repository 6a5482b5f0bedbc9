from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.jobs.lifecycle import State
from mill_actors.jobs.outcome import Verdict, error_result


def test_verdicts_are_final_states() -> None:
    assert all(State(verdict).is_final for verdict in Verdict)


@given(st.text(), st.text(), st.text())
def test_an_error_is_json_whatever_it_says(name: str, message: str, stack: str) -> None:
    error = orjson.loads(error_result(name, message, stack))["error"]
    assert set(error) == {"name", "message", "stack"}


@pytest.mark.parametrize(("text", "kept"), [("é \n\0", "é \n\0"), ("a \ud800 b", "a \\ud800 b")])
def test_the_text_of_an_error_is_kept(text: str, kept: str) -> None:
    assert orjson.loads(error_result(text, text, text)) == {
        "error": dict.fromkeys(("name", "message", "stack"), kept)
    }
