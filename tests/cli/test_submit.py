"""`mill submit`: lines become jobs."""

from __future__ import annotations

import json

import pytest

from mill_actors.store.client import Client
from tests.cli.conftest import Mill

CODE = "def main(n): return n\n"


@pytest.fixture
def path(mill: Mill) -> str:
    return mill.script("f/a/b", CODE)


def lines(*values: object) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def test_many_lines(mill: Mill, path: str, dsn: str) -> None:
    done = mill("submit", path, "--json", stdin=lines(*({"n": n} for n in range(2500))))
    assert done.json["submitted"] == 2500
    assert done.json["duplicates"] == 0
    with Client(dsn) as client:
        assert client.counts()["waiting"] == 2500
    # Nobody is there who could run them, and that is said.
    assert "nobody serves its tag 'python3'" in done.err


def test_ids_come_in_the_order_of_the_lines(mill: Mill, path: str, dsn: str) -> None:
    ids = mill("submit", path, "--ids", stdin=lines({"n": 1}, {"n": 2})).out.split()
    with Client(dsn) as client:
        assert [json.loads(client.job(job).args) for job in ids] == [{"n": 1}, {"n": 2}]


def test_numbers_keep_their_digits(mill: Mill, path: str, dsn: str) -> None:
    text = '{"n": 1.000000000000000000001, "m": 123456789012345678901234567890}'
    (job,) = mill("submit", path, "--ids", stdin=text).out.split()
    with Client(dsn) as client:
        assert client.job(job).args == text


def test_a_key_makes_a_repeat_harmless(mill: Mill, path: str) -> None:
    stdin = lines({"n": 1}, {"n": 2}, {"n": 1})
    first = mill("submit", path, "--key-field", "n", "--ids", "--json", stdin=stdin).lines
    assert [row["duplicate"] for row in first] == [False, False, True]
    again = mill("submit", path, "--key-field", "n", "--json", stdin=stdin).json
    assert (again["submitted"], again["duplicates"]) == (3, 3)


def test_lines_with_options(mill: Mill, path: str, dsn: str) -> None:
    stdin = lines({"args": {"n": 1}, "priority": 5, "scheduled_for": "2126-01-01T00:00:00Z", "key": "k"})
    (job,) = mill("submit", path, "--with-options", "--ids", stdin=stdin).out.split()
    with Client(dsn) as client:
        found = client.job(job)
    assert (found.priority, found.scheduled_for.year) == (5, 2126)
    assert mill("submit", path, "--with-options", "--json", stdin=stdin).json["duplicates"] == 1


@pytest.mark.parametrize(
    ("flags", "line", "says"),
    [
        ([], "[1]", "line 1002: is not a JSON object"),
        ([], "{", "line 1002: is not JSON"),
        (["--key-field", "id"], '{"n": 1}', "line 1002: has no id that could be its key"),
        (["--with-options"], '{"n": 1}', "line 1002: there is no option n"),
        (["--with-options"], '{"args": [1]}', "line 1002: its args are no JSON object"),
        (["--with-options"], '{"workspace": "other"}', "line 1002: there is no option workspace"),
    ],
)
def test_a_bad_line_ends_it(flags: list[str], line: str, says: str, mill: Mill, path: str, dsn: str) -> None:
    good = {"args": {"n": 1}} if "--with-options" in flags else {"n": 1, "id": 1}
    done = mill("submit", path, "--json", *flags, code=2, stdin=lines(*[good] * 1001) + line)
    assert says in done.err
    assert done.json["submitted"] == 1000
    with Client(dsn) as client:
        assert sum(client.counts().values()) == (1 if "--key-field" in flags else 1000)


def test_a_batch_that_is_refused_names_its_lines(mill: Mill, path: str) -> None:
    stdin = lines({"args": {"n": 1}}, {"args": {"n": 1}, "priority": 101})
    done = mill("submit", path, "--with-options", code=2, stdin=stdin)
    assert "nothing of lines 1 to 2 was submitted" in done.err
    assert "priority 101 is not between 0 and 100" in done.err


def test_a_live_stream_does_not_wait_for_a_full_batch(mill: Mill, path: str) -> None:
    with mill.running("submit", path, "--ids") as command:
        stdin = command.process.stdin
        assert stdin is not None
        for n in range(3):
            stdin.write(lines({"n": n}))
            stdin.flush()
            assert len(command.until_out("-").strip()) == 36
        stdin.close()
        command.process.stdin = None
        command.end()


def test_an_unknown_path_is_said_before_anything_is_read(mill: Mill, path: str) -> None:
    with mill.running("submit", "f/a/c") as command:
        assert "Did you mean f/a/b?" in command.until_err("There is no script 'f/a/c'")
        command.end(2)
