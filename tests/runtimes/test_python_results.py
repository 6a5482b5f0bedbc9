"""How what a Python `main` returns becomes JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mill_actors.runtimes.frames import Done
from tests.runtimes.conftest import Start
from tests.runtimes.harness import Warm, error_of

SOURCE = """
    import array, base64, collections, dataclasses, datetime, decimal, enum, fractions, io, pathlib, sys, types, uuid
    from datetime import timedelta, timezone

    class Color(enum.Enum):
        RED = "red"; AT = datetime.date(2024, 2, 29)
    class Number(enum.IntEnum):
        ONE = 1
    @dataclasses.dataclass
    class Point:
        x: int; _hidden: object = 2
    @dataclasses.dataclass(slots=True)
    class Slotted:
        p: Point
    Pair = collections.namedtuple("Pair", "a b")
    class Text(str): pass
    class Whole(int): pass
    class Table(dict): pass
    class Thing: pass
    def deep(n):
        value = []
        for _ in range(n): value = [value]
        return value
    def cycle():
        value = {"a": [1]}; value["a"].append(value); return value
    def numbers():
        yield from (1, 2)
    async def later():
        yield 1
        yield 2

    def main(code, setup=""):
        return eval(code, globals() | {"setup": setup})
"""


@pytest.fixture
def warm(python: Start) -> Warm:
    return python(SOURCE)


VALUES: list[tuple[str, str]] = [
    ("None", "null"),
    ("True", "true"),
    ("0", "0"),
    ("-0.5", "-0.5"),
    ("'é\\u20ac😀'", '"é€😀"'),
    ("'\\x00\\x1f\"\\\\'", '"\\u0000\\u001f\\"\\\\"'),
    ("'\\ud800'", '"\\ud800"'),
    ("['\\ud83d', 'ok', 2**70]", '["\\ud83d","ok",1180591620717411303424]'),
    ("{'\\ud800': 1}", '{"\\ud800":1}'),
    ("2**63 - 1", "9223372036854775807"),
    ("-2**63", "-9223372036854775808"),
    ("2**64", "18446744073709551616"),
    ("10**400", "1" + "0" * 400),
    ("[float('nan'), float('inf'), -float('inf')]", "[null,null,null]"),
    ("{'a': float('nan'), 'b': 2**64}", '{"a":null,"b":18446744073709551616}'),
    ("1e300", "1e300"),
    ("(1, (2,))", "[1,[2]]"),
    ("Pair(1, 2)", "[1,2]"),
    ("{1: 1, 1.5: 2, None: 3, True: 4}", '{"1":4,"1.5":2,"null":3}'),
    ("{2: {'x': 2**64}, None: 1}", '{"2":{"x":18446744073709551616},"null":1}'),
    ("{uuid.UUID(int=1): 1, datetime.date(2024, 2, 29): 2, Color.RED: 3}",
     '{"00000000-0000-0000-0000-000000000001":1,"2024-02-29":2,"red":3}'),
    ("datetime.datetime(2024, 2, 29, 1, 2, 3, 4)", '"2024-02-29T01:02:03.000004"'),
    ("datetime.datetime(2024, 2, 29, tzinfo=timezone.utc)", '"2024-02-29T00:00:00+00:00"'),
    ("datetime.datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))", '"2024-02-29T00:00:00-03:30"'),
    ("datetime.date(2024, 2, 29)", '"2024-02-29"'),
    ("datetime.time(1, 2)", '"01:02:00"'),
    ("timedelta(days=1, milliseconds=5)", "86400.005"),
    ("decimal.Decimal('1.10')", '"1.10"'),
    ("[decimal.Decimal('NaN')]", '["NaN"]'),
    ("uuid.UUID(int=1)", '"00000000-0000-0000-0000-000000000001"'),
    ("pathlib.Path('/a/b')", '"/a/b"'),
    ("b'\\x00\\xff'", '"AP8="'),
    ("bytearray(b'a')", '"YQ=="'),
    ("memoryview(b'a')", '"YQ=="'),
    ("[Color.RED, Color.AT, Number.ONE]", '["red","2024-02-29",1]'),
    ("Point(1, 3)", '{"x":1,"_hidden":3}'),
    ("Slotted(Point(1))", '{"p":{"x":1,"_hidden":2}}'),
    ("{1}", "[1]"),
    ("frozenset(['a'])", '["a"]'),
    ("collections.deque([1, 2])", "[1,2]"),
    ("range(3)", "[0,1,2]"),
    ("{'a': 1}.keys()", '["a"]'),
    ("{'a': 1}.items()", '[["a",1]]'),
    ("collections.OrderedDict(b=1, a=2)", '{"b":1,"a":2}'),
    ("collections.defaultdict(list, a=[1])", '{"a":[1]}'),
    ("collections.Counter('aab')", '{"a":2,"b":1}'),
    ("[Text('t'), Whole(3), Table(a=Text('u'))]", '["t",3,{"a":"u"}]'),
    ("[Text('t'), Whole(3), Table(a=Text('u')), 2**64]", '["t",3,{"a":"u"},18446744073709551616]'),
    ("types.MappingProxyType({'a': 1})", '{"a":1}'),
    ("numbers()", "[1,2]"),
    ("later()", "[1,2]"),
    ("deep(200)", "[" * 201 + "]" * 201),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text"), VALUES)
def test_values(warm: Warm, code: str, text: str) -> None:
    reply = warm.run({"code": code})
    assert isinstance(reply, Done), error_of(reply)
    assert bytes(reply.result).decode() == text.replace("1e300", "1e+300")


def test_values_and_faults_without_orjson(python: Start, tmp_path: Path) -> None:
    (tmp_path / "orjson.py").write_text("raise ImportError")
    warm = python(SOURCE, environment={"PYTHONPATH": str(tmp_path)})
    for code, text in VALUES:
        assert warm.result({"code": code}) == json.loads(text), code
    for code, message in FAULTS:
        assert warm.error({"code": code})["message"].startswith(message)
    assert "nested deeper" in warm.error({"code": "deep(900)"})["message"]
    assert warm.result({"code": "[[1]] * 1000"}) == [[1]] * 1000
    assert warm.result({"code": "sys.modules.get('orjson')"}) is None
    assert warm.result(raw='{"code": "[ord(setup[2]), 2**64]", "setup": "# \\ud800"}') == [0xD800, 2**64]


FAULTS: list[tuple[str, str]] = [
    ("cycle()", "the result contains itself at result.a[1]"),
    ("deep(300)", "the result is nested deeper than 250 levels"),
    ("Thing()", "the result holds a script.Thing at result, which JSON cannot express"),
    ("{'rows': [1, {'it': Thing()}]}", "the result holds a script.Thing at result.rows[1].it, which JSON cannot express"),
    ("{'f': main}", "the result holds a function at result.f, which JSON cannot express"),
    ("[1j]", "the result holds a complex at result[0], which JSON cannot express"),
    ("[Point]", "the result holds a type at result[0], which JSON cannot express"),
    ("[numbers()]", "the result holds a generator at result[0], which JSON cannot express"),
    ("{(1, 2): 3}", "a key at result is a tuple, not a string"),
    ("{'a': {frozenset(): 1}}", "a key at result.a is a frozenset, not a string"),
    ("10**5000", "the result cannot be written: Exceeds the limit (4300 digits) for integer string conversion"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message"), FAULTS)
def test_what_json_cannot_express(warm: Warm, code: str, message: str) -> None:
    error = warm.error({"code": code})
    assert error["name"] == "InvalidResult"
    assert error["message"].startswith(message)
    assert warm.result({"code": "1"}) == 1


def test_a_result_too_large_says_how_large(python: Start) -> None:
    warm = python("def main(n): return 'x' * n", max_result_bytes=1000)
    assert warm.result({"n": 998}) == "x" * 998
    assert warm.error({"n": 999}) == {
        "name": "ResultTooLarge",
        "message": "the result has 1001 bytes, 1000 are allowed",
        "stack": "",
        "extra": {"size": 1001, "limit": 1000},
    }


def test_a_result_larger_than_the_pipe(python: Start) -> None:
    warm = python("def main(n): return 'x' * n")
    assert len(warm.result({"n": 20_000_000})) == 20_000_000


def test_an_error_inside_a_generator_is_the_scripts(warm: Warm) -> None:
    error = warm.error({"code": "(1 / n for n in (1, 0))"})
    assert error["name"] == "ZeroDivisionError"
    assert "in <genexpr>" in error["stack"]


LIBRARIES = """
    import datetime
    import attrs, msgspec, pydantic
    class M(msgspec.Struct):
        a: int
    class P(pydantic.BaseModel):
        at: datetime.date
    @attrs.define
    class A:
        p: P
    def main(): return [M(1), A(P(at="2024-02-29")), {1: M(2)}]
