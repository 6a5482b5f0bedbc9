"""Accounts, members, tokens and workspaces."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mill_actors.store.connection import Database
from tests.api.conftest import Api, make_token
from tests.api.people import folder, member, stranger


@pytest.fixture(scope="module")
def ada(api: Api) -> str:
    token = member(api.dsn, "ada", groups=("crew",))
    folder(api.dsn, "hers", ada=True)
    folder(api.dsn, "seen", ada=False)
    return token


@pytest.fixture(scope="module")
def eve(api: Api) -> str:
    return stranger(api.dsn)


def test_somebody_is_told_who_he_is(api: Api, ada: str) -> None:
    told = api.get("users/whoami", token=ada).json()
    expected = {
        "email": "ada@example.com", "username": "ada", "is_admin": False, "is_super_admin": False,
        "operator": False, "disabled": False, "groups": ["crew"], "folders": ["hers"],
        "folders_owners": [],
    }  # fmt: skip
    assert told | expected == told
    assert sorted(told["folders_read"]) == ["hers", "seen"]
    account = api.get("/users/whoami", token=ada).json()
    assert (account["email"], account["super_admin"]) == ("ada@example.com", False)
    assert {"login_type", "verified", "first_time_user", "role_source", "disabled"} <= account.keys()


def test_members_are_listed_and_found(api: Api, ada: str) -> None:
    assert {"admin", "ada"} <= {each["username"] for each in api.get("users/list", token=ada).json()}
    assert "ada" in api.get("users/list_usernames", token=ada).json()
    answer = api.get("users/username_to_email/ada", token=ada)
    assert (answer.text, answer.headers["Content-Type"][:10]) == ("ada@example.com", "text/plain")
    assert api.get("users/get/ada").json()["email"] == "ada@example.com"
    for what in ("get", "username_to_email"):
        assert api.get(f"users/{what}/nobody").status_code == 404


def test_what_an_admin_changes_holds_at_once(api: Api) -> None:
    token = member(api.dsn, "bob")
    new = {"path": "u/bob/x", "value": ""}
    assert api.post("variables/create", token=token, json=new).status_code == 201
    assert api.post("users/update/bob", token=token, json={"is_admin": True}).status_code == 403
    assert api.post("users/update/bob", json={"operator": True}).status_code == 200
    assert api.post("variables/update/u/bob/x", token=token, json={"value": "y"}).status_code == 403
    assert api.get("variables/get_value/u/bob/x", token=token).status_code == 200
    assert api.post("users/update/bob", json={"is_admin": True}).status_code == 200
    assert api.get("users/whoami", token=token).json()["is_admin"] is True
    assert api.post("users/update/bob", json={"disabled": True}).status_code == 200
    assert api.get("users/whoami", token=token).status_code == 403
    assert api.post("users/update/bob", json={"disabled": False, "is_admin": False}).status_code == 200
    assert api.get("users/whoami", token=token).json()["operator"] is False
    assert api.delete("users/delete/bob").status_code == 200
    assert api.get("users/whoami", token=token).status_code == 403
    assert api.delete("users/delete/bob").status_code == 404


def test_somebody_is_added_and_leaves(api: Api, ada: str) -> None:
    body = {"email": "Carl.X+1@example.com", "is_admin": False, "operator": True}
    assert api.post("workspaces/add_user", token=ada, json=body).status_code == 403
    assert api.post("workspaces/add_user", json=body).status_code == 201
    assert api.post("workspaces/add_user", json=body).json()["code"] == "taken"
    assert api.get("users/get/Carl.X1").json()["operator"] is True
    token = make_token(api.dsn, "Carl.X+1@example.com")
    assert api.post("workspaces/leave", token=token).status_code == 200
    assert api.get("users/whoami", token=token).status_code == 403
    for wrong in ({"email": "no"}, {"email": "a@b", "username": "a b"}, {"email": "a@b\0"}):
        assert api.post("workspaces/add_user", json=wrong).status_code == 400


def test_a_password_is_good_for_a_token_in_a_cookie(api: Api, ada: str) -> None:
    body = {"email": "dora@example.com", "password": "correct horse"}
    assert api.post("/users/create", token=ada, json=body).status_code == 403
    assert api.post("/users/create", json=body).status_code == 201
    assert api.post("/users/create", json=body).status_code == 400
    assert api.get("/users/exists/dora@example.com").json() is True
    assert "dora@example.com" in {each["email"] for each in api.get("/users/list").json()}
    for path in ("/users/list", "/users/list_as_super_admin"):
        assert api.get(path, token=ada).status_code == 403
    assert api.get("/users/list_as_super_admin").json() == api.get("/users/list").json()
    for wrong in ({"password": "correct hors"}, {"email": "nobody@example.com"}):
        answer = httpx.post(f"{api.url}/api/auth/login", json={**body, **wrong})
        assert (answer.status_code, answer.json()["message"]) == (401, "Email or password is wrong.")
    with httpx.Client(base_url=f"{api.url}/api") as browser:
        answer = browser.post("/auth/login", json=body)
        assert answer.status_code == 200
        cookie = answer.headers["Set-Cookie"]
        assert f"token={answer.text}" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Secure" not in cookie
        proxied = httpx.post(f"{api.url}/api/auth/login", json=body, headers={"X-Forwarded-Proto": "https"})
        assert "Secure" in proxied.headers["Set-Cookie"]
        assert api.post("/auth/logout", token=proxied.text).status_code == 200
        assert browser.get("/users/whoami").json()["email"] == "dora@example.com"
        tokens = browser.get("/users/tokens/list").json()
        assert [each["label"] for each in tokens] == ["session"]
        assert browser.get("/users/tokens/list?exclude_ephemeral=true").json() == []
        assert browser.post("/users/setpassword", json={"password": "short"}).status_code == 400
        assert browser.post("/auth/logout").status_code == 200
        assert api.get("/users/whoami", token=answer.text).status_code == 401
        again = browser.post("/auth/login", json=body).text
        changed = browser.post("/users/setpassword", json={"password": "battery staple"})
        assert changed.status_code == 200
        assert api.get("/users/whoami", token=again).status_code == 401
        browser.cookies.clear()
        with Database(api.dsn).connect() as connection:
            noted = connection.execute(
                "select operation from mill.audit where username = 'dora@example.com' order by id"
            ).fetchall()
        assert noted == [("users.login",)] * 3 + [("users.setpassword",)]
        assert browser.post("/auth/login", json=body).status_code == 401
        assert browser.post("/auth/login", json={**body, "password": "battery staple"}).status_code == 200


def test_whoever_guesses_is_stopped(api: Api) -> None:
    body = {"email": "guess@example.com", "password": "x"}
    found = [httpx.post(f"{api.url}/api/auth/login", json=body).status_code for _ in range(11)]
    assert found == [401] * 10 + [429]


def test_whoever_guesses_many_at_a_time_is_stopped_too(api: Api) -> None:
    body = {"email": "hurry@example.com", "password": "x"}
    with ThreadPoolExecutor(20) as threads:
        answers = threads.map(lambda _: httpx.post(f"{api.url}/api/auth/login", json=body), range(20))
        assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 10


def test_nobody_is_remembered_by_a_long_name(api: Api) -> None:
    body = {"email": "x" * 256, "password": "x"}
    assert httpx.post(f"{api.url}/api/auth/login", json=body).status_code == 400


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_another_sites_page_does_not_speak_for_whoever_is_signed_in(api: Api, ada: str, site: str) -> None:
    with httpx.Client(base_url=f"{api.url}/api", cookies={"token": ada}) as browser:
        for own in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
            assert browser.get("/users/whoami", headers=own).status_code == 200
        theirs = {"Sec-Fetch-Site": site}
        assert browser.get("/users/whoami", headers=theirs).status_code == 401
        assert browser.post("/users/tokens/create", headers=theirs).status_code == 401
        # With a token that it has to know, any page may.
        known = {**theirs, "Authorization": f"Bearer {ada}"}
        assert browser.get("/users/whoami", headers=known).status_code == 200


def create(api: Api, token: str | None = None, **body: Any) -> httpx.Response:
    return api.post("/users/tokens/create", token=token, json=body)


def test_a_token_lives(api: Api, ada: str) -> None:
    answer = create(api, ada, label="mine")
    assert (answer.status_code, answer.headers["Content-Type"][:10]) == (201, "text/plain")
    assert api.get("/users/whoami", token=answer.text).json()["email"] == "ada@example.com"
    found = {each.get("label"): each for each in api.get("/users/tokens/list", token=ada).json()}["mine"]
    assert found["token_prefix"] == answer.text[:10]
    assert found["read_only"] is False
    for name in ("created_at", "last_used_at"):
        assert datetime.fromisoformat(found[name]).tzinfo
    assert api.delete(f"/users/tokens/delete/{answer.text[:10]}").status_code == 404  # not the admin's
    assert api.delete(f"/users/tokens/delete/{answer.text[:10]}", token=ada).status_code == 200
    assert api.get("/users/whoami", token=answer.text).status_code == 401
    assert api.post("/users/tokens/create", token=ada, content=b"").status_code == 201


def test_a_token_makes_none_that_may_more(api: Api, ada: str, eve: str) -> None:
    narrow = make_token(api.dsn, scopes=["tokens:write", "jobs:run:scripts:f/a/*", "variables:read"])
    assert create(api, narrow).status_code == 201
    same = create(api, narrow).text
    assert api.get("users/whoami", token=same).status_code == 403
    assert api.get("variables/list", token=same).status_code == 200
    for allowed in (["jobs:run:scripts:f/a/b"], ["jobs:run:scripts:f/a/b*"], ["variables:read:f/x/*"]):
        assert create(api, narrow, scopes=allowed).status_code == 201, allowed
    for more in ("*", "jobs:run", "jobs:run:scripts:f/*", "jobs:run:f/a/b", "jobs:run:flows:f/a/b", "jobs",
                 "variables:write", "variables", "users:read", "jobs:run:scripts:f/a/b,f/b/c", ""):  # fmt: skip
        assert create(api, narrow, scopes=[more]).status_code == 403, more
    ends = datetime.now(UTC) + timedelta(hours=1)
    short = make_token(api.dsn, "ada@example.com", expires_at=ends)
    assert create(api, short, label="longer", expiration="2099-01-01T00:00:00Z").status_code == 201
    assert create(api, short, label="longer").status_code == 201
    listed = [
        each for each in api.get("/users/tokens/list", token=ada).json() if each.get("label") == "longer"
    ]
    assert [datetime.fromisoformat(each["expiration"]) for each in listed] == [ends, ends]
    bound = create(api, ada, workspace_id="default").text
    assert api.get("users/whoami", token=bound).status_code == 200
    assert api.get("/users/whoami", token=bound).status_code == 401
    assert create(api, ada, workspace_id="other").status_code == 403
    assert create(api, ada, workspace_id="nowhere").status_code == 403
    assert create(api, eve, workspace_id="default").status_code == 403
    reading = create(api, read_only=True).text
    assert api.get("variables/list", token=reading).status_code == 200
    assert api.post("variables/create", token=reading, json={"path": "u/a/b", "value": ""}).status_code == 403
    assert create(api, reading).status_code == 403
    assert create(api, expiration="2001-01-01T00:00:00Z").status_code == 400


def test_a_jobs_token_makes_one_for_its_workspace_and_a_day(api: Api) -> None:
    api.script("f/a/holds", "import os, time, urllib.request, json\n\n" + JOB)
    made, listed = api.post("jobs/run_wait_result/p/f/a/holds", json={"url": api.url}).json()
    assert api.get("users/whoami", token=made).status_code == 200
    assert api.get("/users/whoami", token=made).status_code == 401
    assert {each["workspace_id"] for each in listed} == {"default"}
    ends = datetime.fromisoformat(listed[0]["expiration"])
    assert timedelta(hours=23) < ends - datetime.now(UTC) < timedelta(hours=25)


JOB = """
def call(url, path, method="GET", body=None):
    request = urllib.request.Request(url + "/api" + path, method=method, data=body)
    request.add_header("Authorization", "Bearer " + os.environ["WM_TOKEN"])
    return urllib.request.urlopen(request).read()


