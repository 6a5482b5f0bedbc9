"""Scripts and flows by the page, and what each has been."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api, make_token
from tests.api.people import folder, member

KINDS = ("scripts", "flows")


def script(path: str, n: int = 0, **more: Any) -> dict[str, Any]:
    content = f"def main():\n    return {n}\n"
    return {"path": path, "summary": "s", "content": content, "language": "python3", **more}


def flow(path: str, n: int = 0, **more: Any) -> dict[str, Any]:
    step = {"type": "rawscript", "language": "bun", "content": f"export const main = () => {n}"}
    modules = [{"id": "a", "value": {**step, "input_transforms": {}}}]
    return {"path": path, "summary": "s", "value": {"modules": modules}, **more}


def create(api: Api, kind: str, path: str, n: int = 0, **more: Any) -> str:
    make = script if kind == "scripts" else flow
    again = kind == "flows" and api.get(f"flows/exists/{path}").json()
    where = f"flows/update/{path}" if again else f"{kind}/create"
    if kind == "scripts":
        more = {"auto_parent": True, **more}
    answer = api.post(where, json=make(path, n, **more))
    assert answer.is_success, answer.text
    return answer.text


def paths(api: Api, kind: str, token: str | None = None, **params: Any) -> list[str]:
    answer = api.get(f"{kind}/list", params=params, token=token)
    assert answer.status_code == 200, answer.text
    return [each["path"] for each in answer.json()]


@pytest.fixture(scope="module", autouse=True)
def definitions(api: Api) -> None:
    for kind in KINDS:
        create(api, kind, "f/list/one", labels=["billing"], description="long", dedicated_worker=True)
        create(api, kind, "f/list/two", deployment_message="because")
        create(api, kind, "f/list/gone")
        create(api, kind, "f/other/three")
        create(api, kind, "u/admin/four")
    api.post("scripts/archive/p/f/list/gone")
    api.post("flows/archive/f/list/gone", json={"archived": True})


@pytest.mark.parametrize("kind", KINDS)
def test_lists_are_filtered(api: Api, kind: str) -> None:
    everything = ["u/admin/four", "f/other/three", "f/list/two", "f/list/one"]
    assert paths(api, kind) == everything
    assert paths(api, kind, order_desc="false") == everything[::-1]
    assert sorted(api.get(f"{kind}/list_paths").json()) == sorted(everything)
    for params, found in (
        ({"path_start": "f/list/"}, everything[2:]),
        ({"path_exact": "f/list/two"}, ["f/list/two"]),
        ({"created_by": "admin"}, everything),
        ({"created_by": "nobody"}, []),
        ({"label": "billing"}, ["f/list/one"]),
        ({"dedicated_worker": "true"}, ["f/list/one"]),
        ({"show_archived": "true"}, ["f/list/gone"]),
        ({"starred_only": "true"}, []),
        ({"include_draft_only": "true", "whatever": "1"}, everything),
        ({"path_start": "%"}, []),
    ):
        assert paths(api, kind, **params) == found, params


@pytest.mark.parametrize("kind", KINDS)
def test_lists_come_in_pages_and_page_0_is_the_first(api: Api, kind: str) -> None:
    everything = paths(api, kind)
    for page, part in ((0, everything[:3]), (1, everything[:3]), (2, everything[3:]), (3, [])):
        assert paths(api, kind, page=str(page), per_page="3") == part
    for params in ({"page": "-1"}, {"per_page": "0"}, {"page": "9" * 30}, {"page": "x"}, {"order_desc": "?"}):
        answer = api.get(f"{kind}/list", params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


@pytest.mark.parametrize("kind", KINDS)
def test_lists_leave_out_what_is_long(api: Api, kind: str) -> None:
    (row,) = api.get(f"{kind}/list", params={"path_exact": "f/list/one"}).json()
    assert (row["summary"], row["description"], row["labels"]) == ("s", "long", ["billing"])
    assert not {"content", "schema", "lock", "value"} & row.keys()
    params = {"path_exact": "f/list/two", "without_description": "true", "with_deployment_msg": "true"}
    (row,) = api.get(f"{kind}/list", params=params).json()
    assert "description" not in row
    assert row["deployment_msg"] == "because"


def test_scripts_are_filtered_by_what_only_they_have(api: Api) -> None:
    body = script("f/bun/approves", kind="approval", is_template=True, language="bun", auto_parent=True)
    one, two, _ = (api.post("scripts/create", json={**body, "content": f"// {n}"}).text for n in range(3))
    for params in (
        {"languages": "bun"},
        {"kinds": "approval,trigger"},
        {"is_template": "true"},
        {"parent_hash": one},
        {"first_parent_hash": two},
        {"last_parent_hash": one},
    ):
        assert paths(api, "scripts", **params) == ["f/bun/approves"], params
    for params in ({"languages": "go"}, {"first_parent_hash": one}, {"last_parent_hash": two}):
        assert paths(api, "scripts", **params) == [], params
    assert api.post("scripts/delete/p/f/bun/approves").status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_has_each_version_once(api: Api, kind: str) -> None:
    for n, message in ((1, "first"), (2, None), (1, "back")):
        create(api, kind, "f/history/it", n, **({"deployment_message": message} if message else {}))
    told = api.get(f"{kind}/history/p/f/history/it").json()
    assert [each.get("deployment_msg") for each in told] == ["back", None]
    name = "script_hash" if kind == "scripts" else "id"
    assert all(each[name] and each["created_at"] and each["created_by"] == "admin" for each in told)
    assert api.get(f"{kind}/get_latest_version/f/history/it").json() == told[0]
    assert api.get(f"{kind}/get_latest_version/f/history/none").json() is None
    assert api.get(f"{kind}/history/p/f/history/it", params={"page": 2, "per_page": 1}).json() == told[1:]
    assert api.get(f"{kind}/history/p/f/history/none").json() == []
    where = f"h/{told[0][name]}" if kind == "scripts" else "p/f/history/it"
    assert api.get(f"{kind}/deployment_status/{where}").json() == {}
    assert api.get(f"{kind}/deployment_status/{where}0").status_code == 404
    if kind == "scripts":
        api.post("scripts/delete/p/f/history/it")
    else:
        api.delete("flows/delete/f/history/it")


def test_nothing_needs_to_be_uploaded_for_previews(api: Api) -> None:
    body = {"scripts": {"f/list/one": "0" * 64}, "workspace_deps": []}
    assert api.post("scripts/raw_temp/diff", json=body).json() == []
    assert api.post("scripts/raw_temp/store", json="code").json()["code"] == "not_supported"


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_has_what_one_may_read(api: Api, kind: str) -> None:
    who = f"bob-{kind}"
    token = member(api.dsn, who)
    assert paths(api, kind, token) == []
    name = "list" if kind == "scripts" else "other"
    folder(api.dsn, name, **{who: False})
    # What somebody may do is remembered for a moment; who comes anew is looked at anew.
    token = make_token(api.dsn, f"{who}@example.com")
    found = paths(api, kind, token)
    assert found
    assert all(path.startswith(f"f/{name}/") for path in found)
    assert sorted(api.get(f"{kind}/list_paths", token=token).json()) == sorted(found)
    assert api.get(f"{kind}/history/p/u/admin/four", token=token).status_code == 403
