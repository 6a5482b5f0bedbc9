"""Starting jobs by the thousand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from mill_actors.api.routes import jobs_bulk
from mill_actors.store.connection import Database
from tests.api.conftest import Api
from tests.api.flows import code, deploy_flow
from tests.api.people import folder, member, stranger

LINE = b'{"name": "Ada"}\n'


@pytest.fixture(scope="module", autouse=True)
def deployed(api: Api) -> None:
    folder(api.dsn, "a", runner=False)
    api.script("f/a/hello")
    deploy_flow(api, "f/a/flow", code("a", "def main(x):\n    return x\n", {"x": "flow_input.x"}))


def told(answer: httpx.Response) -> list[object]:
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def bulk(
    api: Api, body: bytes | Iterator[bytes], path: str = "p/f/a/hello", **options: object
) -> httpx.Response:
    # Nobody serves the tag: they wait.
    options.setdefault("params", {"tag": "nobody"})
    return api.post(f"jobs/run/batch/{path}", content=body, **options)


def waiting(api: Api) -> int:
    with Database(api.dsn).connect() as connection:
        row = connection.execute("select count(*) from mill.queue where tag = 'nobody'").fetchone()
    assert row is not None
    count: int = row[0]
    return count


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_each_line_is_a_job_and_the_ids_come_in_their_order(api: Api, end: bytes) -> None:
    lines = [json.dumps({"name": str(number)}).encode() for number in range(2500)]
    answer = bulk(api, b"\n".join(lines) + end, params={})
    ids = told(answer)
    assert (answer.status_code, len(set(map(str, ids)))) == (201, 2500)
    for place in (0, 999, 1000, 2499):
        assert api.wait(str(ids[place])).value == f"Hello {place}"


def test_flows_too(api: Api) -> None:
    ids = told(bulk(api, b'{"x": 1}\n{"x": 2}\n', "f/f/a/flow", params={}))
    assert [api.wait(str(job)).value for job in ids] == [1, 2]


def test_nothing_is_nothing(api: Api) -> None:
    answer = bulk(api, b"")
    assert (answer.status_code, told(answer)) == (201, [])


def test_a_line_may_come_in_pieces(api: Api) -> None:
    def pieces() -> Iterator[bytes]:
        text = b'{"name": "' + b"x" * 300_000 + b'"}\n'
        for start in range(0, len(text), 1000):
            yield text[start : start + 1000]
        yield b'{"na'
        yield b'me": "Ada"}'

    assert len(told(bulk(api, pieces()))) == 2


@pytest.mark.parametrize("line", [b"{", b"[1]", b"7", b"", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_a_wrong_line_is_named_and_its_batch_is_not_submitted(api: Api, line: bytes) -> None:
    before = waiting(api)
    answer = bulk(api, LINE * 6 + line + b"\n" + LINE)
    assert (answer.status_code, answer.json()["code"], answer.json()["line"]) == (400, "invalid_line", 7)
    assert waiting(api) == before


def test_what_only_the_database_refuses_is_named_too(api: Api) -> None:
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    answer = bulk(api, LINE * 2 + deep + b"\n" + LINE)
    assert answer.status_code in {201, 400}
    if answer.status_code == 400:
        assert answer.json()["line"] == 3


def test_what_was_acknowledged_before_a_wrong_line_is_durable(api: Api) -> None:
    before = waiting(api)
    answer = bulk(api, LINE * (2 * jobs_bulk.BATCH) + b"{\n" + LINE)
    *ids, problem = told(answer)
    assert (answer.status_code, len(ids)) == (201, 2 * jobs_bulk.BATCH)
    assert isinstance(problem, dict)
    assert (problem["status"], problem["line"], problem["submitted"]) == (400, 2001, 2000)
    assert waiting(api) == before + 2000


def test_a_repeat_with_a_key_means_the_same_jobs(api: Api) -> None:
    headers = {"Idempotency-Key": "the run of May"}
    first = told(bulk(api, LINE * 3, headers=headers))
    again = told(bulk(api, LINE * 5, headers=headers))
    assert again[:3] == first
    other = bulk(api, b'{"name": "Bob"}\n', headers=headers)
    assert other.status_code == 409


def test_they_may_all_wait_for_their_time(api: Api) -> None:
    ids = told(bulk(api, LINE * 2, params={"tag": "nobody", "scheduled_in_secs": 3600}))
    found = api.store.job(str(ids[1]))
    assert (found.scheduled_for - found.submitted_at).total_seconds() == pytest.approx(3600, abs=1)


def test_whoever_reads_late_does_not_stand_in_his_own_way(api: Api) -> None:
    """All is sent before the first id is read: more than the sockets between hold."""
    count = 60_000
    answer = bulk(api, (LINE * 1000 for _ in range(count // 1000)))
    assert len(answer.text.splitlines()) == count
    with Database(api.dsn).connect() as connection:
        connection.execute("delete from mill.queue where tag = 'nobody'")


def test_only_who_may_run_the_path(api: Api) -> None:
    runner, outsider = member(api.dsn, "runner", "operator"), member(api.dsn, "outsider")
    assert bulk(api, LINE, token=runner).status_code == 201
    assert bulk(api, LINE, token=outsider).status_code == 403
    assert bulk(api, LINE, token=stranger(api.dsn)).status_code == 403


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("p/f/a/nope", {}, 404),
        ("f/f/a/hello", {}, 404),
        ("p/f/a/hello", {"scheduled_in_secs": "soon"}, 400),
        ("p/f/a/hello", {"retry": "{"}, 400),
        ("p/f/a/hello", {"tag": "a\0b"}, 400),
    ],
)
def test_nonsense_is_refused(api: Api, path: str, params: dict[str, str], status: int) -> None:
    answer = bulk(api, LINE * 2, path, params=params)
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text
