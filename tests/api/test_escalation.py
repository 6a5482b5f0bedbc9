"""Ways to more than one's own rights: each was open once, or looks as if it might be."""

from __future__ import annotations

import pytest

from mill_actors.store.connection import Database
from tests.api.conftest import Api
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
