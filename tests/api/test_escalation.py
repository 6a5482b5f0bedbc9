"""Ways to more than one's own rights: each was open once, or looks as if it might be."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mill_actors.store.connection import Database
from tests.api.conftest import Api, make_token
from tests.api.flows import code, deploy_flow, suspended
from tests.api.people import folder, member

SECRET = "the secret of the vault"
KEEPS = f"def main():\n    return {SECRET!r}\n"
ASKS = "def main():\n    return {'description': 'May it?'}\n"


@pytest.fixture(scope="module", autouse=True)
def vault(api: Api) -> None:
    """A folder that only the admin may read, and one for the others."""
    folder(api.dsn, "vault", admin=True)
    folder(api.dsn, "open", mallory=True, olga=False)
    api.script("f/vault/keeps", KEEPS)
    api.script("f/open/hello")
    deploy_flow(api, "f/vault/flow", code("a", KEEPS), code("b", "def main():\n    return 1\n"))
    asks = code("a", ASKS, suspend={"required_events": 1})
    deploy_flow(api, "f/vault/asks", asks, code("b", "def main():\n    return 'approved'\n"))


@pytest.fixture(scope="module")
def mallory(api: Api) -> str:
    return member(api.dsn, "mallory")


@pytest.fixture(scope="module")
def olga(api: Api) -> str:
    return member(api.dsn, "olga", "operator")


# ---------------------------------------------------------------- jobs that say whose they are


@pytest.fixture
def asking(api: Api) -> str:
    """A flow of the vault's that waits for an approval."""
    flow = api.post("jobs/run/f/f/vault/asks", json={}).text
    suspended(api, flow)
    return flow


def test_a_job_cannot_be_put_below_somebody_elses(api: Api, mallory: str, asking: str) -> None:
    for path in ("jobs/run/p/f/open/hello", "jobs/run_wait_result/p/f/open/hello"):
        answer = api.post(path, token=mallory, json={}, params={"parent_job": asking})
        assert answer.status_code == 403, answer.text
    assert api.post("jobs/run/p/f/open/hello", json={}, params={"parent_job": asking}).status_code == 201
    cancelled = api.post(f"jobs_u/queue/cancel/{asking}", json={})
    assert cancelled.status_code == 200


def test_a_child_that_is_no_step_answers_nothing_for_its_parent(api: Api, mallory: str, asking: str) -> None:
    child = api.post("jobs/run/p/f/open/hello", token=mallory, json={}).text
    api.wait(child)
    with Database(api.dsn).connect() as connection:
        # As jobs do that were submitted past the API.
        connection.execute("update mill.completed_job set parent_job = %s where id = %s", (asking, child))
    for flow_level in ("true", "false"):
        query = {"flow_level": flow_level}
        answer = api.get(f"jobs/resume_urls/{child}/1", token=mallory, params=query)
        assert answer.status_code == 400, answer.text
        signed = api.get(f"jobs/job_signature/{child}/1", token=mallory, params=query)
        assert signed.status_code == 400, signed.text
    resumed = api.post(f"jobs/flow/resume/{child}", token=mallory, json={})
    assert resumed.status_code == 400, resumed.text
    assert api.get(f"jobs_u/get/{asking}").json()["type"] == "QueuedJob"
    api.post(f"jobs_u/queue/cancel/{asking}", json={})


def test_a_preview_does_not_begin_with_results_that_its_starter_may_not_read(api: Api, mallory: str) -> None:
    old = api.post("jobs/run/f/f/vault/flow", json={}).text
    assert api.wait(old).succeeded
    value = {
        "modules": [
            code("a", "def main():\n    return 0\n"),
            code("b", "def main(x):\n    return x\n", {"x": "results.a"}),
        ]
    }
    begin = {"flow_job_id": old, "step_id": "b"}
    for where in ("run", "run_wait_result"):
        answer = api.post(
            f"jobs/{where}/preview_flow", token=mallory, json={"value": value, "restarted_from": begin}
        )
        assert answer.status_code == 403, answer.text
        assert SECRET not in answer.text
    told = api.post("jobs/run_wait_result/preview_flow", json={"value": value, "restarted_from": begin})
    assert told.json() == SECRET


