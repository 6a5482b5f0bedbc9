"""What the benches run: no-ops that answer with the number of their job, and their arguments."""

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

ARGS_BYTES = 100
RESULT_BYTES = 30
#: Counting from here makes every number as long as the next.
FIRST = 100_000_000
CHUNK = 20_000

LANGUAGES = ("python", "bun")


def noop(language: str) -> Script:
    """Return the no-op of a language; both at a path of their own."""
    if language == "python":
        return make_script("default", "f/bench/noop", "python3", PYTHON_NOOP)
    return make_script("default", "f/bench/noop_ts", "bun", BUN_NOOP)


def arguments(place: int) -> bytes:
    """Return exactly 100 bytes of arguments.

    >>> len(arguments(0)), len(arguments(999_999))
    (100, 100)
    """
    text = b'{"number":%d,"customer":"c-20417","note":"%s"}' % (FIRST + place, b"n" * 49)
    assert len(text) == ARGS_BYTES, len(text)
    return text


def submit_noops(client: Client, script: Script, jobs: int, first: int = 0) -> list[str]:
    """Queue `jobs` no-ops, and return their ids in the order of the claim."""
    ids: list[str] = []
    for chunk in _chunks(range(first, first + jobs)):
        told = [Submission(path=script.path, args=arguments(place)) for place in chunk]
        ids += [receipt.id for receipt in client.submit_many(told)]
    return ids


def _chunks(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), CHUNK):
        yield places[start : start + CHUNK]
