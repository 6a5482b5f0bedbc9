"""How arguments reach a Python `main`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtimes.conftest import Start


@pytest.mark.parametrize(
    ("parameters", "args", "result"),
    [
        ("", {}, {}),
        ("a", {"a": 1}, {"a": 1}),
        ("a, b=2", {"a": 1}, {"a": 1, "b": 2}),
        ("a, b=2", {"b": 3, "a": 1}, {"a": 1, "b": 3}),
        ("a=1, b=2", {}, {"a": 1, "b": 2}),
        ("a, b=2", {"a": None, "b": None}, {"a": None, "b": None}),
        ("a, *, b", {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ("a, /, b", {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ("a, b=2, /, c=3", {"a": 1, "c": 4}, {"a": 1, "b": 2, "c": 4}),
        ("**rest", {"x": 1, "y": 2}, {"rest": {"x": 1, "y": 2}}),
        ("a, **rest", {"a": 1, "y": 2}, {"a": 1, "rest": {"y": 2}}),
        ("*items", {}, {"items": []}),
        ("*items", {"items": [1, 2]}, {"items": [1, 2]}),
        ("a, *items, b=0", {"a": 1, "items": [2, 3], "b": 4}, {"a": 1, "items": [2, 3], "b": 4}),
        ("a, *items", {"a": 1, "items": None}, {"a": 1, "items": []}),
        ("a: int", {"a": "not converted"}, {"a": "not converted"}),
        ("a: 'Undefined' = 1", {}, {"a": 1}),
    ],
)
def test_by_name(python: Start, parameters: str, args: dict[str, Any], result: Any) -> None:
    warm = python(f"def main({parameters}): return locals()")
    assert warm.result(args) == result


@pytest.mark.parametrize(
    ("parameters", "args", "message"),
    [
        ("a, b=2", {}, "missing argument 'a'; the script has main(a, b=2)"),
        ("a, b: int, *, c", {"b": 1}, "missing arguments 'a', 'c'; the script has main(a, b: int, *, c)"),
        ("a", {"a": 1, "z": 2}, "unknown argument 'z'; the script has main(a)"),
        ("", {"x": 1, "y": 2}, "unknown arguments 'x', 'y'; the script has main()"),
        ("a, **rest", {"z": 1}, "missing argument 'a'; the script has main(a, **rest)"),
        ("*items", {"items": 5}, "'items' is not a list; the script has main(*items)"),
        (
            "a=1, *items",
            {"items": [5]},
            "missing 'a', which stands before *items; the script has main(a=1, *items)",
        ),
        ("a", [1], "the arguments are list, not an object; the script has main(a)"),
    ],
)
def test_what_does_not_fit_fails_before_the_call(
    python: Start, parameters: str, args: Any, message: str
) -> None:
    warm = python(f"def main({parameters}): print('called')")
    reply = warm.run(args)
    assert warm.log(reply) == ""
    assert warm.error(args) == {"name": "InvalidArgs", "message": message, "stack": ""}


def test_a_type_error_of_the_script_is_its_own(python: Start) -> None:
    error = python("def helper(x): ...\ndef main(): helper()").error()
    assert error["name"] == "TypeError"
    assert "line 2, in main" in error["stack"]


CONVERTED = """
    from __future__ import annotations
    import datetime, typing
    from datetime import date, datetime as moment
    def main(at: moment = None, day: date | None = None, data: typing.Optional[bytes] = None,
             noted: typing.Annotated[datetime.datetime, "x"] = None, either: moment | str = None,
             many: list[moment] = None):
        return {name: repr(value) for name, value in locals().items() if value is not None}
