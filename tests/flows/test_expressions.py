from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.flows.expressions import (
    Evaluator,
    ExpressionError,
    Missing,
    Scope,
    UnknownName,
    describe,
    references,
)
from mill_actors.flows.javascript import Engine
from mill_actors.flows.references import Path, Step
from mill_actors.jobs.jsons import decode, encode


class Known:
    """A scope that holds some values, lacks some, and counts what it is asked for."""

    def __init__(self, values: dict[str, Any] | None = None, missing: set[str] | None = None) -> None:
        self.texts = {name: encode(value) for name, value in (values or {}).items()}
        self.missing = missing or set()
        self.asked: Counter[str] = Counter()

    def value(self, name: str) -> bytes:
        self.asked[name] += 1
        if name in self.missing:
            raise Missing({name})
        try:
            return self.texts[name]
        except KeyError:
            raise UnknownName(name) from None


class Decoding(Known):
    """A scope that decodes by itself."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.decoded_names: list[str] = []

    def decoded(self, name: str) -> Any:
        self.decoded_names.append(name)
        return decode(self.texts[name])


VALUES = {
    "results.a": {
        "x": 3,
        "list": [1, 2, 3],
        "text": "a😀b",
        "none": None,
        "deep": {"k-1": {"z": [{"w": 1}]}},
    },
    "results.b": [{"id": 1, "ok": True}, {"id": 2, "ok": False}],
    "results.c-d": "dashed",
    "flow_input": {"y": 2, "name": "Ann", "iter": {"value": "v", "index": 4}, "constructor": 5},
    "previous_result": {"error": {"message": "boom", "name": "E"}},
    "flow_env": {"STAGE": "test"},
    "resume": {"ok": True},
    "resumes": [1, 2],
    "approvers": ["u/ann"],
    "iter": {"value": "v", "index": 4},
    "variable:u/x/y": "secret",
    "resource:f/a/b": {"host": "h"},
}
SCOPE = Known(VALUES)
EVALUATOR = Evaluator()


def value_of(expr: str, scope: Scope = SCOPE, extra: dict[str, bytes] | None = None) -> Any:
    return decode(EVALUATOR.evaluate(expr, scope, extra or {}))


def fault_of(expr: str, scope: Scope = SCOPE, evaluator: Evaluator = EVALUATOR) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        evaluator.evaluate(expr, scope)
    return caught.value


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        # literals
        ("true", True),
        (" null ", None),
        ("undefined", None),
        ("42", 42),
        ("-7", -7),
        ("-0", 0),
        ("1.50", 1.5),
        ("0x10", 16),
        ("'single'", "single"),
        ('"döuble"', "döuble"),
        (r'"a\nb"', "a\nb"),
        (r'"\u0000"', "\0"),
        ("1 + '\0'", "1\0"),
        # paths
        ("results.a.x", 3),
        (" results.a.x ; ", 3),
        ("results['c-d']", "dashed"),
        ('results["a"]["deep"]["k-1"].z[0].w', 1),
        ("results?.a?.nothing?.at.all", None),
        ("results.nobody", None),
        ("results.nobody?.x", None),
        ("results.a.nothing", None),
        ("results.a.list.length", 3),
        ("results.a.list[7]", None),
        ("results.a.list['1']", 2),
        ("results.a.text.length", 4),
        ("results.a.text[0]", "a"),
        ("results.a.text[1]", "\ud83d"),
        ("flow_input.iter.value", "v"),
        ("flow_input.constructor", 5),
        ("results.a.toString()", "[object Object]"),
        ("results.a.x.y", None),
        ("error.message", "boom"),
        ("error", {"message": "boom", "name": "E"}),
        # expressions
        ("results.a.x + flow_input.y * 2", 7),
        ("results.b.filter(r => r.ok).map(r => r.id)", [1]),
        ("`${flow_input.name}: ${results.a.list.length}`", "Ann: 3"),
        ("results.a?.missing?.b ?? 'else'", "else"),
        ("results.a.x > 2 ? 'big' : 'small'", "big"),
        ("{a: 1}", {"a": 1}),
        ("({...results.a.deep, n: 1})", {"k-1": {"z": [{"w": 1}]}, "n": 1}),
        ("[...results.a.list, ...resumes]", [1, 2, 3, 1, 2]),
        ("Math.max(...results.a.list)", 3),
        ("JSON.stringify({a: [1]})", '{"a":[1]}'),
        ("JSON.parse('[1, 2]')[1]", 2),
        ("/(\\d+)-(\\d+)/.exec('on 12-34').slice(1)", ["12", "34"]),
        ("'a-b-c'.replace(/-/g, '+')", "a+b+c"),
        ("Object.entries({a: 1, b: 2})", [["a", 1], ["b", 2]]),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("new Date(Date.UTC(2024, 1, 29)).toISOString().slice(0, 10)", "2024-02-29"),
        ("(function f(n) { return n ? 1 + f(n - 1) : 0 })(400)", 400),
        ("typeof result", "undefined"),
        ("typeof nobody", "undefined"),
        ("flow_env.STAGE + approvers[0] + iter.index", "testu/ann4"),
        ("resume.ok && !resume.no", True),
        ("'a' in results && !('zz' in results)", True),
        ("(({x, list: [first, ...rest]}) => [x, first, rest])(results.a)", [3, 1, [2, 3]]),
        ("results.a.x // a comment", 3),
        ("results.a.list.reduce((sum, n) => sum + n, 0)", 6),
        ("results.b.map(r => { return r.id })", [1, 2]),
        ("results[flow_input.name.length === 3 ? 'a' : 'b'].x", 3),
        ("new Map([[1, {a: 2}]]).get(1)", {"a": 2}),
        ("[0.1 + 0.2, NaN, 1 / 0, undefined, () => 1]", [0.30000000000000004, None, None, None, None]),
        ("({a: undefined, f() {}, d: 1})", {"d": 1}),
        ("NaN", None),
        ("() => 1", None),
        ("2 ** 53 + 1", 2**53),
        # bodies
        ("return 5", 5),
        ("const {a, b} = results; return a.x + b.length", 5),
        ("let sum = 0;\nfor (const n of results.a.list) sum += n;\nreturn sum;", 6),
        ("if (results.a.x > 2) { return 'yes' } else { return 'no' }", "yes"),
        ("try { null.x } catch (e) { return e instanceof TypeError }", True),
        ("const o = {}; o.constructor = 1; o.toString = 2; return o", {"constructor": 1, "toString": 2}),
        ("class A { #p = 1; get p() { return this.#p } } return new A().p", 1),
        ("function* g() { yield 1; yield 2 } return [...g()]", [1, 2]),
        ("const e = new Error('a'); e.message = 'b'; return e.message", "b"),
        ("flow_input.y = 9; return flow_input.y", 9),
        ("const first = 1", None),
        # variables, resources and promises
        ("variable('u/x/y')", "secret"),
        ("await variable('u/x/y')", "secret"),
        ("(await resource('f/a/b')).host", "h"),
        ("const r = await resource('f/a/b'); return `${r.host}`", "h"),
        ("Promise.resolve(4)", 4),
        ("await Promise.all([variable('u/x/y'), 2])", ["secret", 2]),
        ("variable('u/' + 'x/y').length", 6),
    ],
)
def test_values(expr: str, expected: Any) -> None:
    if expr == "const first = 1":
        assert "SyntaxError" in fault_of(expr).message
        return
    assert value_of(expr) == expected


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("nobody + 1", "ReferenceError: nobody is not defined"),
        ("results.a.none.b", "TypeError: Cannot read properties of null (reading 'b')"),
        ("results.a.nothing.b", "TypeError: Cannot read properties of undefined (reading 'b')"),
        ("results.a.nothing.b + 1", "TypeError: Cannot read properties of undefined (reading 'b')"),
        ("results.nobody.b", "TypeError: Cannot read properties of undefined (reading 'b')"),
        ("1 +", "SyntaxError: "),
        ("let a = 1;\nlet b = 2;\nreturn a.b.c", "(line 3)"),
        ("return 1 +;\n", "SyntaxError: "),
        ("10n", "BigInt"),
        ("throw new RangeError('far'); return 1", "RangeError: far"),
        ("throw {code: 7}; return 1", 'thrown: {"code":7}'),
        ("throw null; return 1", "thrown: null"),
        ("throw undefined; return 1", "thrown: undefined"),
        ("await Promise.reject(new Error('later'))", "Error: later"),
        ("new Promise(() => {})", "never kept"),
        ("const o = {}; o.o = o; return o", "circular"),
        ("({toJSON() { throw new Error('no') }})", "Error: no"),
        ("import('fs')", "could not load module"),
        ("'\ud800'  + 1", "SyntaxError"),
        ("results['\\ud800' + '']", "surrogate"),
        ("throw {get message() { throw 1 }, toJSON() { throw 2 }}; return 1", "cannot be shown"),
    ],
)
def test_faults(expr: str, message: str) -> None:
    fault = fault_of(expr)
    assert message in fault.message
    assert (fault.kind, fault.expr) == ("error", expr)


def test_a_fault_says_what_was_read_by_type_and_never_by_value() -> None:
    fault = fault_of("results.b.length > 0 ? results.a.nothing.b + flow_env.x : resumes")
    assert fault.values == {"results.b": "array of 2", "results.a": "object {x, list, text, none, deep}"}
    assert str(fault).splitlines() == [
        "TypeError: Cannot read properties of undefined (reading 'b')",
        "  in: results.b.length > 0 ? results.a.nothing.b + flow_env.x : resumes",
        "  results.b is array of 2",
        "  results.a is object {x, list, text, none, deep}",
    ]
    assert fault_of("results.a.nothing.b").values == {"results.a": "object {x, list, text, none, deep}"}
    assert fault_of("results.nobody.b").values == {"results.nobody": "undefined"}


def test_a_long_source_is_cut_in_the_message_only() -> None:
    fault = fault_of("nobody + " + "1 + " * 1000 + "1")
    assert len(str(fault)) < 700
    assert len(fault.expr) > 4000


# ---------------------------------------------------------------- what is read


def test_only_what_is_touched_is_asked_for() -> None:
    scope = Known(VALUES)
    assert value_of("flow_input.y === 2 ? results.a.x : results.b", scope) == 3
    assert set(scope.asked) == {"flow_input", "results.a"}
    assert max(scope.asked.values()) == 1


def test_a_missing_value_is_named_once_it_is_touched() -> None:
    scope = Known(VALUES, missing={"results.far", "results.farther", "variable:v"})
    assert value_of("flow_input.y === 2 ? 1 : results.far", scope) == 1
    assert value_of("'results.far' + 1", scope) == "results.far1"
    for expr, names in {
        "results.far": {"results.far"},
        "results.far.x": {"results.far"},
        "results.far || 1": {"results.far"},
        "try { return results.far } catch { return 0 }": {"results.far"},
        "await variable('v')": {"variable:v"},
        "const n = 'v'; return variable(n)": {"variable:v"},
        "[results.far, results.farther]": {"results.far", "results.farther"},
    }.items():
        with pytest.raises(Missing) as caught:
            EVALUATOR.evaluate(expr, scope)
        assert caught.value.names == names
    scope.missing.clear()
    scope.texts["results.far"] = b"5"
    assert value_of("results.far + 1", scope) == 6


def test_extra_names_win() -> None:
    extra = {"result": b'{"n": 1}', "flow_input": b"10", "results.a": b"20", "x": b"30", "variable:v": b"40"}
    assert value_of("result.n + flow_input + results.a + x + variable('v')", extra=extra) == 101
    assert value_of("results.a", extra=extra) == 20
    assert value_of("result.n", extra=extra) == 1
    assert value_of("all_iters.length", extra={"all_iters": b"[1, 2]"}) == 2
    assert value_of("results.a.b", extra={"results": b'{"a": {"b": 1}}'}) == 1
    assert value_of("error.message", extra={"error": b'{"message": "mine"}'}) == "mine"


def test_an_error_of_its_own_comes_before_that_of_the_previous_result() -> None:
    scope = Known({"error": {"message": "own"}, "previous_result": {"error": {"message": "previous"}}})
    assert value_of("error.message", scope) == "own"
    assert value_of("error", Known({"previous_result": 1})) is None
    assert value_of("error?.message + ''", Known()) == "undefined"


def test_a_scope_that_decodes_is_asked_to() -> None:
    scope = Decoding({"results.a": {"x": [1, 2]}})
    assert value_of("results.a.x[1]", scope) == 2
    assert scope.decoded_names == ["results.a"]


# ---------------------------------------------------------------- without JavaScript


def test_paths_keep_every_digit_and_every_half_of_a_pair() -> None:
    text = b'{"n": 36893488147419103232, "s": "\\ud800", "f": 1e400}'
    scope = Known()
    scope.texts["results.a"] = text
    assert EVALUATOR.evaluate("results.a", scope) is text
    assert EVALUATOR.evaluate("results.a.n", scope) == b"36893488147419103232"
    assert EVALUATOR.evaluate("results.a.s", scope) == b'"\\ud800"'
    assert EVALUATOR.evaluate("results.a.s + ''", scope) == b'"\\ud800"'
    assert value_of("results.a.n + 0", scope) == pytest.approx(2**65)


def test_what_is_too_deep_fails_alone() -> None:
    scope = Known()
    scope.texts["results.a"] = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert "stack" in fault_of("results.a.x", scope).message
    assert EVALUATOR.evaluate("results.a", scope) == scope.texts["results.a"]
    assert value_of("1 + 1") == 2


def test_what_is_no_json_is_a_fault() -> None:
    scope = Known()
    scope.texts["results.a"] = b"{nonsense"
    fault = fault_of("results.a.x", scope)
    assert "SyntaxError" in fault.message


keys = st.sampled_from(["a", "b", "length", "0", "1", "toString", "__proto__", "é", "x y"])
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=5)
jsons = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
steps = st.lists(st.tuples(keys | st.integers(0, 3), st.booleans()), max_size=4)


def as_numbers(value: Any) -> Any:
    """A value as JavaScript prints it: 4.1e16 and the same number, written out, are one."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case list():
            return [as_numbers(item) for item in value]
        case dict():
            return {key: as_numbers(item) for key, item in value.items()}
        case _:
            return value


