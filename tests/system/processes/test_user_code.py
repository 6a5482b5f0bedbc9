"""What user code may do: it fails with a clear error, and the next job on the same worker succeeds."""

from __future__ import annotations

import pytest

from mill_actors.jobs.script import ScriptOptions
from tests.system.nodes import Fleet

pytestmark = pytest.mark.slow

# With 1024 a result of 100 MB dies of signal 11: orjson wants eight times its length and does not check.
MEMORY_MB = 2048

#: Body of main, name of the error, what its message says.
PYTHON = {
    "exit": ("import sys; sys.exit(3)", "SystemExit", "3"),
    "os exit": ("import os; os._exit(3)", "ProcessDied", "code 3"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "ProcessDied", "signal 11"),
    "raise": ("class Mine(BaseException): pass\n    raise Mine('no')", "Mine", "no"),
    "loop": ("while True: pass", "Timeout", "1 s"),
    "memory": ("kept = []\n    while True: kept.append(bytearray(10_000_000))", "MemoryError", ""),
    "huge": ("return 'x' * 100_000_000", "ResultTooLarge", ""),
    "zero": ("return 'a\\0b'", None, ""),
    "surrogate": ("return '\\ud800'", None, ""),
    "print": ("print('x' * 20_000_000)", None, ""),
    "fork": ("import os, time\n    if not os.fork(): time.sleep(600)\n    return 1", None, ""),
}
BUN = {
    "exit": ("process.exit(3)", "ProcessExit", "process.exit(3)"),
    "throw": ("throw new TypeError('no')", "TypeError", "no"),
    "throw text": ("throw 'just text'", "", "just text"),
    "loop": ("while (true) {}", "Timeout", "1 s"),
    "kill": ("process.kill(process.pid, 'SIGKILL')", "ProcessDied", "signal 9"),
    "huge": ("return 'x'.repeat(100_000_000)", "ResultTooLarge", ""),
    "zero": ("return 'a\\0b'", None, ""),
    "surrogate": ("return '\\ud800'", None, ""),
    "print": ("console.log('x'.repeat(20_000_000))", None, ""),
}


def program(language: str, deeds: dict[str, tuple[str, str | None, str]]) -> str:
    if language == "bun":
        cases = "".join(f"if (deed === {name!r}) {{ {body} }}\n" for name, (body, _, _) in deeds.items())
        return f"export function main(deed: string) {{\n{cases}return 'fine'\n}}\n"
    cases = "".join(f"def do_{n}():\n    {body}\n" for n, (body, _, _) in enumerate(deeds.values()))
    return f"{cases}\ndef main(deed):\n    return 'fine' if deed == '' else globals()['do_' + deed]()\n"


@pytest.mark.parametrize("language", ["python3", "bun"])
def test_the_next_job_on_the_same_worker_succeeds(fleet: Fleet, language: str) -> None:
    deeds = BUN if language == "bun" else PYTHON
    fleet.deploy(program(language, deeds), "f/system/vandal", ScriptOptions(timeout_seconds=1), language)
    node = fleet.start("one", worker_memory_mb=MEMORY_MB)
    wrong = []
    for number, (name, (_, error, message)) in enumerate(deeds.items()):
        deed = name if language == "bun" else str(number)
        # A timeout of one second is for loops; the rest may be slow here.
        patient = {} if name == "loop" else {"timeout_seconds": 25}
        result = fleet.run("f/system/vandal", {"deed": deed}, **patient)
        if error is None:
            if not result.succeeded:
                wrong.append((name, result.raw))
        else:
            told = (result.value or {}).get("error", {}) if result.status == "failure" else {}
            if not told or error not in told["name"] or message not in told["message"]:
                wrong.append((name, str(result.raw)[:300]))
        following = fleet.run("f/system/vandal", {"deed": ""}, timeout_seconds=25)
        if following.value != "fine":
            wrong.append((f"after {name}", following.raw))
    assert not wrong, "\n".join(map(str, wrong))
    assert node.is_alive()
    fleet.check(statuses=("success", "failure"))
