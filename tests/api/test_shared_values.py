"""Variables and resources over HTTP, and what jobs make of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mill_actors.store.connection import Database
from mill_actors.store.flow_versions import make_flow
from tests.api.conftest import Api, make_token

ECHO = "def main(x):\n    return x\n"


@pytest.fixture(scope="module", autouse=True)
def people(api: Api) -> None:
    """`ada` may read and write f/ours, and read f/theirs; `eve` is in another workspace."""
    api.script("f/ours/echo", ECHO)
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.account (email) values ('ada@x'), ('eve@x')")
        connection.execute("insert into mill.workspace (id) values ('other')")
        connection.execute(
            "insert into mill.member (workspace, username, email, role) values "
            "('default', 'ada', 'ada@x', 'developer'), ('other', 'eve', 'eve@x', 'admin')"
        )
        connection.execute(
            "insert into mill.folder (workspace, name, owners, extra_perms, created_by) values "
            "('default', 'ours', '{u/ada}', '{}', 'u/admin'), "
            """('default', 'theirs', '{u/admin}', '{"u/ada": false}', 'u/admin'), """
            "('default', 'closed', '{u/admin}', '{}', 'u/admin')"
        )


@pytest.fixture(scope="module")
def ada(api: Api) -> str:
    return make_token(api.dsn, "ada@x")


def stored(api: Api, path: str) -> str:
    with Database(api.dsn).connect() as connection:
        row = connection.execute("select value from mill.variable where path = %s", [path]).fetchone()
        assert row is not None
        return str(row[0])


def make(api: Api, path: str, value: str, **more: Any) -> None:
    answer = api.post("variables/create", json={"path": path, "value": value, **more})
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/plain; charset=utf-8")


def test_a_variable_lives(api: Api) -> None:
    assert api.get("variables/get/f/ours/a").status_code == 404
    assert api.get("variables/exists/f/ours/a").json() is False
    make(api, "f/ours/a", "one", description="d", labels=["x"], account=7, sort_of_new={"deep": [1]})
    assert api.get("variables/exists/f/ours/a").json() is True
    told = api.get("variables/get/f/ours/a").json()
    expected = {
        "path": "f/ours/a", "value": "one", "is_secret": False, "description": "d", "labels": ["x"],
        "account": 7, "sort_of_new": {"deep": [1]}, "workspace_id": "default", "extra_perms": {},
        "edited_by": "admin",
    }  # fmt: skip
    assert told | expected == told
    assert api.post("variables/create", json={"path": "f/ours/a", "value": "x"}).status_code == 400
    answer = api.post("variables/update/f/ours/a", json={"value": "two"})
    assert (answer.status_code, answer.headers["Content-Type"][:10]) == (200, "text/plain")
    assert api.get("variables/get_value/f/ours/a").json() == "two"
    assert api.get("variables/get/f/ours/a").json()["labels"] == ["x"]
    api.post("variables/update/f/ours/a", json={"path": "f/ours/b", "labels": None})
    assert api.get("variables/get_value/f/ours/a").status_code == 404
    assert "labels" not in api.get("variables/get/f/ours/b").json()
    assert api.delete("variables/delete/f/ours/b").status_code == 200
    assert api.delete("variables/delete/f/ours/b").status_code == 404


def test_a_secret_is_ciphertext_wherever_it_is_not_asked_for(api: Api) -> None:
    make(api, "f/ours/secret", "pässword", is_secret=True)
    sealed = stored(api, "f/ours/secret")
    assert len(base64.b64decode(sealed, validate=True)) % 16 == 0
    assert "ssword" not in base64.b64decode(sealed).decode("latin-1")
    assert api.get("variables/get_value/f/ours/secret").json() == "pässword"
    assert api.get("variables/get/f/ours/secret").json()["value"] == "pässword"
    hidden = api.get("variables/get/f/ours/secret", params={"decrypt_secret": "false"}).json()
    assert "value" not in hidden
    params = {"decrypt_secret": "false", "include_encrypted": "true"}
    assert api.get("variables/get/f/ours/secret", params=params).json()["value"] == sealed
    listed = api.get("variables/list", params={"path": "f/ours/secret"}).json()
    assert [("value" in each, each["is_secret"]) for each in listed] == [(False, True)]
    assert api.get("variables/list", params={"value": "ssword"}).json() == []
    with Database(api.dsn).connect() as connection:
        rows = connection.execute("select operation, parameters::text from mill.audit").fetchall()
    assert "variables.decrypt_secret" in {operation for operation, _ in rows}
    assert "ssword" not in str(rows)


def test_ciphertext_goes_out_and_comes_back(api: Api) -> None:
    make(api, "f/ours/from", "s3cret", is_secret=True)
    sealed = stored(api, "f/ours/from")
    body = {"path": "f/ours/to", "value": sealed, "is_secret": True}
    assert api.post("variables/create", params={"already_encrypted": "true"}, json=body).status_code == 201
    assert api.get("variables/get_value/f/ours/to").json() == "s3cret"
    # What is no secret is never ciphertext, whatever is said.
    plain = {"path": "f/ours/plain", "value": "clear"}
    assert api.post("variables/create", params={"already_encrypted": "true"}, json=plain).status_code == 201
    assert api.get("variables/get_value/f/ours/plain").json() == "clear"
    foreign = api.post(
        "variables/update/f/ours/to", params={"already_encrypted": "true"}, json={"value": "AAAA" * 20}
    )
    assert (foreign.status_code, foreign.json()["code"]) == (400, "invalid_args")
    api.post("variables/update/f/ours/to", json={"value": "new"})
    assert api.get("variables/get_value/f/ours/to").json() == "new"
    assert stored(api, "f/ours/to") != "new"
    api.post("variables/update/f/ours/to", json={"is_secret": False})
    assert stored(api, "f/ours/to") == "new"


def test_jobs_see_secrets_and_their_rows_do_not(api: Api) -> None:
    make(api, "f/ours/key", "k3y", is_secret=True)
    body = {"path": "f/ours/api", "value": {"key": "$var:f/ours/key", "n": 1}, "resource_type": "c_api"}
    assert api.post("resources/create", json=body).status_code == 201
    told = api.post("jobs/run_wait_result/p/f/ours/echo", json={"x": ["$res:f/ours/api"]})
    assert told.json() == [{"key": "k3y", "n": 1}]
    expression = "resource('f/ours/api').n + variable('f/ours/key')"
    step = {"id": "a", "value": {"type": "script", "path": "f/ours/echo", "input_transforms": {
        "x": {"type": "javascript", "expr": expression}}}}  # fmt: skip
    flow = make_flow("default", "f/ours/flow", b'{"modules":[' + json.dumps(step).encode() + b"]}")
    api.store.deploy_flow(flow)
    assert api.post("jobs/run_wait_result/f/f/ours/flow", json={}).json() == "1k3y"
    assert api.get("resources/get_value/f/ours/api").json() == {"key": "$var:f/ours/key", "n": 1}
    assert api.get("resources/get_value_interpolated/f/ours/api").json() == {"key": "k3y", "n": 1}


def test_a_reference_reaches_as_far_as_whoever_runs_the_job(api: Api, ada: str) -> None:
    make(api, "f/closed/key", "not for ada", is_secret=True)
    api.post("resources/create", json={"path": "f/ours/bridge", "value": "$var:f/closed/key"})
    for reference in ("$var:f/closed/key", "$res:f/ours/bridge"):
        answer = api.post("jobs/run_wait_result/p/f/ours/echo", token=ada, json={"x": reference})
        assert (answer.status_code, "not for ada" in answer.text) == (422, False)
        assert api.post("jobs/run_wait_result/p/f/ours/echo", json={"x": reference}).json() == "not for ada"
    answer = api.get("resources/get_value_interpolated/f/ours/bridge", token=ada)
    assert (answer.status_code, "not for ada" in answer.text) == (400, False)
    step = {"id": "a", "value": {"type": "script", "path": "f/ours/echo", "input_transforms": {
        "x": {"type": "javascript", "expr": "variable('f/closed/key')"}}}}  # fmt: skip
    flow = make_flow("default", "f/ours/leak", b'{"modules":[' + json.dumps(step).encode() + b"]}")
    api.store.deploy_flow(flow)
    leak = api.post("jobs/run_wait_result/f/f/ours/leak", token=ada, json={})
    assert leak.json() is None
    assert api.post("jobs/run_wait_result/f/f/ours/leak", json={}).json() == "not for ada"


def test_paths_say_who_may(api: Api, ada: str) -> None:
    make(api, "f/theirs/v", "seen")
    make(api, "u/admin/v", "private")
    assert api.get("variables/get_value/f/theirs/v", token=ada).json() == "seen"
    for path in ("f/closed/key", "u/admin/v", "f/closed/nothing"):
        for what in ("get", "get_value", "exists"):
            assert api.get(f"variables/{what}/{path}", token=ada).status_code == 403
    for path in ("f/theirs/v", "u/admin/v", "f/closed/key"):
        assert api.post(f"variables/update/{path}", token=ada, json={"value": "x"}).status_code == 403
        assert api.delete(f"variables/delete/{path}", token=ada).status_code == 403
    new = {"path": "f/closed/new", "value": "x"}
    assert api.post("variables/create", token=ada, json=new).status_code == 403
    assert (
        api.post("variables/create", token=ada, json={"path": "f/ours/adas", "value": "x"}).status_code == 201
    )
    moved = api.post("variables/update/f/ours/adas", token=ada, json={"path": "f/closed/adas"})
    assert moved.status_code == 403
    seen = {each["path"] for each in api.get("variables/list", token=ada).json()}
    assert {"f/theirs/v", "f/ours/adas"} <= seen
    assert not {"f/closed/key", "u/admin/v"} & seen
    eve = make_token(api.dsn, "eve@x")
    for what in ("get/f/theirs/v", "get_value/f/theirs/v", "list", "exists/f/theirs/v"):
        assert api.get(f"variables/{what}", token=eve).status_code == 403


def test_scopes_hold_for_paths_and_for_what_resources_refer_to(api: Api) -> None:
    make(api, "f/ours/scoped", "v")
    api.post("resources/create", json={"path": "f/ours/refers", "value": ["$var:f/ours/scoped"]})
    narrow = make_token(api.dsn, scopes=["resources:read"])
    assert api.get("resources/get/f/ours/refers", token=narrow).status_code == 200
    assert api.get("variables/get/f/ours/scoped", token=narrow).status_code == 403
    assert api.get("resources/get_value_interpolated/f/ours/refers", token=narrow).status_code == 400
    both = make_token(api.dsn, scopes=["resources:read", "variables:read:f/ours/*"])
    assert api.get("resources/get_value_interpolated/f/ours/refers", token=both).json() == ["v"]
    assert api.post("variables/update/f/ours/scoped", token=both, json={"value": "x"}).status_code == 403


def test_a_resource_lives(api: Api) -> None:
    value = {"host": "h", "n": 36893488147419103232, "nul": "\0", "f": 1.0}
    body = {
        "path": "u/admin/db",
        "value": value,
        "resource_type": "unheard_of",
        "description": "",
        "labels": [],
    }
    assert api.post("resources/create", content=json.dumps(body)).status_code == 201
    assert api.post("resources/create", json={**body, "value": 1}).status_code == 400
    assert json.loads(api.get("resources/get_value/u/admin/db").content) == value
    told = api.get("resources/get/u/admin/db").json()
    assert (told["resource_type"], told["labels"], told["is_oauth"]) == ("unheard_of", [], False)
    assert api.post(
        "resources/create", params={"update_if_exists": "true"}, json={**body, "value": 2}
    ).is_success
    assert api.get("resources/get_value/u/admin/db").json() == 2
    assert api.post("resources/update_value/u/admin/db", json={"value": None}).is_success
    answer = api.get("resources/get_value_interpolated/u/admin/db")
    assert (answer.content, answer.headers["Content-Type"]) == (b"null", "application/json")
    assert api.post("resources/update/u/admin/db", json={"description": "d"}).is_success
    assert api.get("resources/get/u/admin/db").json()["description"] == "d"
    assert [r["path"] for r in api.get("resources/list?resource_type=unheard_of&page=0").json()] == [
        "u/admin/db"
    ]
    assert api.get("resources/list?resource_type=unheard_of&resource_type_exclude=unheard_of").json() == []
    assert api.get("resources/list?resource_type=unheard_of&label=x").json() == []
    assert {"path": "u/admin/db", "value": None} in api.get("resources/list_search").json()
    assert api.delete("resources/delete/u/admin/db").is_success
    assert api.get("resources/get_value_interpolated/u/admin/db").status_code == 404


def test_a_state_may_be_made_twice_at_once(api: Api) -> None:
    """Both have found that there is none."""
    body = {"path": "f/ours/echo/user", "value": 1, "resource_type": "state"}
    assert api.post("resources/create", json=body).status_code == 201
    assert api.post("resources/create", json={**body, "value": 2}).status_code == 201
    assert api.get("resources/get_value/f/ours/echo/user").json() == 2
    assert api.post("resources/create", json={**body, "resource_type": "any"}).status_code == 400


def test_what_refers_to_itself_ends(api: Api) -> None:
    api.post("resources/create", json={"path": "f/ours/circle", "value": ["$res:f/ours/circle"]})
    answer = api.get("resources/get_value_interpolated/f/ours/circle")
    assert (answer.status_code, "circle" in answer.json()["message"]) == (400, True)
    for number in range(9):
        value = [f"$res:f/ours/lol{number - 1}"] * 10 if number else ["lol" * 100]
        api.post("resources/create", json={"path": f"f/ours/lol{number}", "value": value})
    answer = api.get("resources/get_value_interpolated/f/ours/lol8")
    assert (answer.status_code, "MB" in answer.json()["message"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("variables/create", b"{"),
        ("variables/create", b"[]"),
        ("variables/create", b'{"path": "f/ours/x"}'),
        ("variables/create", b'{"path": "f/ours/x", "value": 1}'),
        ("variables/create", b'{"path": "x", "value": ""}'),
        ("variables/create", b'{"path": "f/ours/../x", "value": ""}'),
        ("variables/create", b'{"path": "f/ours/' + b"x" * 300 + b'", "value": ""}'),
        ("variables/create", b'{"path": "f/ours/x", "value": "\\u0000"}'),
        ("variables/create", b'{"path": "f/ours/x", "value": "\\ud800"}'),
        ("variables/create", b'{"path": "f/ours/x", "value": "", "labels": ["\\u0000"]}'),
        ("variables/create", b'{"path": "f/ours/x", "value": "", "more": "\\ud800"}'),
        ("variables/create", b'{"path": "f/ours/x", "value": "\xff"}'),
        ("variables/create", b'{"path": "f/ours/x", "value": "", "more": "\xff"}'),
        (
            "variables/create",
            b'{"path": "f/ours/x", "value": "", "more": ' + b"[" * 9999 + b"]" * 9999 + b"}",
        ),
        ("resources/create", b'{"path": "f/ours/x", "value": ' + b"[" * 9999 + b"]" * 9999 + b"}"),
        ("resources/create", b'{"path": "f/ours/x", "value": "\xff"}'),
        ("resources/create", b'{"path": "f/ours/x"}'),
        ("resources/update_value/f/nonsense/r", b'{"value": nope}'),
        ("variables/update/f/nonsense/a", b'{"path": "f/nonsense/b"}'),
    ],
)
def test_nonsense_is_a_400_in_the_one_shape(api: Api, path: str, content: bytes) -> None:
    make_both(api)
    answer = api.post(path, content=content)
    told = answer.json()
    assert (answer.status_code, told["status"]) == (400, 400)
    assert told["code"]
    assert told["message"]


def make_both(api: Api) -> None:
    """Whatever the order of tests."""
    for name in ("a", "b"):
        api.post("variables/create", json={"path": f"f/nonsense/{name}", "value": "k3y", "is_secret": True})
    api.post("resources/create", json={"path": "f/nonsense/r", "value": 1})


@pytest.mark.parametrize(
    "query", ["page=-1", "per_page=99999999999999999999", "page=99999999999999999999&per_page=3", "page=x"]
)
def test_pages_of_any_number(api: Api, query: str) -> None:
    assert api.get(f"variables/list?{query}").status_code in {200, 400}