def outcome(expr: str, scope: Scope, *, by_javascript: bool) -> tuple[Any, ...]:
    # In parentheses it is no plain path.
    expr = f"({expr})" if by_javascript else expr
    try:
        value = decode(EVALUATOR.evaluate(expr, scope))
        return ("value", as_numbers(value), EVALUATOR.is_true(expr, scope))
    except ExpressionError as error:
        return ("fault", error.message, error.values)


@given(jsons, steps)
def test_a_path_means_the_same_with_and_without_javascript(
    value: Any, path: list[tuple[str | int, bool]]
) -> None:
    expr = "results.a"
    for key, is_optional in path:
        text = json.dumps(key, ensure_ascii=False)
        plain = isinstance(key, str) and key.isidentifier() and key.isascii()
        expr += ("?." if is_optional else "." if plain else "") + (str(key) if plain else f"[{text}]")
    scope = Known({"results.a": value})
    assert references(expr).path is not None
    assert references(f"({expr})").path is None
    assert outcome(expr, scope, by_javascript=False) == outcome(expr, scope, by_javascript=True)


@pytest.mark.parametrize(
    "value", [0, -0.0, 0.0, 1, -1, 0.5, "", "0", "false", " ", [], {}, None, True, False, 10**30, "\0"]
)
def test_truth_is_that_of_javascript(value: Any) -> None:
    scope = Known({"result": value, "results.a": {"x": value}})
    by_javascript = EVALUATOR.evaluate("!!result", scope) == b"true"
    for expr in ("result", "(result)", "results.a.x", "(results.a.x)", "await result", "return result"):
        assert EVALUATOR.is_true(expr, scope) is by_javascript, expr


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("NaN", False),
        ("1 / 0", True),
        ("() => 1", True),
        ("undefined", False),
        ("Symbol()", True),
        ("10n", True),
        ("0n", False),
        ("'0'", True),
        ("''", False),
        ("0", False),
        ("results.none", False),
        ("1e-400", False),
    ],
)
def test_truth_of_what_is_no_json(expr: str, expected: bool) -> None:
    assert EVALUATOR.is_true(expr, SCOPE) is expected


