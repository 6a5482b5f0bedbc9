"""Flows over HTTP: deployed, read back as they were sent, renamed, out of use, deleted."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import pytest

from mill_actors.store.connection import Database
from tests.api.conftest import Api, make_token

ADD = "def main(x):\n    return x + {n}\n"


def value(n: int = 1) -> dict[str, Any]:
    return {
        "modules": [
            {
                "id": "a",
                "summary": "",
                "value": {
                    "type": "rawscript",
                    "language": "python3",
                    "content": ADD.format(n=n),
                    "lock": "",
                    "input_transforms": {"x": {"type": "javascript", "expr": "flow_input.x"}},
                    "unheard": [1.0, 36893488147419103232, None, "\0"],
                },
            }
        ],
        "same_worker": False,
    }


#: What Windmill's command line sends.
SENT: dict[str, Any] = {
    "summary": "Adds",
    "description": "",
    "schema": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": []},
    "priority": 3,
    "labels": ["billing"],
    "ws_error_handler_muted": False,
    "something": {"nobody": "heard of"},
}


def new(path: str, n: int = 1, **more: Any) -> dict[str, Any]:
    return {"path": path, "summary": "", "value": value(n), **more}


def create(api: Api, body: dict[str, Any], **options: Any) -> httpx.Response:
    return api.post("flows/create", json=body, **options)


@pytest.fixture(scope="module")
def ann(api: Api) -> str:
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.account (email) values ('ann@x')")
        connection.execute(
            "insert into mill.member (workspace, username, email) values ('default', 'ann', 'ann@x')"
        )
        connection.execute(
            "insert into mill.folder (workspace, name, owners, extra_perms, created_by) values"
            " ('default', 'anns', '{u/ann}', '{}', 'u/admin'),"
            " ('default', 'shown', '{}', '{\"u/ann\": false}', 'u/admin')"
        )
    return make_token(api.dsn, "ann@x")


def test_a_flow_runs_and_comes_back_as_it_was_sent(api: Api) -> None:
    body = new("f/a/sent", **SENT, skip_draft_deletion=True, deployment_message="first", tag=None)
    answer = create(api, body)
    assert (answer.status_code, answer.text) == (201, "f/a/sent")
    told = api.get("flows/get/f/a/sent").json()
    assert {name: told[name] for name in SENT} == SENT
    assert told["value"] == value()
    assert (told["edited_by"], told["archived"]) == ("admin", False)
    assert not {"tag", "skip_draft_deletion", "deployment_message"} & told.keys()
    assert api.post("jobs/run_wait_result/f/f/a/sent", json={"x": 2}).json() == 3
    for path in (f"get/v/{told['version_id']}", f"get/v/{told['version_id']}/p/f/a/sent"):
        assert api.get(f"flows/{path}").json() == told
    assert api.get("flows/exists/f/a/sent").json() is True
    assert api.get("flows/exists/f/a/absent").json() is False
    for path in (
        "f/a/absent",
        "v/0",
        "v/x",
        "v/99999999999999999999",
        f"v/{told['version_id']}/p/f/a/absent",
    ):
        assert api.get(f"flows/get/{path}").status_code == 404


def test_an_update_is_a_new_version_and_runs_keep_theirs(api: Api) -> None:
    create(api, new("f/a/updated", 1))
    first = api.get("flows/get/f/a/updated").json()["version_id"]
    assert create(api, new("f/a/updated", 1)).status_code == 201
    refused = create(api, new("f/a/updated", 2))
    assert (refused.status_code, refused.json()["code"]) == (400, "version_conflict")
    body = {**new("", 2), "path": None}
    assert api.post("flows/update/f/a/updated", json=body).status_code == 200
    second = api.get("flows/get/f/a/updated").json()["version_id"]
    assert second != first
    assert api.post("jobs/run_wait_result/f/f/a/updated", json={"x": 0}).json() == 2
    assert api.post(f"jobs/run_wait_result/fv/{first}", json={"x": 0}).json() == 1
    assert api.post("flows/update/f/a/absent", json=new("f/a/absent")).status_code == 404


def test_a_flow_is_renamed_with_its_history(api: Api) -> None:
    create(api, new("f/a/old", 1))
    create(api, new("f/a/taken", 1))
    first = api.get("flows/get/f/a/old").json()["version_id"]
    assert api.post("flows/update/f/a/old", json=new("f/a/taken", 2)).status_code == 400
    assert api.get("flows/exists/f/a/old").json() is True
    answer = api.post("flows/update/f/a/old", json=new("f/b/fresh", 2))
    assert (answer.status_code, answer.text) == (200, "f/b/fresh")
    assert api.get("flows/get/f/a/old").status_code == 404
    assert api.get(f"flows/get/v/{first}/p/f/b/fresh").json()["value"] == value(1)
    assert api.post("jobs/run_wait_result/f/f/b/fresh", json={"x": 0}).json() == 2
    assert api.post(f"jobs/run_wait_result/fv/{first}", json={"x": 0}).json() == 1


def test_an_archived_flow_is_there_and_does_not_run(api: Api) -> None:
    create(api, new("f/a/archived"))
    for archived in (True, True, False, False):
        answer = api.post("flows/archive/f/a/archived", json={"archived": archived})
        assert answer.status_code == 200
        assert api.get("flows/get/f/a/archived").json()["archived"] is archived
        assert api.get("flows/exists/f/a/archived").json() is not archived
        started = api.post("jobs/run/f/f/a/archived", json={"x": 1})
        assert started.status_code == (404 if archived else 201)
    assert api.post("flows/archive/f/a/absent", json={"archived": True}).status_code == 404


def test_deleting_twice_is_deleting(api: Api) -> None:
    create(api, new("f/a/deleted"))
    version = api.get("flows/get/f/a/deleted").json()["version_id"]
    for _ in range(3):
        assert api.delete("flows/delete/f/a/deleted", params={"keep_captures": "true"}).status_code == 200
        assert api.get("flows/get/f/a/deleted").status_code == 404
        assert api.get(f"flows/get/v/{version}").status_code == 404
        assert api.post("jobs/run/f/f/a/deleted", json={"x": 1}).status_code == 404
        assert api.post(f"jobs/run/fv/{version}", json={"x": 1}).status_code == 404
    assert create(api, new("f/a/deleted")).status_code == 201
    assert api.post("jobs/run_wait_result/f/f/a/deleted", json={"x": 1}).json() == 2


def test_all_faults_of_a_flow_are_told_at_once(api: Api) -> None:
    broken = copy.deepcopy(value())
    broken["modules"][0]["value"]["language"] = "cobol"
    broken["modules"].append({"id": "a", "value": {"type": "identity"}})
    answer = create(api, {"path": "f/a/broken", "summary": 1, "value": broken})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_flow")
    faults = answer.json()["faults"]
    assert len(faults) == 3
    assert any("cobol" in fault for fault in faults)
    assert api.get("flows/exists/f/a/broken").json() is False


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{", b"{}", b"\xff", b"[" * 100_000),
        b'{"path": "f/a/x", "summary": "", "value": ' + b'{"modules":[' * 40_000 + b"]}" * 40_000 + b"}",
        json.dumps(new("nowhere")).encode(),
        json.dumps(new("f/a/" + "x" * 300)).encode(),
        json.dumps(new("f/a/x", summary="\0")).encode(),
        json.dumps(new("f/a/x", summary="\ud800")).encode(),
        json.dumps(new("f/a/x", description="\ud800")).encode(),
        json.dumps(new("f/a/x", tag="\0")).encode(),
        json.dumps(new("f/a/x", priority=10**30)).encode(),
        json.dumps(new("f/a/x", schema=[1])).encode(),
        json.dumps(new("f/a/x", deployment_message=1)).encode(),
    ],
)
def test_a_body_that_is_no_flow_is_a_400(api: Api, body: bytes) -> None:
    answer = api.post("flows/create", content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]
    assert api.get("flows/exists/f/a/x").json() is False


def test_odd_values_are_kept_or_refused(api: Api) -> None:
    for path, more in (("f/a/odd", {"odd": "\ud800"}), ("f/a/even", {"labels": [1, "\0"]})):
        answer = api.post("flows/create", content=json.dumps(new(path, **more)))
        assert answer.status_code in {201, 400}
        if answer.status_code == 201:
            assert json.loads(api.get(f"flows/get/{path}").content).items() >= more.items()


def test_who_may_write(api: Api, ann: str) -> None:
    assert create(api, new("f/anns/mine"), token=ann).status_code == 201
    create(api, new("f/shown/admins"))
    create(api, new("f/hidden/admins"))
    hidden = api.get("flows/get/f/hidden/admins").json()["version_id"]
    assert api.get("flows/get/f/shown/admins", token=ann).status_code == 200
    for call in (
        create(api, new("f/shown/mine"), token=ann),
        api.post("flows/update/f/shown/admins", json=new("f/anns/stolen"), token=ann),
        api.post("flows/update/f/anns/mine", json=new("f/shown/moved"), token=ann),
        api.post("flows/archive/f/shown/admins", json={"archived": True}, token=ann),
        api.delete("flows/delete/f/shown/admins", token=ann),
        api.get("flows/get/f/hidden/admins", token=ann),
        api.get(f"flows/get/v/{hidden}", token=ann),
    ):
        assert (call.status_code, call.json()["code"]) == (403, "forbidden"), call.text
    scoped = make_token(api.dsn, scopes=["flows:write:f/anns/*"])
    moved = api.post("flows/update/f/anns/mine", json=new("f/shown/moved"), token=scoped)
    assert moved.status_code == 403
    assert api.post("flows/update/f/anns/mine", json=new("f/anns/mine", 2), token=scoped).status_code == 200


def test_changes_are_in_the_audit_log(api: Api) -> None:
    create(api, new("f/a/audited"))
    api.post("flows/update/f/a/audited", json=new("f/a/audited2"))
    api.post("flows/archive/f/a/audited2", json={"archived": True})
    api.delete("flows/delete/f/a/audited2")
    with Database(api.dsn).connect() as connection:
        rows = connection.execute(
            "select operation, resource from mill.audit where resource like 'f/a/audited%' order by id"
        ).fetchall()
    assert rows == [
        ("flows.create", "f/a/audited"),
        ("flows.update", "f/a/audited2"),
        ("flows.archive", "f/a/audited2"),
        ("flows.delete", "f/a/audited2"),
    ]