"""


def test_models_of_libraries(python: Start) -> None:
    pytest.importorskip("pydantic")
    pytest.importorskip("attrs")
    warm = python(LIBRARIES)
    assert warm.result() == [{"a": 1}, {"p": {"at": "2024-02-29"}}, {"1": {"a": 2}}]


FRAMES = """
    import datetime
    import numpy as np, pandas as pd
    def main(code): return eval(code)
"""


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("np.arange(6).reshape(2, 3)", [[0, 1, 2], [3, 4, 5]]),
        ("np.arange(6).reshape(2, 3).T", [[0, 3], [1, 4], [2, 5]]),
        ("[np.int64(1), np.float32(0.5), np.bool_(True), np.float64('nan'), np.str_('s')]", [1, 0.5, True, None, "s"]),
        ("np.array(['a', None], dtype=object)", ["a", None]),
        ("np.array([1.5, np.nan, np.inf])", [1.5, None, None]),
        ("np.datetime64('2024-02-29T01:00', 'ns')", "2024-02-29T01:00:00"),
        ("[np.array(['2024-02-29'], dtype='M8[ns]')[::-1], 2**64]", [["2024-02-29T00:00:00"], 2**64]),
        ("pd.DataFrame({'a': [1, 2], 'b': ['x', None]})", [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        ("pd.DataFrame({'t': [pd.Timestamp('2024-02-29'), pd.NaT]})", [{"t": "2024-02-29T00:00:00"}, {"t": None}]),
        ("pd.DataFrame({'a': [1.5, None]}).a", [1.5, None]),
        ("{'n': pd.NA, 't': pd.Timedelta(seconds=2), 'at': pd.Timestamp('2024-02-29', tz='UTC')}",
         {"n": None, "t": 2.0, "at": "2024-02-29T00:00:00+00:00"}),
        ("pd.Series([1, 2]).astype('Int64')", [1, 2]),
        ("pd.Index(['a'])", ["a"]),
        ("[pd.DataFrame({'a': [np.nan]}), 2**64]", [[{"a": None}], 2**64]),
    ],
)  # fmt: skip
def test_numpy_and_pandas(python: Start, code: str, result: Any) -> None:
    pytest.importorskip("pandas")
    assert python(FRAMES).result({"code": code}) == result