# ---------------------------------------------------------------- the text alone


def test_plain_paths() -> None:
    assert references("results?.a.b['c d']?.[0]").path == Path(
        "results.a", (Step("b"), Step("c d"), Step(0, is_optional=True))
    )
    assert references("flow_input").path == Path("flow_input")
    for expr in (
        "results",
        "results.a()",
        "results.a +",
        "foo.bar",
        "a.results.b",
        "results.a[x]",
        "flow_inputs",
        "",
    ):
        assert references(expr).path is None, expr


@pytest.mark.parametrize(
    ("expr", "names", "dynamic"),
    [
        ("results.a + results?.b + results['c'] + results?.[\"d\"] + results[`e`]", "results.a results.b results.c results.d results.e", False),
        ("flow_input.results.x", "flow_input", False),
        ("{...previous_result, x: my.error}", "previous_result", False),
        ("error", "error previous_result", False),
        ("variable('u/a') + resource(\"f/b\")", "resource:f/b variable:u/a", False),
        ("results[flow_input]", "flow_input", True),
        ("const {a} = results; return a", "", True),
        ("variable(x)", "", True),
        ("globalThis['flow' + '_input']", "", True),
        ("1 + 1", "", False),
    ],
)  # fmt: skip
def test_names(expr: str, names: str, dynamic: bool) -> None:
    found = references(expr)
    assert " ".join(sorted(found.names)) == names
    assert found.dynamic is dynamic


