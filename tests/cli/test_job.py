"""`mill job` on jobs that nobody runs: what is shown, and cancelling."""

from __future__ import annotations

import pytest

from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.client import Client
from tests.cli.conftest import Mill

UNKNOWN = "01a20426-f3a9-747d-8fb4-085a8b191ae0"


@pytest.fixture
def path(mill: Mill) -> str:
    return mill.script("f/a/b", "def main(n=1): return n\n")


def submitted(mill: Mill, path: str, *flags: str) -> str:
    return mill("run", path, "--no-wait", *flags).out.strip()


def test_a_waiting_job_says_why(mill: Mill, path: str) -> None:
    job = submitted(mill, path, "--arg", "n=3", "--priority", "4")
    told = mill("job", "get", job, "--json").json
    assert (told["status"], told["args"], told["priority"]) == ("queued", {"n": 3}, 4)
    assert told["waits"].startswith("nobody serves its tag 'python3'")
    text = mill("job", "get", job).out
    assert "waits      nobody serves its tag 'python3'" in text
    assert 'args       {"n":3}' in text
    later = submitted(mill, path, "--delay", "3600")
    assert mill("job", "get", later, "--json").json["waits"].startswith("it is not due before ")


def test_a_job_without_a_slot_says_so(mill: Mill, path: str) -> None:
    limited = ScriptOptions(concurrency_limit=1, concurrency_key="till")
    mill.script("f/a/one", "def main(): pass\n", limited)
    submitted(mill, "f/a/one")
    second = submitted(mill, "f/a/one")
    told = mill("job", "get", second, "--json").json
    assert told["waits"] == "it waits for a slot of its concurrency key 'till'"


def test_lists(mill: Mill, path: str) -> None:
    jobs = [submitted(mill, path) for _ in range(3)]
    mill("job", "cancel", jobs[0])
    assert {row["id"] for row in mill("job", "list", "--json").json} == set(jobs)
    assert [row["id"] for row in mill("job", "list", "--status", "cancelled", "--json").json] == [jobs[0]]
    assert len(mill("job", "list", "--limit", "2", "--json").json) == 2
    assert mill("job", "list", "--path", "f/a/c", "--json").json == []
    assert {row["served"] for row in mill("job", "list", "--status", "queued", "--json").json} == {False}
    done = mill("job", "list")
    assert all(job in done.out for job in jobs)
    assert "some wait in vain: nobody serves its tag 'python3'" in done.err
    assert mill("job", "list", "--path", "f/a/c").err == "mill: no such jobs\n"


def test_cancel(mill: Mill, path: str) -> None:
    first, second = submitted(mill, path), submitted(mill, path)
    done = mill("job", "cancel", first, second, "--reason", "wrong month", "--json").json
    assert done == [{"id": first, "became": "cancelled"}, {"id": second, "became": "cancelled"}]
    assert "cancelled  by u/admin: wrong month" in mill("job", "get", first).out
    assert mill("job", "logs", first).out == ""


@pytest.mark.parametrize("command", ["get", "logs", "cancel"])
def test_an_unknown_job_is_1_and_what_is_no_id_2(command: str, mill: Mill) -> None:
    assert mill("job", command, UNKNOWN, code=1).err == f"mill: There is no job {UNKNOWN}.\n"
    assert mill("job", command, "nonsense", code=2).err.startswith("mill: nonsense: is not the id of a job")


def test_a_key_answers_with_the_first_job(mill: Mill, path: str) -> None:
    first = submitted(mill, path, "--key", "k")
    assert submitted(mill, path, "--key", "k") == first
    conflict = mill("run", path, "--no-wait", "--key", "k", "--arg", "n=2", code=1)
    assert f"'k' was already submitted with other arguments, as job {first}" in conflict.err


def test_the_database_has_the_last_word(mill: Mill, path: str, dsn: str) -> None:
    done = mill("run", path, "--tag", "x" * 10, "--timeout", "-1", "--no-wait", "--json")
    with Client(dsn) as client:
        assert client.job(done.json["id"]).tag == "x" * 10