"""


@pytest.mark.parametrize(
    ("args", "result"),
    [
        ({"at": "2024-02-29T12:30:00"}, {"at": "datetime.datetime(2024, 2, 29, 12, 30)"}),
        (
            {"at": "2024-02-29T12:30:00.5Z"},
            {"at": "datetime.datetime(2024, 2, 29, 12, 30, 0, 500000, tzinfo=datetime.timezone.utc)"},
        ),
        ({"noted": "2024-02-29"}, {"noted": "datetime.datetime(2024, 2, 29, 0, 0)"}),
        ({"day": "2024-02-29"}, {"day": "datetime.date(2024, 2, 29)"}),
        ({"day": "2024-02-29T23:00:00.000Z"}, {"day": "datetime.date(2024, 2, 29)"}),
        ({"data": "AAH/"}, {"data": r"b'\x00\x01\xff'"}),
        ({"at": 17}, {"at": "17"}),
        ({"at": None, "data": None}, {}),
        ({"either": "2024-02-29"}, {"either": "'2024-02-29'"}),
        ({"many": ["2024-02-29"]}, {"many": "['2024-02-29']"}),
    ],
)
def test_dates_and_bytes_are_converted_where_annotated(
    python: Start, args: dict[str, Any], result: Any
) -> None:
    assert python(CONVERTED).result(args) == result


@pytest.mark.parametrize(
    ("args", "beginning"),
    [
        ({"at": "yesterday"}, "'at' is not an ISO 8601 timestamp: "),
        ({"data": "%%%"}, "'data' is not base64: "),
        ({"day": "29.2.2024"}, "'day' is not an ISO 8601 date: "),
    ],
)
def test_what_cannot_be_converted_is_named(python: Start, args: dict[str, Any], beginning: str) -> None:
    error = python(CONVERTED).error(args)
    assert error["name"] == "InvalidArgs"
    assert error["message"].startswith(beginning)


@pytest.mark.parametrize(
    ("parameters", "args", "result"),
    [
        ("a, b=2", {}, {"a": None, "b": 2}),
        ("a, b=2", {"a": 1, "b": None, "unknown": 1}, {"a": 1, "b": 2}),
        ("a, b=2", {"b": "<function call>"}, {"a": None, "b": 2}),
        ("a, **rest", {"c": 1}, {"a": None, "rest": {"c": 1}}),
        ("a: bytes", {"a": "AA=="}, {"a": "AA=="}),
    ],
)
def test_as_windmill_does(python: Start, parameters: str, args: dict[str, Any], result: Any) -> None:
    warm = python(f"def main({parameters}): return locals()", arguments="windmill")
    assert warm.result(args) == result


@pytest.mark.parametrize(
    "raw",
    [
        '{"a": 123456789012345678901234567890}',
        '{"a": -9223372036854775809}',
        '{"a": "\\ud800"}',
        '{"a": "\\u0000 \\u20ac \\n"}',
        '{"a": 1e300}',
        '{"a": {"b": [{}, [], "", 0.1, true, null]}}',
    ],
)
def test_json_arrives_exactly(python: Start, raw: str) -> None:
    warm = python("import json\ndef main(a): return json.dumps({'a': a})")
    assert warm.result(raw=raw) == raw.replace("1e300", "1e+300")


def test_raw_newlines_between_tokens_are_no_end_of_frame(python: Start) -> None:
    assert python("def main(a): return a").result(raw='{\n  "a": [\n1]\n}') == [1]


def test_arguments_nested_beyond_reading_fail_their_job_only(python: Start) -> None:
    warm = python("def main(a=1): return a")
    error = warm.error(raw='{"a": ' + "[" * 200_000 + "]" * 200_000 + "}")
    assert error["name"] == "InvalidArgs"
    assert error["message"].startswith("the arguments cannot be read: RecursionError")
    assert warm.result() == 1


def test_other_callables_than_functions(python: Start) -> None:
    assert python("import functools\nmain = functools.partial(lambda a, b: a - b, b=1)").result({"a": 3}) == 2
    assert python("class C:\n  def __call__(self, a): return a\nmain = C()").result({"a": 3}) == 3
    assert python("main = dict").result({"a": 3}) == {"a": 3}
