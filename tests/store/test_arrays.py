from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mill_actors.ids import new_ids
from mill_actors.store.arrays import JsonArray, literal
from tests.store.floor import Floor

TEXTS = st.none() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, max_size=6))
def test_json_arrays_arrive_verbatim(floor: Floor, texts: list[bytes | None]) -> None:
    rows = floor.rows(
        "select e::text from unnest(%s::json[]) with ordinality as u (e, n) order by n", JsonArray(texts)
    )
    assert [row[0] for row in rows] == [None if text is None else text.decode() for text in texts]


def test_json_arrays_know_their_type(floor: Floor) -> None:
    told = floor.row("select pg_typeof(%s)::text, cardinality(%s)", JsonArray([]), JsonArray([b"1", None]))
    assert told == ("json[]", 2)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_literals_are_arrays(floor: Floor, count: int) -> None:
    ids = new_ids(count)
    assert floor.value("select %s::uuid[]::text[]", literal(ids)) == ids