def test_operators_run_no_preview_by_its_hash(api: Api, mallory: str, olga: str) -> None:
    body = {"content": "def main():\n    return 1\n", "language": "python3", "path": "f/open/hello"}
    job = api.post("jobs/run/preview", token=mallory, json=body).text
    digest = api.get(f"jobs_u/get/{job}").json()["script_hash"]
    assert digest.startswith("p")
    answer = api.post(f"jobs/run/h/{digest}", token=olga, json={})
    assert answer.status_code == 403, answer.text
    assert api.post("jobs/run/p/f/open/hello", token=olga, json={}).status_code == 201


# ---------------------------------------------------------------- flows of foreign steps

STEPS: dict[str, Any] = {
    "script": {"type": "script", "path": "f/vault/keeps", "input_transforms": {}},
    "flow": {"type": "flow", "path": "f/vault/flow", "input_transforms": {}},
    "loop": {
        "type": "forloopflow",
        "iterator": {"type": "static", "value": [1]},
        "skip_failures": False,
        "modules": [
            {"id": "c", "value": {"type": "script", "path": "f/vault/keeps", "input_transforms": {}}}
        ],
    },
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_flow_runs_nothing_that_its_maker_may_not_run(api: Api, mallory: str, kind: str) -> None:
    value = {"modules": [{"id": "a", "value": STEPS[kind]}]}
    path = f"f/open/takes_{kind}"
    made = api.post("flows/create", token=mallory, json={"path": path, "summary": "", "value": value})
    assert made.status_code == 403, made.text
    assert api.post("flows/create", json={"path": path, "summary": "", "value": value}).status_code == 201
    updated = api.post(
        f"flows/update/{path}", token=mallory, json={"path": path, "summary": "x", "value": value}
    )
    assert updated.status_code == 403, updated.text
    for where in ("run", "run_wait_result"):
        answer = api.post(f"jobs/{where}/preview_flow", token=mallory, json={"value": value})
        assert answer.status_code == 403, answer.text
    # Whoever made it, and may, lets others run it.
    assert api.post(f"jobs/run_wait_result/f/{path}", token=mallory, json={}).status_code == 200


def test_the_version_of_a_step_is_one_that_its_maker_may_run(api: Api, mallory: str) -> None:
    digest = api.get("scripts/get/p/f/vault/keeps").json()["hash"]
    step = {"type": "script", "path": "f/open/hello", "hash": digest, "input_transforms": {}}
    value = {"modules": [{"id": "a", "value": step}]}
    answer = api.post("jobs/run_wait_result/preview_flow", token=mallory, json={"value": value})
    assert answer.status_code == 403, answer.text
    step["hash"] = api.get("scripts/get/p/f/open/hello").json()["hash"]
    answer = api.post("jobs/run_wait_result/preview_flow", token=mallory, json={"value": value})
    assert answer.json() == "Hello you"


def test_a_path_that_is_not_there_tells_of_none_that_one_may_not_read(api: Api, mallory: str) -> None:
    for path in ("jobs/run/p/u/mallory/keeps", "jobs/run/f/u/mallory/flow", "jobs/run/p/f/open/%25"):
        answer = api.post(path, token=mallory, json={})
        assert answer.status_code == 404
        assert "vault" not in answer.text
    found = api.post("jobs/run/p/u/mallory/hell", token=mallory, json={}).json()
    assert found["similar"] == ["f/open/hello"]
    assert "f/open/hello" in found["message"]


# ---------------------------------------------------------------- tokens


def test_a_token_that_reads_is_made_of_none_that_does_not(api: Api) -> None:
    runs = make_token(api.dsn, scopes=["tokens:write", "jobs:run"])
    answer = api.post("/users/tokens/create", token=runs, json={"read_only": True})
    assert answer.status_code == 403, answer.text
    asked = {"read_only": True, "scopes": ["jobs:run"]}
    assert api.post("/users/tokens/create", token=runs, json=asked).status_code == 403
    writes = make_token(api.dsn, scopes=["tokens:write", "variables:write:f/open/*"])
    made = api.post("/users/tokens/create", token=writes, json={"read_only": True})
    assert made.status_code == 201
    listed = api.get("/users/tokens/list", token=writes).json()
    assert listed[0]["scopes"] == ["tokens:read", "variables:read:f/open/*"]


def test_a_statement_of_no_workspace_is_no_token(api: Api) -> None:
    told = base64.urlsafe_b64encode(b'{"w":"\\u0000","u":"u/admin","e":9999999999}').decode().rstrip("=")
    assert api.get("users/whoami", token=f"wm1.{told}.x.y").status_code == 401


def test_tags_of_another_workspace_are_not_told(api: Api, mallory: str) -> None:
    with Database(api.dsn).connect() as connection:
        connection.execute("update mill.node set tags = tags || '{default:f/vault/keeps,gpu}'::text[]")
    told = api.call("GET", "/workers/list", token=mallory).json()
    assert "gpu" in told[0]["custom_tags"]
    assert "vault" not in json.dumps(told)
    assert "vault" in api.call("GET", "/workers/list").text


def test_what_a_deleted_folder_left_behind_is_nobodys_to_take(api: Api, mallory: str) -> None:
    folder(api.dsn, "past", admin=True)
    api.script("f/past/old", KEEPS)
    assert api.post("scripts/archive/p/f/past/old").status_code == 200
    assert api.delete("folders/delete/past").status_code == 200
    answer = api.post("folders/create", token=mallory, json={"name": "past"})
    assert answer.status_code == 403, answer.text


@pytest.mark.parametrize("kind", ["variable", "resource", "schedule"])
def test_whoever_is_called_so_next_has_no_rights_of_the_one_before(api: Api, kind: str) -> None:
    api.script("f/vault/nightly")
    bodies: dict[str, dict[str, Any]] = {
        "variable": {"value": "x"},
        "resource": {"value": {}},
        "schedule": {
            "schedule": "0 0 0 * * *", "timezone": "UTC", "script_path": "f/vault/nightly", "is_flow": False,
        },
    }  # fmt: skip
    path = f"f/vault/shared_{kind}"
    assert api.post(f"{kind}s/create", json={"path": path, **bodies[kind]}).is_success
    name, team = f"carl_{kind}", f"team_{kind}"
    token = member(api.dsn, name, groups=(team,))
    for owner in (f"u/{name}", f"g/{team}"):
        assert api.post(f"acls/add/{kind}/{path}", json={"owner": owner, "write": True}).is_success
    assert api.get(f"{kind}s/get/{path}", token=token).is_success
    assert api.delete(f"groups/delete/{team}").is_success
    assert api.get(f"acls/get/{kind}/{path}").json() == {f"u/{name}": True}
    assert api.delete(f"users/delete/{name}").is_success
    assert api.get(f"acls/get/{kind}/{path}").json() == {}


def test_a_flows_logs_are_those_of_its_steps(api: Api, mallory: str) -> None:
    """What its code has started has readers of its own."""
    deploy_flow(api, "f/open/prints", code("a", "def main():\n    print('a step')\n"))
    flow = api.post("jobs/run/f/f/open/prints", json={}).text
    assert api.wait(flow).succeeded
    hidden = api.post(
        "jobs/run/preview",
        json={"content": f"def main():\n    print({SECRET!r})\n", "language": "python3"},
    ).text
    assert api.wait(hidden).succeeded
    with Database(api.dsn).connect() as connection:
        connection.execute("update mill.completed_job set parent_job = %s where id = %s", (flow, hidden))
    told = api.get(f"jobs_u/get_flow_all_logs/{flow}", token=mallory)
    assert "a step" in told.text
    assert SECRET not in told.text


def test_a_schedule_is_enabled_by_whoever_may_run_what_it_is_for(api: Api, mallory: str) -> None:
    body = {"path": "f/open/nightly", "schedule": "0 0 0 * * *", "timezone": "UTC"}
    api.script("f/vault/nightly")
    told = {**body, "script_path": "f/vault/nightly", "is_flow": False}
    assert api.post("schedules/create", token=mallory, json=told).status_code == 403
    assert api.post("schedules/create", json=told).is_success
    for enabled, status in ((True, 403), (False, 200)):
        answer = api.post("schedules/setenabled/f/open/nightly", token=mallory, json={"enabled": enabled})
        assert answer.status_code == status, answer.text
