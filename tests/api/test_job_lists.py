"""Lists of jobs over HTTP: Windmill's filters, pages, and who sees what."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mill_actors.ids import new_id
from mill_actors.store.connection import Database
from tests.api.conftest import Api, make_token

LISTS = ["jobs/list", "jobs/queue/list", "jobs/completed/list"]
IDS = ["jobs/list_filtered_uuids", "jobs/queue/list_filtered_uuids"]


class Jobs:
    """What there is: two that wait, and six that have ended, oldest first."""

    def __init__(self, api: Api) -> None:
        api.script("f/a/hello", "def main(name='you', more=None):\n    return f'Hello {name}'\n")
        api.script("f/a/fails", "def main():\n    raise ValueError('no')\n")
        api.script("f/b/label", "def main(n):\n    return {'wm_labels': [f'l{n}', 'all'], 'n': n}\n")
        given: list[tuple[str, dict[str, Any]]] = [
            ("f/a/hello", {"name": "Ada"}),
            ("f/a/hello", {"name": "Bob", "more": {"deep": [1, 2]}}),
            ("f/a/fails", {}),
            ("f/b/label", {"n": 1}),
            ("f/b/label", {"n": 2}),
            ("f/a/hello", {}),
        ]
        self.ended = [self._done(api, path, args) for path, args in given]
        late = {"scheduled_in_secs": 3600}
        self.waiting = [api.post("jobs/run/p/f/a/hello", params=late, json={}).text for _ in range(2)]
        with Database(api.dsn).connect() as connection:
            connection.execute("insert into mill.account (email) values ('bob@localhost')")
            connection.execute(
                "insert into mill.member (workspace, username, email) values ('default', 'bob', 'bob@localhost')"
            )
            connection.execute(
                "insert into mill.folder (workspace, name, extra_perms, created_by)"
                """ values ('default', 'b', '{"u/bob": false}', 'u/admin')"""
            )
            connection.execute(
                "update mill.completed_job set created_by = 'u/bob' where id = %s", [self.ended[0]]
            )
        self.bob = make_token(api.dsn, "bob@localhost")

    @staticmethod
    def _done(api: Api, path: str, args: dict[str, Any]) -> str:
        job = api.post(f"jobs/run/p/{path}", json=args).text
        api.wait(job)
        return job


@pytest.fixture(scope="module")
def jobs(api: Api) -> Jobs:
    return Jobs(api)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [job if isinstance(job, str) else job["id"] for job in answer.json()]


def test_open_ones_first_then_those_that_are_over_newest_first(api: Api, jobs: Jobs) -> None:
    newest = jobs.waiting[::-1] + jobs.ended[::-1]
    assert ids(api.get("jobs/list")) == newest
    assert ids(api.get("jobs/list_filtered_uuids")) == newest
    assert ids(api.get("jobs/queue/list")) == jobs.waiting[::-1]
    assert ids(api.get("jobs/queue/list_filtered_uuids")) == jobs.waiting[::-1]
    assert ids(api.get("jobs/queue/list", params={"order_desc": "false"})) == jobs.waiting
    assert ids(api.get("jobs/completed/list")) == jobs.ended[::-1]
    assert ids(api.get("jobs/completed/list", params={"order_desc": "false"})) == jobs.ended


def test_a_line_of_a_list_has_neither_arguments_nor_results(api: Api, jobs: Jobs) -> None:
    first, *_, last = api.get("jobs/list").json()
    assert (first["type"], first["running"], last["type"], last["success"]) == (
        "QueuedJob", False, "CompletedJob", True,
    )  # fmt: skip
    assert (last["created_by"], last["email"], last["language"]) == ("bob", "bob@localhost", "python3")
    assert {"args", "result", "logs", "flow_status"}.isdisjoint(last)
    told = api.get("jobs/list", params={"include_args": "true"}).json()
    assert told[-1]["args"] == {"name": "Ada"}


FILTERS: list[tuple[dict[str, str], list[int]]] = [
    ({"script_path_exact": "f/a/hello"}, [0, 1, 5]),
    ({"script_path_exact": "!f/a/hello"}, [2, 3, 4]),
    ({"script_path_exact": "f/a/fails,f/b/label"}, [2, 3, 4]),
    ({"script_path_exact": "f/a/h_llo"}, []),
    ({"script_path_start": "f/a/"}, [0, 1, 2, 5]),
    ({"script_path_start": "f/_/"}, []),
    ({"created_by": "admin"}, [1, 2, 3, 4, 5]),
    ({"created_by": "bob,admin"}, [0, 1, 2, 3, 4, 5]),
    ({"success": "false"}, [2]),
    ({"success": "true"}, [0, 1, 3, 4, 5]),
    ({"status": "failure"}, [2]),
    ({"status": "!failure"}, [0, 1, 3, 4, 5]),
    ({"status": "canceled,skipped"}, []),
    ({"job_kinds": "script,flow,singlestepflow"}, [0, 1, 2, 3, 4, 5]),
    ({"job_kinds": "dependencies"}, []),
    ({"has_null_parent": "true"}, [0, 1, 2, 3, 4, 5]),
    ({"is_flow_step": "true"}, []),
    ({"is_skipped": "true"}, []),
    ({"parent_job": new_id()}, []),
    ({"tag": "python3"}, [0, 1, 2, 3, 4, 5]),
    ({"tag": "py*"}, []),
    ({"tag": "py*", "allow_wildcards": "true"}, [0, 1, 2, 3, 4, 5]),
    ({"label": "all"}, [3, 4]),
    ({"label": "l2"}, [4]),
    ({"label": "!l2"}, [0, 1, 2, 3, 5]),
    ({"label": "l*", "allow_wildcards": "true"}, [3, 4]),
    ({"args": '{"name": "Bob"}'}, [1]),
    ({"args": '{"more": {"deep": [2]}}'}, [1]),
    ({"result": '{"n": 2}'}, [4]),
    ({"result": '"Hello Ada"'}, [0]),
    ({"result": '{"error": {"name": "ValueError"}}'}, [2]),
    ({"broad_filter": "LABEL"}, [3, 4]),
    ({"broad_filter": "%"}, []),
    ({"schedule_path": "f/a/s"}, []),
    ({"trigger_kind": "schedule"}, []),
    ({"trigger_kind": "!schedule"}, [0, 1, 2, 3, 4, 5]),
    ({"worker": "nobody"}, []),
    ({"unknown": "x"}, [0, 1, 2, 3, 4, 5]),
]


@pytest.mark.parametrize(("params", "told"), FILTERS)
def test_a_filter(api: Api, jobs: Jobs, params: dict[str, str], told: list[int]) -> None:
    expected = [jobs.ended[place] for place in reversed(told)]
    assert ids(api.get("jobs/completed/list", params=params)) == expected
    found = ids(api.get("jobs/list", params=params))
    assert [job for job in found if job not in jobs.waiting] == expected


def test_what_runs_is_asked_of_the_queue_alone(api: Api, jobs: Jobs) -> None:
    assert ids(api.get("jobs/list", params={"running": "false"})) == jobs.waiting[::-1]
    assert ids(api.get("jobs/list", params={"running": "true"})) == []
    assert ids(api.get("jobs/queue/list", params={"scheduled_for_before_now": "true"})) == []
    assert api.get("jobs/list", params={"running": "true", "success": "true"}).status_code == 400


def test_moments(api: Api, jobs: Jobs) -> None:
    middle = api.get(f"jobs_u/get/{jobs.ended[2]}").json()
    later = jobs.ended[:2:-1]
    assert ids(api.get("jobs/completed/list", params={"created_after": middle["created_at"]})) == later
    assert ids(api.get("jobs/completed/list", params={"completed_after": middle["completed_at"]})) == later
    assert (
        ids(api.get("jobs/completed/list", params={"created_before": middle["created_at"]}))
        == jobs.ended[1::-1]
    )
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert ids(api.get("jobs/list", params={"created_after": tomorrow})) == []
    assert ids(api.get("jobs/list", params={"created_before": tomorrow})) == jobs.ended[::-1]
    assert ids(api.get("jobs/list", params={"created_after": "2020-01-01T00:00:00"})) == ids(
        api.get("jobs/list")
    )


@pytest.mark.parametrize("path", ["jobs/list", "jobs/list_filtered_uuids"])
def test_a_cursor_goes_on_where_a_page_ended(api: Api, jobs: Jobs, path: str) -> None:
    found: list[str] = []
    params = {"per_page": "3"}
    while True:
        answer = api.get(path, params=params)
        found += ids(answer)
        if "X-Next-Cursor" not in answer.headers:
            break
        params["cursor"] = answer.headers["X-Next-Cursor"]
    assert found == ids(api.get("jobs/list"))


def test_pages_by_their_numbers(api: Api, jobs: Jobs) -> None:
    newest = jobs.ended[::-1]
    for page, part in ((0, newest[:4]), (1, newest[:4]), (2, newest[4:]), (3, [])):
        assert ids(api.get("jobs/completed/list", params={"page": page, "per_page": 4})) == part


def test_others_see_what_they_may_read_and_what_is_their_own(api: Api, jobs: Jobs) -> None:
    seen = [jobs.ended[4], jobs.ended[3], jobs.ended[0]]
    assert ids(api.get("jobs/list", token=jobs.bob)) == seen
    assert ids(api.get("jobs/list_filtered_uuids", token=jobs.bob)) == seen
    assert ids(api.get("jobs/queue/list", token=jobs.bob)) == []
    for path in ("jobs/completed/export", "jobs/queue/export"):
        assert api.get(path, token=jobs.bob).status_code == 403


def test_another_workspace_has_its_own(api: Api, jobs: Jobs) -> None:
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.workspace (id) values ('acme')")
    for path in LISTS + IDS:
        assert api.get(f"/w/acme/{path}").json() == []
        assert api.get(path, token=make_token(api.dsn, workspace="acme")).status_code == 403


def test_counts_and_positions(api: Api, jobs: Jobs) -> None:
    assert api.get("jobs/queue/count").json() == {"database_length": 2, "suspended": 0}
    assert api.get("jobs/completed/count").json() == {"database_length": 6}
    assert api.get("jobs_u/queue/position/1000").json() == {"position": None}
    in_a_day = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000)
    assert api.get(f"jobs/queue/position/{in_a_day}").json() == {"position": 3}


def test_exports_have_everything_page_by_page(api: Api, jobs: Jobs) -> None:
    first = api.get("jobs/completed/export", params={"page": 1, "per_page": 4}).json()
    second = api.get("jobs/completed/export", params={"page": 2, "per_page": 4}).json()
    assert [job["id"] for job in first + second] == jobs.ended
    assert (first[0]["args"], first[0]["result"]) == ({"name": "Ada"}, "Hello Ada")
    assert ids(api.get("jobs/queue/export")) == jobs.waiting
    assert api.get("jobs/completed/export", params={"page": 2**60}).json() == []


HOSTILE: list[dict[str, str]] = [
    {"per_page": "0"}, {"per_page": "-1"}, {"per_page": "x"}, {"page": "9" * 30}, {"page": "1000000000"},
    {"cursor": "x"}, {"cursor": "q.x"}, {"cursor": "c.1"}, {"cursor": "c.x.y"}, {"cursor": f"c.{'9' * 400}.{new_id()}"},
    {"created_before": "yesterday"}, {"created_after": "0001-01-01T00:00:00+14:00"}, {"parent_job": "x"},
    {"args": "{"}, {"args": "[" * 2_000}, {"result": "NaN"}, {"status": "done"}, {"tag": "a,!b"},
    {"success": "perhaps"}, {"worker": ",".join(["x"] * 1_001)},
]  # fmt: skip


@pytest.mark.parametrize("params", HOSTILE)
@pytest.mark.parametrize("path", LISTS)
def test_what_makes_no_sense_is_told_so(api: Api, jobs: Jobs, path: str, params: dict[str, str]) -> None:
    answer = api.get(path, params=params)
    if path == "jobs/list" and params.get("page"):
        assert answer.status_code in {200, 400}  # it knows no pages
    else:
        assert (answer.status_code, answer.json()["status"]) == (400, 400), answer.text


@pytest.mark.parametrize(
    "params",
    [
        {"tag": "%_\\"}, {"script_path_start": "'; drop table"}, {"created_by": "\\"}, {"args": "[" * 500 + "]" * 500},
        {"broad_filter": "\\"}, {"label": "(.*"}, {"label": "\\", "allow_wildcards": "true"}, {"tag": ",,"},
        {"args": json.dumps({"a": "\ud800"})}, {"per_page": "100000"}, {"created_after": "9999-12-31T23:59:59Z"},
        {"cursor": f"c.99999999999999999.{new_id()}"}, {"script_hash": "x" * 1000},
    ],
)  # fmt: skip
def test_what_is_odd_is_answered(api: Api, jobs: Jobs, params: dict[str, str]) -> None:
    for path in LISTS:
        assert api.get(path, params=params).status_code == 200


@pytest.mark.parametrize("moment", ["x", "-", "9" * 15, "1e3", "٣", "1.5", "%00"])
def test_a_position_wants_a_moment(api: Api, moment: str) -> None:
    assert api.get(f"jobs/queue/position/{moment}").status_code == 400
