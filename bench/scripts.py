"""What the benches run, and how it gets into the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mill_actors.jobs.script import Script, make_script
from mill_actors.store.client import Client
from mill_actors.store.submission import Submission

PYTHON_NOOP = """\
def main(number, customer, note):
    return {"ok": True, "number": number}
"""

BUN_NOOP = """\
export function main(number: number, customer: string, note: string) {
  return { ok: true, number };
}
"""

#: A job without a gate is a no-op. One with a gate leaves a file of its process beside it, waits until
#: the gate is there, and adds its number to the file: who waits, and who has run what.
GATED = """\
import os
import time


def main(number, gate=None):
    if gate is not None:
        with open(f"{gate}.{os.getpid()}", "a") as ledger:
            while not os.path.exists(gate):
                time.sleep(0.005)
            ledger.write(f"{number}\\n")
    return {"number": number}
"""

VERSIONED = """\
def main(number):
    return {"version": %d, "number": number}
"""

ARGS_BYTES = 100
RESULT_BYTES = 30
#: Counting from here makes every number as long as the next.
FIRST = 100_000_000
CHUNK = 20_000

LANGUAGES = ("python", "bun")


def noop(language: str) -> Script:
    """Return the no-op of a language; both have paths of their own."""
    if language == "python":
        return make_script("default", "f/bench/noop", "python3", PYTHON_NOOP)
    return make_script("default", "f/bench/noop_ts", "bun", BUN_NOOP)


def gated() -> Script:
    """Return the script whose jobs may wait at a gate."""
    return make_script("default", "f/bench/gated", "python3", GATED)


def versioned(version: int) -> Script:
    """Return one version of the script that tells its version; all have one path."""
    return make_script("default", "f/bench/versioned", "python3", VERSIONED % version)


def arguments(place: int) -> dict[str, object]:
    """Return arguments that are exactly 100 bytes of JSON.

    >>> len(orjson.dumps(arguments(0))), len(orjson.dumps(arguments(999_999)))
    (100, 100)
    """
    return {"number": FIRST + place, "customer": "c-20417", "note": "n" * 49}


def submit_noops(client: Client, script: Script, jobs: int, first: int = 0) -> list[str]:
    """Queue no-ops, and return their ids in the order of the claim."""
    ids: list[str] = []
    for chunk in _chunks(range(first, first + jobs)):
        told = [Submission(path=script.path, args=arguments(place)) for place in chunk]
        ids += [receipt.id for receipt in client.submit_many(told)]
    return ids


def _chunks(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), CHUNK):
        yield places[start : start + CHUNK]