# ---------------------------------------------------------------- the poisoned

LOOPS = [
    "while (true) {}; return 1",
    "try { while (true) {} } catch { return 1 }",
    "while (true) { try { results.zz } catch {} }; return 1",
    "for (let i = 0; ; i++) results['r' + i]; return 1",
    "await (async () => { await 1; while (true) {} })()",
    "(async () => { while (true) await 1 })()",
    "Promise.resolve().then(() => { for (;;) {} }) && 1",
    "/(a+)+$/.test('a'.repeat(50) + 'b')",
    "({toJSON() { for (;;) {} }})",
    "({get x() { for (;;) {} }})",
    "[2, 1].sort(() => { for (;;) {} })",
]
BOMBS = [
    "'x'.repeat(1e9)",
    "const a = []; for (;;) a.push('x'.repeat(1e5) + a.length); return a",
    "new Uint8Array(1e9)",
    "[...Array(1e9).keys()]",
    "'x'.repeat(7e6) + Array(7e6).join('y')",
]
POISONS = [
    "(function f() { return f() + 1 })()",
    "'use strict'; Object.prototype.x = 1; return 1",
    "Object.prototype.x = 1; return {}.x ?? 0",
    "Array.prototype.map = null; return [1].map(x => x)",
    "Object.defineProperty(Array.prototype, 'map', {value: 1})",
    "Object.setPrototypeOf(Object.prototype, {x: 1})",
    "delete globalThis.JSON; delete globalThis.results; return 1",
    "JSON = 1; Math = null; results = 2; flow_input = 3; return 1",
    "globalThis.x = 1; return 1",
    "(0, eval)('let JSON = 1; var x = 2')",
    "1 }); let JSON = 1; let x = 1; (() => { return (1",
    "})(), (Object.prototype.x = 1), (() => { return (1",
    "results.x = 1; return results.x",
    "Object.prototype.toString.x = 1; return 1",
    "Object.getOwnPropertyDescriptor(globalThis, 'flow_input').get.x = 1; return 1",
    "(() => {}).constructor.prototype.x = 1; return 1",
    "Promise.prototype.then = null; return Promise.resolve(1)",
    "const p = Promise.resolve(1); p.then = 3; p.constructor = null; return p",
    "Object.create(Promise.prototype)",
    "JSON.stringify = () => 1; JSON.parse = null; return 1",
    "RegExp.prototype.exec = null; return 1",
    "Error.prototype.toString = null; throw new Error('x'); return 1",
    "Object.freeze(results); Object.preventExtensions(results); return 1",
    "const o = {}; o.o = o; return o",
    "queueMicrotask(() => { throw 1 }), 1",
    "Reflect.ownKeys(globalThis).forEach(k => { try { delete globalThis[k] } catch {} }); return 1",
]
HEALTHY = {
    "[1, 2].map(x => x + 1).concat(Object.keys({a: 1}))": [2, 3, "a"],
    "[typeof x, typeof ({}).x, JSON.stringify([results.a.x, flow_input.y]), Math.abs(-1)]": [
        "undefined",
        "undefined",
        "[3,2]",
        1,
    ],
    "await Promise.resolve(results.a.x)": 3,
    "typeof Object.prototype.toString.x + typeof results.x + typeof (() => {}).x": "undefined" * 3,
    "/a/.test('a') && `${new Error('x')}`": "Error: x",
}


