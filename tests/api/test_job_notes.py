"""What jobs say about themselves: values of a flow's own, progress; and whether their node stops."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mill_actors.flows.document import read_flow
from mill_actors.ids import new_id
from mill_actors.store.connection import Database
from mill_actors.store.flow_versions import make_flow
from tests.api.conftest import Api
from tests.api.people import folder, member, stranger


def deploy_flow(api: Api, path: str, value: dict[str, Any]) -> None:
    document = read_flow({"summary": "", "value": value})
    api.store.deploy_flow(make_flow("default", path, document.value_json))


@pytest.fixture(scope="module", autouse=True)
def deployed(api: Api) -> None:
    folder(api.dsn, "a", reader=False)
    api.script("f/a/hello")
    step = {"id": "a", "value": {"type": "script", "path": "f/a/hello", "input_transforms": {}}}
    deploy_flow(api, "f/a/flow", {"modules": [step]})


@pytest.fixture(scope="module")
def flow(api: Api) -> str:
    return api.post("jobs/run/f/f/a/flow", params={"scheduled_in_secs": 3600}, json={}).text


@pytest.fixture(scope="module")
def job(api: Api) -> str:
    return api.post("jobs/run/p/f/a/hello", params={"scheduled_in_secs": 3600}, json={}).text


@pytest.mark.parametrize("value", [0, False, "", None, {"a": [1]}, 36893488147419103232, "a\0b"])
def test_a_flow_keeps_any_value(api: Api, flow: str, value: object) -> None:
    kept = api.post(f"jobs/flow/user_states/{flow}/of a/key", content=json.dumps(value))
    assert kept.status_code == 200
    answer = api.get(f"jobs/flow/user_states/{flow}/of a/key")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(answer.text) == value


def test_no_body_is_null_and_so_is_what_nobody_kept(api: Api, flow: str) -> None:
    assert api.post(f"jobs/flow/user_states/{flow}/nothing").status_code == 200
    for key in (f"{flow}/nothing", f"{flow}/never", f"{new_id()}/x"):
        answer = api.get(f"jobs/flow/user_states/{key}")
        assert (answer.status_code, answer.text) == (200, "null")


def test_a_script_keeps_nothing(api: Api, job: str) -> None:
    assert api.post(f"jobs/flow/user_states/{job}/x", json=1).status_code == 404
    assert api.post(f"jobs/flow/user_states/{new_id()}/x", json=1).status_code == 404


def test_progress_is_told_and_never_100(api: Api) -> None:
    job = api.post("jobs/run/p/f/a/hello", json={}).text
    assert api.get(f"job_metrics/get_progress/{job}").json() is None
    for told, kept in ((7, 7), (55, 55), (100, 99), (-3, 0), (10**30, 99)):
        answer = api.post(
            f"job_metrics/set_progress/{job}", content=json.dumps({"percent": told, "flow_job_id": None})
        )
        assert (answer.status_code, answer.text) == (200, "null"), answer.text
        assert api.get(f"job_metrics/get_progress/{job}").json() == kept


def test_a_job_knows_whether_its_node_stops(api: Api, job: str) -> None:
    assert api.get(f"jobs/worker_is_draining/{job}").json() is False
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.node (id, name, stopping) values (%s, 'n', true)", (job,))
        hold = "update mill.queue set running = %s, node = %s, claim = %s where id = %s"
        connection.execute(hold, (True, job, job, job))
        assert api.get(f"jobs/worker_is_draining/{job}").json() is True
        connection.execute(hold, (False, None, None, job))
        connection.execute("delete from mill.node where id = %s", (job,))


def test_others_keep_out(api: Api, flow: str, job: str) -> None:
    outsider, other = member(api.dsn, "outsider"), stranger(api.dsn)
    reader = member(api.dsn, "reader", "operator")
    for token, status in ((outsider, 403), (reader, 200), (other, 403)):
        assert api.post(f"jobs/flow/user_states/{flow}/x", token=token, json=1).status_code == status
        assert api.get(f"jobs/flow/user_states/{flow}/x", token=token).status_code == status
        assert (
            api.post(f"job_metrics/set_progress/{job}", token=token, json={"percent": 1}).status_code
            == status
        )
        assert api.get(f"job_metrics/get_progress/{job}", token=token).status_code == status
    assert api.get(f"/w/other/jobs/flow/user_states/{flow}/x", token=other).text == "null"
    assert api.get(f"/w/other/job_metrics/get_progress/{job}", token=other).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("jobs/flow/user_states/nonsense/x", b"1"),
        ("jobs/flow/user_states/{flow}/x", b"{"),
        ("jobs/flow/user_states/{flow}/x", b"[" * 100_000 + b"]" * 100_000),
        ("jobs/flow/user_states/{flow}/" + "x" * 300, b"1"),
        ("jobs/flow/user_states/{flow}/%00", b"1"),
        ("job_metrics/set_progress/{flow}", b"{}"),
        ("job_metrics/set_progress/{flow}", b'{"percent": "x"}'),
        ("job_metrics/set_progress/x", b'{"percent": 1}'),
    ],
)
def test_nonsense_is_refused(api: Api, flow: str, path: str, body: bytes) -> None:
    answer = api.post(path.format(flow=flow), content=body)
    assert (answer.status_code, answer.json()["status"]) == (400, 400), answer.text
