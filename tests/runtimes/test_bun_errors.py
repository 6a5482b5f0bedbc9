"""What a failed Bun job answers."""

from __future__ import annotations

from tests.runtimes.conftest import Start


def test_a_stack_has_the_users_lines(bun: Start) -> None:
    warm = bun(
        """
        interface Wide {
            a: number;
        }

        class Declined extends Error {
            override name = "Declined";
            constructor(readonly code: number, readonly what: unknown) { super(`declined: ${code}`); }
        }

        function inner(wide: Wide): never {
            throw new Declined(51, [wide]);
        }

        export async function main(how: string) {
            await Promise.resolve();
            if (how === "cause") throw new Error("outer", { cause: new TypeError("inner") });
            if (how === "string") throw "just text";
            if (how === "object") throw { reason: 1 };
            if (how === "nothing") throw undefined;
            return inner({ a: 1 });
        }
        """
    )
    error = warm.error({"how": ""})
    assert (error["name"], error["message"]) == ("Declined", "declined: 51")
    assert error["extra"] == {"code": 51, "what": [{"a": 1}]}
    assert f"at inner ({warm.script}:12:" in error["stack"]
    assert f"at main ({warm.script}:21:" in error["stack"]
    assert "bootstrap" not in error["stack"]
    assert "node:" not in error["stack"]
    error = warm.error({"how": "cause"})
    assert error["message"] == "outer"
    assert "caused by TypeError: inner" in error["stack"]
    assert warm.error({"how": "string"})["message"] == "just text"
    assert warm.error({"how": "object"})["message"] == '{"reason":1}'
    assert warm.error({"how": "nothing"})["message"] == "undefined"


def test_endless_recursion_and_huge_messages_are_cut(bun: Start) -> None:
    warm = bun(
        """
        export function main(long: boolean): number {
            if (long) throw new Error("x".repeat(10_000_000));
            return 1 + main(long);
        }
        """
    )
    error = warm.error({"long": False})
    assert error["name"] == "RangeError"
    assert len(error["stack"]) < 70_000
    error = warm.error({"long": True})
    assert len(error["message"]) < 70_000
    assert "characters left out" in error["message"]


def test_a_script_that_cannot_be_imported_is_broken(start: Start) -> None:
    for source, name, text in (
        ("export function main(: {}", "", "script.ts"),
        ("import 'nothing-like-this';", "", "nothing-like-this"),
        ("export const x = 1;\nthrow new RangeError('at import');", "RangeError", "script.ts:2"),
        ("process.exit(3);", "ProcessExit", ""),
        ("export function helper() {}", "NoMain", ""),
        ("export const main = 5;", "NoMain", ""),
    ):
        warm = start("bun", source)
        error = warm.broken()
        assert error["name"] == name or not name
        assert text in f"{error['message']} {error['stack']}"
        assert "bootstrap" not in error["stack"]
        assert warm.wait() == 1


def test_an_import_may_print_and_its_output_is_no_jobs(start: Start) -> None:
    warm = start("bun", "process.stdout.write('importing'); export function main() { console.log('job'); }")
    warm.send()
    assert warm.ready().out == len("importing")
    assert warm.log(warm.answer()) == "job\n"


def test_an_error_made_to_annoy(bun: Start) -> None:
    warm = bun(
        """
        import vm from "node:vm";
        export function main(how: string) {
            const annoying = { get() { throw 1; } };
            if (how === "getter") throw Object.defineProperty(new Error(), "message", annoying);
            if (how === "realm") vm.runInNewContext("throw new TypeError('elsewhere')");
            if (how === "circular") throw Object.assign(new Error("c"), { self: globalThis, ok: 1 });
            const looped = new Error("a");
            looped.cause = new Error("b", { cause: looped });
            if (how === "causes") throw looped;
            if (how === "null") throw Object.create(null);
            JSON.stringify = JSON.parse = () => { throw new Error("replaced"); };
            return { fine: true };
        }
        """
    )
    assert warm.error({"how": "getter"})["message"] == "an error that can't be shown: number"
    error = warm.error({"how": "realm"})
    assert (error["name"], error["message"]) == ("TypeError", "elsewhere")
    assert warm.error({"how": "circular"})["extra"] == {"ok": 1}
    assert "caused by Error: b" in warm.error({"how": "causes"})["stack"]
    assert warm.error({"how": "null"})["message"] == "{}"
    assert [warm.result({"how": ""}) for _ in range(2)] == [{"fine": True}] * 2