@pytest.mark.parametrize("expr", POISONS + BOMBS + LOOPS)
def test_a_poisoned_expression_fails_alone(expr: str) -> None:
    # A bomb must not run into the other limit on a slow machine.
    evaluator = Evaluator(seconds=2.0 if expr in BOMBS else 0.02)
    for _ in range(2):
        found = {"value"}
        try:
            evaluator.evaluate(expr, SCOPE)
        except ExpressionError as error:
            found = {error.kind}
        assert found <= (
            {"timeout"} if expr in LOOPS else {"memory"} if expr in BOMBS else {"error", "value"}
        )
        for healthy, expected in HEALTHY.items():
            assert decode(evaluator.evaluate(healthy, SCOPE)) == expected


def test_limits_are_named() -> None:
    evaluator = Evaluator(seconds=0.01, memory_bytes=2 * 2**20)
    assert fault_of(LOOPS[0], evaluator=evaluator).message == "It took longer than 10 ms."
    assert fault_of("'x'.repeat(3e6)", evaluator=evaluator).message == "It needs more than 2 MiB of memory."


@pytest.mark.parametrize("length", range(60_000, 200_000, 20_000))
def test_a_value_too_large_for_javascript_is_a_matter_of_memory(length: int) -> None:
    scope = Known({"results.a": {"x": 1, "rows": [{"id": n} for n in range(length)]}})
    evaluator = Evaluator(seconds=5.0, memory_bytes=8 * 2**20)
    assert fault_of("results.a.x + 1", scope, evaluator).kind == "memory"
    assert evaluator.evaluate("results.a.x", scope) == b"1"