def main(url):
    made = call(url, "/users/tokens/create", "POST", b'{"expiration": "2099-01-01T00:00:00Z"}').decode()
    return made, json.loads(call(url, "/users/tokens/list"))
"""


def test_workspaces(api: Api, ada: str, eve: str) -> None:
    assert api.post("/workspaces/exists", token=ada, json={"id": "default"}).json() is True
    assert api.post("/workspaces/exists", token=ada, json={"id": "none"}).json() is False
    assert api.post("/workspaces/exists", token="wrong", json={"id": "default"}).status_code == 401
    assert [each["id"] for each in api.get("/workspaces/list", token=ada).json()] == ["default"]
    told = api.get("/workspaces/users", token=ada).json()
    assert told["email"] == "ada@example.com"
    assert [(each["id"], each["username"]) for each in told["workspaces"]] == [("default", "ada")]
    new = {"id": "fresh", "name": "Fresh"}
    assert api.post("/workspaces/create", token=ada, json=new).status_code == 403
    assert api.post("/workspaces/create", json=new).status_code == 201
    assert api.post("/workspaces/create", json=new).status_code == 400
    for wrong in ("No", "", "a b", "x" * 51, "a/b", "\0"):
        assert api.post("/workspaces/create", json={"id": wrong, "name": ""}).status_code == 400
    assert api.get("/w/fresh/users/whoami").json()["is_admin"] is True
    assert api.get("/w/fresh/users/whoami", token=ada).status_code == 403
    listed = {each["id"]: each for each in api.get("/workspaces/list").json()}
    assert listed["fresh"] == {"id": "fresh", "name": "Fresh", "owner": "admin@localhost"}
    assert api.get("workspaces/get_settings", token=ada).json()["workspace_id"] == "default"
    assert api.get("/settings/global/automate_username_creation", token=ada).json() is True
    assert api.get("/settings/global/other", token=ada).content == b"null"
    assert api.get("shared_ui/get", token=ada).json()["files"] == {}


def test_what_belongs_to_a_workspace_alone(api: Api, ada: str) -> None:
    api.post("variables/create", json={"path": "f/hers/v", "value": "", "ws_specific": True})
    api.post("resources/create", json={"path": "f/none/r", "value": 1, "ws_specific": True})
    api.post("resources/create", json={"path": "f/none/q", "value": 1, "ws_specific": False})
    told = [{"item_kind": "resource", "path": "f/none/r"}, {"item_kind": "variable", "path": "f/hers/v"}]
    assert api.get("workspaces/list_ws_specific").json() == told
    assert api.get("workspaces/list_ws_specific", token=ada).json() == told[1:]


def test_workers(api: Api, ada: str) -> None:
    (node,) = api.get("/workers/list", token=ada).json()
    assert "python3" in node["custom_tags"]
    assert api.get("/workers/list?ping_since=300&page=2&per_page=1", token=ada).json() == []
    assert api.get("/configs/list_worker_groups", token=ada).json() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users/tokens/create", {"expiration": "soon"}),
        ("/users/tokens/create", {"label": "\0"}),
        ("/users/tokens/create", {"scopes": "x"}),
        ("/users/tokens/create", {"scopes": ["\0"]}),
        ("/auth/login", {"email": "x"}),
        ("/auth/login", {"email": "\0", "password": "x"}),
        ("/auth/login", {"email": "x", "password": "x" * 1001}),
        ("/users/create", {"email": "x@y", "password": "short"}),
        ("/users/create", {"email": "x@y\0", "password": "long enough"}),
        ("/workspaces/exists", {"id": "\0"}),
        ("/workspaces/create", {"id": "x", "name": "\0"}),
        ("users/update/ada", {"is_admin": "yes"}),
    ],
)
def test_nonsense_is_a_400_in_the_one_shape(api: Api, ada: str, path: str, body: Any) -> None:
    answer = api.post(path, json=body)
    assert (answer.status_code, answer.json()["status"]) == (400, 400), answer.text
    assert answer.json()["code"]
