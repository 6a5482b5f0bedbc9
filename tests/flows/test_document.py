"""What is read from the document of a flow."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mill_actors.errors import InvalidFlow
from mill_actors.flows import document as module
from mill_actors.flows.definition import Identity, decode_flow
from mill_actors.flows.document import FlowDocument, read_flow
from tests.flows.corpus import BIG, DOCUMENTS, SCHEMA, changed, document, flow, raw, static, with_unheard

FAULTS: list[tuple[Any, str]] = [
    (None, "document: must be an object, not null"),
    ([], "document: must be an object, not a list"),
    ({"value": {"modules": []}}, "summary: is missing"),
    ({"summary": ""}, "value: is missing"),
    (document(None), "value: must be an object, not null"),
    (document(flow(raw("a", priority="x"))), "value.modules[0].priority: must be a whole number, not text"),
    (document(flow(), summary=3), "summary: must be text, not a number"),
    (document(flow(), description=[]), "description: must be text, not a list"),
    (document(flow(), schema="x"), "schema: must be an object, not text"),
    (
        document(flow(), schema={"properties": {"a b": b""}}),
        'schema.properties["a b"]: is a bytes, which is not',
    ),
    (document(flow(), tag=3), "tag: must be text, not a number"),
    (document(flow(), dedicated_worker="yes"), "dedicated_worker: must be true or false, not text"),
    (document(flow(), priority=101), "priority: must be 0 to 100, not 101"),
    (document(flow(), timeout=0), "timeout: must be above 0, not 0"),
    (document(flow(), durability="none"), 'durability: must be "step" or "flow", not "none"'),
    (document(flow(), durability=[]), 'durability: must be "step" or "flow", not []'),
    (document(flow(), on_behalf_of_email=3), "on_behalf_of_email: must be text, not a number"),
    (document(flow(), visible_to_runner_only=3), "visible_to_runner_only: must be true or false"),
    (document(flow(), ws_error_handler_muted=3), "ws_error_handler_muted: must be true or false"),
    (document(flow(), whatever=float("nan")), "whatever: is nan, which is not in JSON"),
    ({**document(flow()), 3: 4}, "document: has a key that is no text: 3"),
]


@pytest.mark.parametrize(("told", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_a_fault_is_named_with_its_place(told: Any, fault: str) -> None:
    with pytest.raises(InvalidFlow) as caught:
        read_flow(told)
    (found,) = caught.value.faults
    assert found.startswith(fault)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidFlow) as caught:
        read_flow(document(flow(raw("a"), raw("a")), tag=3), "f/demo/flow")
    assert caught.value.path == "f/demo/flow"
    assert str(caught.value) == (
        "The flow f/demo/flow has 2 faults:\n"
        "  value.modules[1].id: a is the id of value.modules[0] too\n"
        "  tag: must be text, not a number"
    )


def test_what_contains_itself_is_a_fault() -> None:
    told = document(flow())
    told["schema"] = {"self": told}
    with pytest.raises(InvalidFlow, match="document: is nested deeper than 100 levels"):
        read_flow(told)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_was_read_says_what_the_document_says(name: str) -> None:
    found = read_flow(DOCUMENTS[name])
    assert json.loads(found.value_json) == DOCUMENTS[name]["value"]
    assert found.value == decode_flow(found.value_json)


def test_the_fields() -> None:
    assert read_flow({"summary": "A", "value": flow(), "tag": None}) == FlowDocument(
        "A", "", None, b'{"modules":[]}', decode_flow(b'{"modules":[]}'), rest={"tag": None}
    )
    found = read_flow(
        document(
            flow(),
            tag="gpu",
            dedicated_worker=True,
            priority=3,
            timeout=1.5,
            durability="flow",
            on_behalf_of_email="bob@example.com",
            new_in_windmill={"x": 1},
        )
    )
    assert (found.tag, found.dedicated, found.priority, found.timeout) == ("gpu", True, 3, 1.5)
    assert (found.durability, found.schema) == ("flow", SCHEMA)
    assert (found.rest["on_behalf_of_email"], found.rest["new_in_windmill"]) == ("bob@example.com", {"x": 1})


def test_null_is_no_option() -> None:
    names = ["description", "schema", "tag", "dedicated_worker", "priority", "timeout", "durability"]
    found = read_flow({"summary": "", "value": flow(), **dict.fromkeys(names)})
    assert replace(found, rest={}) == read_flow({"summary": "", "value": flow()})


@pytest.mark.parametrize("make", [lambda told: told, with_unheard], ids=["as it is", "with unknown fields"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_was_read_is_the_whole_document_still(name: str, make: Callable[[Any], Any]) -> None:
    told = make(DOCUMENTS[name])
    assert read_flow(told).whole == told


@pytest.mark.parametrize("empty", [None, "", {}])
@pytest.mark.parametrize("field", ["description", "schema", "tag", "durability", "unheard_of"])
def test_a_field_that_says_nothing_is_there_still(field: str, empty: Any) -> None:
    told = {"summary": "", "value": flow(), field: empty}
    with suppress(InvalidFlow):
        assert read_flow(told).whole == told


def test_equal_values_have_equal_texts() -> None:
    turned = json.loads(json.dumps(BIG), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(turned) != list(BIG)
    assert read_flow(document(turned)).value_json == read_flow(document(BIG)).value_json


def test_whole_numbers_of_any_size_and_unknown_fields_are_kept() -> None:
    value = flow(changed("a", input_transforms={"n": static(2**80)}), later="é😀")
    found = read_flow(document(value))
    assert json.loads(found.value_json) == value
    assert b"1208925819614629174706176" in found.value_json
    assert "é😀".encode() in found.value_json


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (
            "Expected `int`, got `str` - at `$.modules[0].id`",
            "value.modules[0].id: Expected `int`, got `str`",
        ),
        ("JSON is malformed", "value: JSON is malformed"),
    ],
)
def test_what_only_the_decoder_refuses_is_a_fault_too(message: str, fault: str) -> None:
    with (
        mock.patch.object(module, "decode_flow", side_effect=msgspec.ValidationError(message)),
        pytest.raises(InvalidFlow) as caught,
    ):
        read_flow(document(flow()))
    assert caught.value.faults == (fault,)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)
FIELDS = st.sampled_from(["summary", "value", "schema", "tag", "durability", "timeout", "priority", "x"])


@settings(deadline=None)
@given(ANYTHING | st.dictionaries(FIELDS, ANYTHING))
def test_anything_is_read_or_has_faults(told: Any) -> None:
    with suppress(InvalidFlow):
        read_flow(told)


def test_a_step_is_decoded() -> None:
    (step,) = read_flow(document(flow({"id": "a", "value": {"type": "identity"}}))).value.modules
    assert step.value == Identity()