def test_the_time_of_one_is_not_taken_from_the_next() -> None:
    evaluator = Evaluator(seconds=0.05)
    busy = "let n = 0; const end = performance.now() + 15; while (performance.now() < end) n++; return n > 0"
    for _ in range(8):
        assert evaluator.evaluate(busy, SCOPE) == b"true"


def test_nothing_that_an_expression_can_reach_can_be_changed() -> None:
    walk = """
        const seen = new Set(), loose = [];
        const visit = (it, path) => {
          if (it === null || typeof it !== "object" && typeof it !== "function") return;
          if (seen.has(it) || it === results) return;
          seen.add(it);
          if (!Object.isFrozen(it)) loose.push(path);
          visit(Object.getPrototypeOf(it), path + ".__proto__");
          for (const key of Reflect.ownKeys(it)) {
            const {value, get, set} = Object.getOwnPropertyDescriptor(it, key);
            visit(value, `${path}.${String(key)}`);
            visit(get, `get ${path}.${String(key)}`);
            visit(set, `set ${path}.${String(key)}`);
            try { if (get && it !== globalThis) visit(it[key], `${path}.${String(key)}`) } catch {}
          }
        };
        visit(globalThis, "globalThis");
        for (const it of [function*(){}, async function(){}, async function*(){}, [].values(), [].values().map(x => x), new Map().keys(), new Set().keys(), ""[Symbol.iterator](),
          "a".matchAll(/a/g), Iterator.from({next() {}}), (() => { try { null.x } catch (e) { return e } })()])
          visit(Object.getPrototypeOf(it), "hidden");
        return [seen.size > 500, loose];
    """
    scope = Known(dict.fromkeys(("result", "all_iters"), 1) | VALUES)
    assert decode(Evaluator(seconds=1.0).evaluate(walk, scope)) == [True, []]


