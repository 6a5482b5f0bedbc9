"""Who did what, and that nobody sees it from another workspace."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.api.conftest import Api, make_token
from tests.api.people import member


@pytest.fixture(scope="module", autouse=True)
def deeds(api: Api) -> None:
    body = {"path": "f/x/v", "value": "s3cret", "is_secret": True}
    assert api.post("variables/create", json=body).is_success
    assert api.post("variables/update/f/x/v", json={"value": "s3cret too"}).is_success
    assert api.get("variables/get_value/f/x/v").is_success
    assert api.post("folders/create", json={"name": "x"}).is_success
    assert api.delete("variables/delete/f/x/v").is_success


def listed(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = api.get("audit/list", params=query)
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()
    return told


def test_deeds_are_listed_newest_first(api: Api) -> None:
    found = [(each["operation"], each["action_kind"]) for each in listed(api, resource="f/x/v")]
    assert found == [
        ("variables.delete", "Delete"),
        ("variables.decrypt_secret", "Execute"),
        ("variables.update", "Updated"),
        ("variables.create", "Created"),
    ]
    assert "s3cret" not in api.get("audit/list").text
    (made,) = listed(api, operation="folders.create", username="admin", action_kind="Create")
    assert (made["resource"], made["parameters"]["owners"]) == ("x", ["u/admin"])
    assert api.get(f"audit/get/{made['id']}").json() == made
    assert listed(api, username="nobody") == []
    page = listed(api, resource="f/x/v", per_page=2, page=2)
    assert [each["operation"] for each in page] == ["variables.update", "variables.create"]
    at = datetime.fromisoformat(made["timestamp"])
    assert made not in listed(api, before=at.isoformat())
    assert made not in listed(api, after=at.isoformat())
    assert made in listed(api)


def test_it_is_for_admins(api: Api) -> None:
    ada = member(api.dsn, "ada")
    assert api.get("audit/list", token=ada).status_code == 403
    assert api.get("audit/get/1", token=ada).status_code == 403
    boss = make_token(api.dsn)
    assert api.post("/workspaces/create", json={"id": "elsewhere", "name": ""}).is_success
    made = listed(api)[0]["id"]
    assert api.get(f"/w/elsewhere/audit/get/{made}", token=boss).status_code == 404


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 19, "9" * 500, "٣"])
def test_an_entry_that_is_not_there(api: Api, number: str) -> None:
    assert api.get(f"audit/get/{number}").status_code == 404


@pytest.mark.parametrize("query", [{"before": "soon"}, {"action_kind": "x"}, {"page": "x"}])
def test_nonsense(api: Api, query: dict[str, str]) -> None:
    assert api.get("audit/list", params=query).status_code == 400


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_at_the_end_of_the_calendar(api: Api, time: str) -> None:
    assert api.get("audit/list", params={"before": time, "after": time}).json() == []


def test_the_last_admin_stays(api: Api) -> None:
    for answer in (
        api.delete("users/delete/admin"),
        api.post("users/update/admin", json={"is_admin": False}),
        api.post("users/update/admin", json={"disabled": True}),
        api.post("workspaces/leave"),
    ):
        assert (answer.status_code, "last admin" in answer.json()["message"]) == (400, True)
    member(api.dsn, "second", "admin")
    assert api.post("users/update/admin", json={"is_admin": False}).is_success
    assert api.post("users/update/admin", json={"is_admin": True}).is_success
