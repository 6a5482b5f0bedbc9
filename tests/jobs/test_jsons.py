"""JSON in and out: whatever a job's arguments and results may hold."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.jobs.jsons import decode, encode

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
#: Also with lone surrogates.
TEXTS = st.text(st.characters())
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    assert decode(encode(value)) == value
    assert decode(encode(value).decode()) == value


@pytest.mark.parametrize(
    "number",
    [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40, 123456789012345678, 10**18],
)
def test_whole_numbers_stay_whole(number: int) -> None:
    for text in (str(number), f'{{"n":[{number}]}}'):
        for told in (text, text.encode()):
            value = decode(told)
            found = value if isinstance(value, int) else value["n"][0]
            assert (found, type(found)) == (number, int)
    assert encode({"n": number}) == f'{{"n":{number}}}'.encode()


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff":["a\\ud83d"]}'])
def test_lone_surrogates_are_read_and_written(text: str) -> None:
    assert decode(text) == decode(text.encode()) == json.loads(text)
    assert encode(decode(text)).decode() == text


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert decode(r'"\ud83d\ude00"') == "\N{GRINNING FACE}"
    assert encode("\N{GRINNING FACE}") == '"\N{GRINNING FACE}"'.encode()


@pytest.mark.parametrize("rest", ["", " 12345678901234567890"], ids=["short", "long"])
@pytest.mark.parametrize("text", ["{", "[1,]", "{'a':1}", "nul", '"a', "1 2", "\0"])
def test_what_is_no_json_is_refused(text: str, rest: str) -> None:
    for told in (text + rest, (text + rest).encode()):
        with pytest.raises(ValueError):
            decode(told)


def test_nothing_is_no_json() -> None:
    for told in ("", b"", " "):
        with pytest.raises(ValueError):
            decode(told)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "[NaN, 12345678901234567890]"])
def test_what_is_no_number_is_no_json(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)
    with pytest.raises(ValueError):
        decode(text.encode())


@pytest.mark.parametrize("long", [0, 2**70], ids=["short", "long"])
def test_what_is_no_number_becomes_null(long: int) -> None:
    value = {"n": long, "x": [math.nan, {"y": math.inf}, (-math.inf, 1.5)]}
    assert json.loads(encode(value)) == {"n": long, "x": [None, {"y": None}, [None, 1.5]]}


@pytest.mark.parametrize("value", [object(), {1, 2}, {"x": object()}, {"n": 2**70, "x": Decimal(1)}], ids=str)
def test_what_is_no_value_of_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_a_number_of_many_digits_in_a_text_is_a_text() -> None:
    assert decode('{"card":"12345678901234567890","n":1.5}') == {"card": "12345678901234567890", "n": 1.5}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_written_as_it_is(text: str) -> None:
    assert json.loads(encode(text)) == text
    assert encode(text).decode() == json.dumps(text, ensure_ascii=False)