def test_a_compiled_expression_keeps_nothing() -> None:
    evaluator = Evaluator()
    for expr in (
        "(f => { f.n = (f.n ?? 0) + 1; return f.n })(x => x)",
        "const f = t => t; const s = f`x`; try { s.n = (s.n ?? 0) + 1 } catch {} return s.n ?? 1",
        "results.n = 1; flow_input.n = (flow_input.n ?? 0) + 1; return flow_input.n",
        "const r = /a/g; r.test('aa'); return r.lastIndex",
    ):
        assert [evaluator.evaluate(expr, SCOPE) for _ in range(3)] == [b"1"] * 3


def test_a_context_is_replaced_before_it_is_worn() -> None:
    engine = Engine(2**24)
    while not engine.is_spent:
        assert engine.run("1 + 1", (), {}, 0.05) == "2"
    evaluator = Evaluator(memory_bytes=4 * 2**20)
    for i in range(2500):
        # Cycles, and a text of its own each time.
        expr = f"const o = {{a: Array(100).fill({i})}}; o.o = o; return o.a[0]"
        assert evaluator.evaluate(expr, SCOPE) == str(i).encode()


def test_threads_do_not_meet() -> None:
    evaluator = Evaluator()
    barrier = threading.Barrier(4)

    def work(thread: int) -> int:
        barrier.wait()
        scope = Known({"results.a": {"x": thread}})
        done = 0
        for i in range(150):
            if i % 50 == 49:
                fault_of("nobody", scope, evaluator)
            if i == 100:
                assert fault_of("for (;;); return 1", scope, evaluator).kind == "timeout"
            done += (
                evaluator.evaluate(f"results.a.x * 1000 + {i % 7}", scope)
                == str(thread * 1000 + i % 7).encode()
            )
        return done

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [150] * 4


def test_other_threads_do_not_use_up_the_time_of_an_expression() -> None:
    busy = "let n = 0; for (let i = 0; i < 200000; i++) n += i; return n > 0"
    began = thread_time()
    Evaluator(seconds=5.0).evaluate(busy, SCOPE)
    # Enough for one of them, and far from enough for all that run at the same time.
    evaluator = Evaluator(seconds=3 * (thread_time() - began))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: evaluator.evaluate(busy, SCOPE), range(24))) == {b"true"}


def test_importing_the_engine_starts_no_thread() -> None:
    assert "quickjs" not in sys.modules


def test_types_in_words() -> None:
    values: list[Any] = [None, True, 1, 1.5, "x", [], {}, {str(n): n for n in range(12)}]
    assert [describe(value) for value in values] == [
        "null",
        "boolean",
        "number",
        "number",
        "string",
        "array of 0",
        "object {}",
        "object {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …}",
    ]
