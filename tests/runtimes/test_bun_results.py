"""How what a TypeScript `main` returns becomes JSON."""

from __future__ import annotations

import pytest

from mill_actors.runtimes.frames import Done
from tests.runtimes.conftest import Start
from tests.runtimes.harness import Warm, error_of

SOURCE = """
    class Point { x = 1; #hidden = 2; get y() { return 3; } }
    class Money { constructor(readonly cents: number) {} toJSON() { return `${this.cents / 100} EUR`; } }
    const cycle: any = { a: [1] }; cycle.a.push(cycle);
    const shared = { s: 1 };
    const deep = (n: number) => { let value: unknown = []; for (let i = 0; i < n; i++) value = [value]; return value; };
    function* numbers() { yield 1; yield 2; }
    async function* later() { yield 1; await null; yield 2; }
    enum Color { Red = "red", Two = 2 }
    const bare = Object.assign(Object.create(null), { a: 1 });
    export function main(code: string): unknown { return eval(`(${code})`); }
"""

VALUES = [
    ("undefined", "null"),
    ("null", "null"),
    ("true", "true"),
    ("-0.5", "-0.5"),
    ("[NaN, Infinity, -Infinity]", "[null,null,null]"),
    ("NaN", "null"),
    ("9007199254740991n", "9007199254740991"),
    ("[9007199254740992n, -1n]", '["9007199254740992",-1]'),
    ("'é€😀\\u0000'", '"é€😀\\u0000"'),
    ("'\\ud800'", '"\\ud800"'),
    ("{ '\\ud800': ['\\udfff'] }", '{"\\ud800":["\\udfff"]}'),
    ("new Date(0)", '"1970-01-01T00:00:00.000Z"'),
    ("[new Date(NaN)]", "[null]"),
    ("new Map([['a', 1], [2, new Map()]])", '{"2":{},"a":1}'),
    ("new Set([1, 'a', new Set()])", '[1,"a",[]]'),
    ("Buffer.from('a')", '"YQ=="'),
    ("[new Uint8Array([0, 255]), new ArrayBuffer(1), new DataView(new ArrayBuffer(2), 1)]", '["AP8=","AA==","AA=="]'),
    ("[new Float64Array([0.5, NaN]), new BigInt64Array([1n]), new Int16Array(2)]", "[[0.5,null],[1],[0,0]]"),
    ("new Point()", '{"x":1}'),
    ("[new Money(150)]", '["1.5 EUR"]'),
    ("bare", '{"a":1}'),
    ("[undefined, () => 1, Symbol('s'), { a: undefined, b: () => 1, c: Symbol('s') }]", "[null,null,null,{}]"),
    ("[, 1]", "[null,1]"),
    ("new Error('why')", '{"name":"Error","message":"why"}'),
    ("[/x/g, new URL('http://h/p'), new String('s'), new Number(5), Object(true), Object(1n)]", '["/x/g","http://h/p","s",5,true,1]'),
    ("[Color.Red, Color.Two]", '["red",2]'),
    ("[shared, shared, { again: shared }]", '[{"s":1},{"s":1},{"again":{"s":1}}]'),
    ("new Map([['m', shared], ['n', shared]])", '{"m":{"s":1},"n":{"s":1}}'),
    ("numbers()", "[1,2]"),
    ("later()", "[1,2]"),
    ("Promise.resolve(numbers())", "[1,2]"),
    ("Promise.resolve(Promise.resolve(5))", "5"),
    ("({ then(resolve) { resolve('thenable'); } })", '"thenable"'),
    ("deep(200)", "[" * 201 + "]" * 201),
    ("JSON.parse('{\"__proto__\": 1}')", '{"__proto__":1}'),
    ("{ m: new Map(JSON.parse('[[\"__proto__\", 1]]')) }", '{"m":{"__proto__":1}}'),
]  # fmt: skip


@pytest.fixture
def warm(bun: Start) -> Warm:
    return bun(SOURCE)


@pytest.mark.parametrize(("code", "text"), VALUES)
def test_values(warm: Warm, code: str, text: str) -> None:
    reply = warm.run({"code": code})
    assert isinstance(reply, Done), error_of(reply)
    assert bytes(reply.result).decode() == text


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("cycle", "the result contains itself at result.a[1]"),
        ("new Map([['k', cycle]])", "the result contains itself at result.k.a[1]"),
        ("deep(300)", "the result is nested deeper than 250 levels"),
        ("main", "the result is a function, which JSON cannot express"),
        ("Symbol('s')", "the result is a symbol, which JSON cannot express"),
        ("{ p: [Promise.resolve(1)] }", "the result holds a Promise at result.p[0]: await it"),
    ],
)
def test_what_json_cannot_express(warm: Warm, code: str, message: str) -> None:
    assert warm.error({"code": code}) == {"name": "InvalidResult", "message": message, "stack": ""}
    assert warm.result({"code": "1"}) == 1


def test_an_error_in_tojson_is_the_scripts(warm: Warm) -> None:
    error = warm.error({"code": "{ toJSON() { throw new RangeError('mine'); } }"})
    assert (error["name"], error["message"]) == ("RangeError", "mine")


def test_a_result_too_large_says_how_large(bun: Start) -> None:
    warm = bun("export function main(n: number) { return '€'.repeat(n); }", max_result_bytes=1000)
    assert warm.result({"n": 332}) == "€" * 332
    assert warm.error({"n": 333}) == {
        "name": "ResultTooLarge",
        "message": "the result has 1001 bytes, 1000 are allowed",
        "stack": "",
        "extra": {"size": 1001, "limit": 1000},
    }


def test_a_result_larger_than_the_pipe(bun: Start) -> None:
    warm = bun("export async function main(n: number) { return 'é'.repeat(n); }")
    assert len(warm.result({"n": 10_000_000})) == 10_000_000
