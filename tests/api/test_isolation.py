"""No route answers somebody of another workspace, nor anybody without a token."""

from __future__ import annotations

import re

import pytest

from mill_actors.api.routes import ALL
from mill_actors.api.routing import Route
from mill_actors.store.flow_versions import make_flow
from tests.api.conftest import Api
from tests.api.people import stranger

#: Names in paths, as they mean something in the workspace that a stranger asks about.
MARK = "precious"
INSIDE = [route for route in ALL if "{workspace}" in route.path and not route.is_public]
ANYWHERE = [route for route in ALL if "{workspace}" not in route.path and not route.is_public]


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.fixture(scope="module", autouse=True)
def eve(api: Api) -> str:
    """Somebody of another workspace, after everything was made in this one under a name that tells."""
    api.script(f"f/{MARK}/{MARK}")
    flow = make_flow("default", f"f/{MARK}/{MARK}", b'{"modules":[{"id":"a","value":{"type":"identity"}}]}')
    api.store.deploy_flow(flow)
    made = [
        api.post("folders/create", json={"name": MARK}),
        api.post("groups/create", json={"name": MARK}),
        api.post("variables/create", json={"path": f"f/{MARK}/{MARK}", "value": MARK}),
        api.post("resources/create", json={"path": f"f/{MARK}/{MARK}", "value": MARK}),
        api.post("resources/type/create", json={"name": MARK}),
        api.post("jobs/run_wait_result/p/f/precious/precious", json={"name": MARK}),
    ]
    assert [answer.status_code for answer in made if not answer.is_success] == []
    return stranger(api.dsn)


def filled(api: Api, route: Route, workspace: str) -> str:
    job = api.post("jobs/run/p/f/precious/precious", json={}).text
    values = {
        "workspace": workspace, "path": f"f/{MARK}/{MARK}", "name": MARK, "username": "admin", "id": job,
        "job_id": job, "kind": "folder", "hash": "0123456789abcdef", "version": "1",
    }  # fmt: skip
    return re.sub(r"\{(\w+)\*?\}", lambda found: values.get(found[1], "1"), route.path)


@pytest.mark.parametrize("route", INSIDE, ids=named)
def test_a_strangers_token_opens_nothing(api: Api, eve: str, route: Route) -> None:
    for body in (b"", b"{}", b'{"path": "f/precious/x", "value": "v", "name": "x", "username": "admin"}'):
        answer = api.call(route.method, filled(api, route, "default"), token=eve, content=body)
        assert answer.status_code in {401, 403, 404}, (answer.status_code, answer.text)
        assert set(answer.json()) >= {"status", "code", "message"}
    # Nor does his own workspace have anything of the other's.
    if route.method == "GET":
        answer = api.call("GET", filled(api, route, "other"), token=eve)
        told = answer.text.replace(f"f/{MARK}/{MARK}", "") if answer.status_code >= 400 else answer.text
        assert answer.status_code < 500, answer.text
        if answer.status_code < 400:
            assert MARK not in told


@pytest.mark.parametrize("route", [*INSIDE, *ANYWHERE], ids=named)
def test_nobody_without_a_token(api: Api, route: Route) -> None:
    for token in ("wrong", "wm1.e30.x.y"):
        answer = api.call(route.method, filled(api, route, "default"), token=token, content=b"{}")
        assert answer.status_code == 401, (answer.status_code, answer.text)
    answer = api.client.request(route.method, f"{api.url}/api{filled(api, route, 'default')}")
    assert answer.status_code == 401


@pytest.mark.parametrize("route", ANYWHERE, ids=named)
def test_what_is_outside_of_workspaces_tells_a_stranger_nothing_of_them(
    api: Api, eve: str, route: Route
) -> None:
    answer = api.call(route.method, filled(api, route, ""), token=eve, content=b"{}")
    assert answer.status_code < 500
    if route.path != "/settings/global/{name}":
        assert "admin@localhost" not in answer.text
        assert MARK not in answer.text.replace(f"'{MARK}'", "")
