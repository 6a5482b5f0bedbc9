"""How arguments reach a TypeScript or JavaScript `main`, which takes them by position."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtimes.conftest import Start

SHOW = "{ return [...arguments].map((value) => value === undefined ? 'undefined' : value); }"

ACCEPTED: list[tuple[str, Any, Any]] = [
    (f"export function main() {SHOW}", {}, []),
    (f"export function main(a: string, b = 2) {SHOW}", {"a": "x"}, ["x", "undefined"]),
    (f"export function main(a: string, b = 2) {SHOW}", {"b": 1, "a": "x"}, ["x", 1]),
    (f"export function main(a: string, b?: number) {SHOW}", {"a": None}, [None, "undefined"]),
    (f"export function main(a: string, b: number | undefined) {SHOW}", {"a": "x"}, ["x", "undefined"]),
    (f"export async function main<T extends {{ x: (y: T) => void }}>(a: T, b: Map<string, number> = new Map<string, number>()) {SHOW}", {"a": 1}, [1, "undefined"]),
    (f"export function main(/* (a, */ a: string, // b, c)\n b /* ) */ : number) {SHOW}", {"b": 2, "a": 1}, [1, 2]),
    (f"export function main(a = 'x, y) {{', b = `t${{`n${{1}}`}}, )`, c = /[)/,]\\)/g, d = [1, 2], e = {{f: (g, h) => 1}}) {SHOW}",
     {"e": 5, "a": 1}, [1, "undefined", "undefined", "undefined", 5]),
    (f"export function main(a: {{ x: number, y: [string, number] }}, b: (c: number, d: string) => void, e: 'p' | \"q,\" = 'p') {SHOW}",
     {"a": 1, "b": 2, "e": 3}, [1, 2, 3]),
    (f"export function main(a = 1 < 2, b = 3 > 2) {SHOW}", {"b": 0, "a": 1}, [1, 0]),
    (f"export function main(this: void, a: number) {SHOW}", {"a": 1}, [1]),
    (f"export function main(ünïcode: number, $_x: number) {SHOW}", {"$_x": 2, "ünïcode": 1}, [1, 2]),
    ("export const main = (a: number, b: number) => [a, b];", {"b": 2, "a": 1}, [1, 2]),
    ("export const main = async (a: number, b?: number): Promise<unknown> => [a, b ?? 'none'];", {"a": 1}, [1, "none"]),
    ("export const main = a => [a];", {"a": 1}, [1]),
    ("export const main = async a => [a];", {"a": 1}, [1]),
    ("export const main: (a: number, b?: number) => unknown = (a, b) => [a, b ?? 0];", {"a": 1, "b": 2}, [1, 2]),
    (f"export const main = function named(a: number, b: number) {SHOW}", {"b": 2, "a": 1}, [1, 2]),
    (f"function inner(a: number, b?: number) {SHOW}\nexport {{ inner as main }};", {"a": 1}, [1, "undefined"]),
    ("const twice = (f: Function) => (...args: unknown[]) => f(...args);\nexport const main = twice((a: number) => [a]);", {"args": [7]}, [7]),
    ("class C { async main(a: number, b: number) { return [a, b]; } }\nexport const main = new C().main;", {"b": 2, "a": 1}, [1, 2]),
    (f"export default function (a: number, b: number) {SHOW}", {"b": 2, "a": 1}, [1, 2]),
    ("export default async (a: number) => [a];", {"a": 1}, [1]),
    ("export default { main(a: number, b: number) { return [a, b]; } };", {"b": 2, "a": 1}, [1, 2]),
    ("export function main({ a, b = 2 }: { a: number; b?: number }) { return [a, b]; }", {"a": 1}, [1, 2]),
    ("export const main = async ({ a, b: { c } }: any) => [a, c];", {"a": 1, "b": {"c": 3}}, [1, 3]),
    ("export function main(id: number, { a, b } = { a: 8, b: 9 }) { return [id, a, b]; }", {"id": 1, "b": 3, "a": 2}, [1, 2, 3]),
    ("export function main(first: number, ...rest: number[]) { return [first, rest]; }", {"first": 1, "rest": [2, 3]}, [1, [2, 3]]),
    ("export function main(first: number, ...rest: number[]) { return [first, rest]; }", {"first": 1}, [1, []]),
    (f"// function main(z) is not it\nconst text = 'function main(y) {{}}';\nexport function main(a: string, b?: string) {SHOW}", {"a": 1}, [1, "undefined"]),
    (f"export function main(a: string): string;\nexport function main(a: number): number;\nexport function main(a: any) {SHOW}", {"a": 1}, [1]),
    (f"export function main(__proto__x: number, constructor: number) {SHOW}", {"constructor": 2, "__proto__x": 1}, [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "args", "result"), ACCEPTED)
def test_by_name(bun: Start, source: str, args: Any, result: Any) -> None:
    assert bun(source).result(args) == result


@pytest.mark.parametrize(
    ("filename", "source"),
    [
        ("script.js", "export function main(a, b = 2) { return [a, b]; }"),
        ("script.mjs", "export const main = (a, b = 2) => [a, b];"),
        ("script.cjs", "exports.main = (a, b = 2) => [a, b];"),
        ("script.js", "module.exports = { main(a, b = 2) { return [a, b]; } };"),
        ("script.js", "module.exports = function (a, b = 2) { return [a, b]; };"),
        ("script.tsx", "export function main(a: number, b = 2) { return [a, b]; }"),
    ],
)
def test_modules_of_every_kind(bun: Start, filename: str, source: str) -> None:
    assert bun(source, filename=filename).result({"a": 1}) == [1, 2]


@pytest.mark.parametrize(
    ("parameters", "args", "message"),
    [
        ("a: string, b = 2", {}, "missing argument 'a'; the script has main(a, b?)"),
        ("a: string, b: number", {"c": 1}, "missing arguments 'a', 'b'; the script has main(a, b)"),
        ("a?: string", {"a": "1", "z": 2}, "unknown argument 'z'; the script has main(a?)"),
        ("", {"x": 1, "y": 2}, "unknown arguments 'x', 'y'; the script has main()"),
        ("...rest: string[]", {"rest": 5}, "'rest' is not a list; the script has main(...rest)"),
        ("at: Date", {"at": "yesterday"}, "'at' is not a date: yesterday; the script has main(at)"),
        ("a?: string", [1], "the arguments are not an object; the script has main(a?)"),
    ],
)
def test_what_does_not_fit_fails_before_the_call(
    bun: Start, parameters: str, args: Any, message: str
) -> None:
    warm = bun(f"export function main({parameters}) {{ console.log('called'); }}")
    reply = warm.run(args)
    assert warm.log(reply) == ""
    assert warm.error(args) == {"name": "InvalidArgs", "message": message, "stack": ""}


def test_two_destructured_parameters_are_too_many(start: Start) -> None:
    error = start("bun", "export function main({ a }, { b }) {}", filename="x.js").broken()
    assert (error["name"], error["message"]) == (
        "BadMain",
        "main has more than one destructured parameter: name them",
    )


@pytest.mark.parametrize("kind", ["Date", "Date | null", "undefined | Date", "(Date | undefined)"])
def test_strings_become_dates_where_the_type_says_so(bun: Start, kind: str) -> None:
    warm = bun(f"export function main(at: {kind}, text: string) {{ return [at instanceof Date, at, text]; }}")
    args = {"at": "2024-02-29T12:00:00Z", "text": "2024-02-29"}
    assert warm.result(args) == [True, "2024-02-29T12:00:00.000Z", "2024-02-29"]
    assert warm.result(args | {"at": None}) == [False, None, "2024-02-29"]


@pytest.mark.parametrize(
    ("parameters", "args", "result"),
    [
        ("a: number, b = 2", {}, ["undefined", "undefined"]),
        ("a: number, b = 2", {"a": 1, "b": None, "unknown": 1}, [1, "undefined"]),
        ("a: number, b = 2", {"b": "<function call>", "a": None}, ["undefined", "undefined"]),
    ],
)
def test_as_windmill_does(bun: Start, parameters: str, args: Any, result: Any) -> None:
    assert bun(f"export function main({parameters}) {SHOW}", arguments="windmill").result(args) == result


def test_arguments_nested_deeply(bun: Start) -> None:
    warm = bun("export function main(a: any = 1) { return Array.isArray(a); }")
    deep = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"
    reply = warm.run(raw=deep)
    assert reply.job_id == "job-0"
    assert warm.result() is False
