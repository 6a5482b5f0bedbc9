"""Which function a job calls: `main`, or what `_ENTRYPOINT_OVERRIDE` names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.harness import Warm

KEY = "_ENTRYPOINT_OVERRIDE"

PROGRAMS = {
    "python3": """
        import datetime, functools, os
        from os import getcwd
        from json import dumps as preprocessor_of_json
        def main(a, b=2): return ["main", a, b]
        def preprocessor(event, at: datetime.date = None): return ["preprocessor", event, at and at.year]
        async def later(a): return ["later", a]
        def items(n): yield from range(n)
        @functools.lru_cache
        def cached(a): return ["cached", a]
        def rest(**rest): return rest
        def fails(): raise KeyError("own")
        def _private(): return "private"
        class Thing: pass
        value = 5
    """,
    "bun": """
        export function main(a: number, b = 2) { return ["main", a, b]; }
        export function preprocessor(event: object, at?: Date) { return ["preprocessor", event, at ? at.getUTCFullYear() : null]; }
        export async function later(a: number) { return ["later", a]; }
        export function* items(n: number) { for (let i = 0; i < n; i++) yield i; }
        export const cached = (a: number) => ["cached", a];
        export const rest = ({ ...rest }) => rest;
        export function fails() { throw new RangeError("own"); }
        export const value = 5;
        function _private() { return "private"; }
        export const two = ({ a }: { a: 1 }, { b }: { b: 1 }) => a + b;
    """,
}
ONLY = {
    "python3": "def preprocessor(event): return ['preprocessor', event]",
    "bun": "export async function preprocessor(event: object) { return ['preprocessor', event]; }",
}


@pytest.fixture(params=PROGRAMS)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def warm(start: Start, language: str) -> Warm:
    warm = start(language, PROGRAMS[language])
    warm.ready()
    return warm


def called(name: object, **args: Any) -> dict[str, Any]:
    return {KEY: name, **args}


def test_the_arguments_choose_the_function(warm: Warm) -> None:
    event = {"kind": "webhook"}
    for _ in range(2):
        assert warm.result({"a": 1, "b": 3}) == ["main", 1, 3]
        assert warm.result(called("preprocessor", event=event)) == ["preprocessor", event, None]
        assert warm.result({"a": 1}) == ["main", 1, 2]
        assert warm.result({"event": event, "at": "2024-05-06", KEY: "preprocessor"})[2] == 2024
        assert warm.result(called("main", a=1)) == ["main", 1, 2]
        assert warm.result(called("main", a=1, b=1)) == ["main", 1, 1]
        assert warm.result(called("later", a=1)) == ["later", 1]
        assert warm.result(called("items", n=3)) == [0, 1, 2]
        assert warm.result(called("cached", a=1)) == ["cached", 1]
        assert warm.result(called("rest", x=1)) == {"x": 1}


@pytest.mark.parametrize("name", ["gone", "value", "_private", "", "toString", "__init__", "call", "a.b"])
def test_what_the_script_does_not_have_fails_the_job_alone(warm: Warm, name: str) -> None:
    error = warm.error(called(name, a=1))
    assert error["name"] == "NoEntryPoint"
    assert error["message"].endswith(f"no function {name}")
    assert warm.result({"a": 1}) == ["main", 1, 2]


@pytest.mark.parametrize("name", ["getcwd", "preprocessor_of_json", "os", "print"])
def test_what_a_script_imports_is_no_entry_point(python: Start, name: str) -> None:
    assert python(PROGRAMS["python3"]).error(called(name))["name"] == "NoEntryPoint"


@pytest.mark.parametrize("name", [None, 5, ["main"], {}])
def test_the_name_is_a_string(warm: Warm, name: object) -> None:
    assert warm.error(called(name, a=1))["name"] == "InvalidArgs"
    assert warm.result({"a": 1}) == ["main", 1, 2]


def test_arguments_of_another_entry_point_are_checked_too(warm: Warm) -> None:
    error = warm.error(called("preprocessor", evnt=1))
    assert error["name"] == "InvalidArgs"
    assert "'event'" in error["message"]
    assert "the script has preprocessor(event" in error["message"]
    assert "'c'" in warm.error(called("main", a=1, c=1))["message"]


def test_another_entry_point_fails_as_main_does(warm: Warm, language: str) -> None:
    error = warm.error(called("fails"))
    assert error["name"] == ("KeyError" if language == "python3" else "RangeError")
    assert "fails" in error["stack"]
    assert "bootstrap" not in error["stack"]


def test_an_entry_point_that_cannot_be_called_fails_its_job(bun: Start) -> None:
    warm = bun(PROGRAMS["bun"])
    assert warm.error(called("two", a=1))["message"].startswith("two has more than one destructured")
    assert warm.result({"a": 1}) == ["main", 1, 2]


def test_a_script_may_have_a_preprocessor_alone(start: Start, language: str) -> None:
    warm = start(language, ONLY[language])
    warm.ready()
    assert warm.result(called("preprocessor", event=1)) == ["preprocessor", 1]
    for args in ({}, {"event": 1}, called("main", event=1)):
        error = warm.error(args)
        assert (error["name"], error["message"][-16:]) == ("NoMain", "no function main")
    assert warm.result(called("preprocessor", event=2)) == ["preprocessor", 2]


def test_windmills_arguments_know_entry_points_too(start: Start, language: str) -> None:
    warm = start(language, PROGRAMS[language], arguments="windmill")
    warm.ready()
    assert warm.result(called("preprocessor", event=1, more=2)) == ["preprocessor", 1, None]
    assert warm.result({"a": 1, "more": 2}) == ["main", 1, 2]
    only = start(language, ONLY[language], arguments="windmill")
    only.ready()
    assert only.result(called("preprocessor", event=1)) == ["preprocessor", 1]
    assert only.error({"event": 1})["name"] == "NoMain"


def test_a_parameter_of_that_name_is_not_to_be_had(python: Start, bun: Start) -> None:
    warm = python(f"def main({KEY}): return 1\ndef other(): return 2")
    assert warm.result(called("other")) == 2
    warm = bun(f"export function main({KEY}: string) {{ return 1; }} export function other() {{ return 2; }}")
    assert warm.result(called("other")) == 2


@pytest.mark.parametrize(
    ("filename", "source"),
    [
        ("s.cjs", "module.exports = { preprocessor(event) { return event; }, main: (a) => [a] };"),
        ("s.cjs", "exports.preprocessor = (event) => event; exports.main = (a) => [a];"),
        (
            "s.ts",
            "export default { preprocessor(event: number) { return event; }, main: (a: number) => [a] };",
        ),
        (
            "s.ts",
            "const preprocessor = (event: number) => event; export { preprocessor }; export default (a: number) => [a];",
        ),
    ],
)
def test_every_way_to_export(bun: Start, filename: str, source: str) -> None:
    warm = bun(source, filename=filename)
    assert warm.result({"a": 1}) == [1]
    assert warm.result(called("preprocessor", event=5)) == 5
    assert warm.error(called("bind", event=5))["name"] == "NoEntryPoint"


def test_types_are_read_from_the_right_declaration(bun: Start) -> None:
    warm = bun(
        """
        export function main(at: string, b: string) { return [typeof at]; }
        export const preprocessor = (at: Date, b?: string) => [at.getUTCFullYear()];
        """
    )
    assert warm.result({"at": "2024-05-06", "b": ""}) == ["string"]
    assert warm.result(called("preprocessor", at="2024-05-06")) == [2024]
    assert warm.error(called("main", at=""))["name"] == "InvalidArgs"


def test_a_preprocessor_may_be_imported(python: Start) -> None:
    warm = python("from json import dumps as preprocessor\ndef main(): return 1")
    assert warm.result(called("preprocessor", obj=[1])) == "[1]"
