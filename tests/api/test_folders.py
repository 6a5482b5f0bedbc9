"""Folders, groups, rights of single things; resource types and schedules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api, make_token
from tests.api.people import member


@pytest.fixture(scope="module")
def ada(api: Api) -> str:
    return member(api.dsn, "ada")


@pytest.fixture(scope="module")
def bob(api: Api) -> str:
    return member(api.dsn, "bob")


def test_a_folder_is_its_makers_and_whom_it_names(api: Api, ada: str, bob: str) -> None:
    body = {"name": "crew", "summary": "", "display_name": "Crew", "labels": ["x"]}
    assert api.post("folders/create", token=ada, json=body).status_code == 200
    told = api.get("folders/get/crew", token=ada).json()
    assert told | body | {"owners": ["u/ada"], "extra_perms": {}} == told
    assert api.post("folders/create", token=ada, json=body).status_code == 400
    new = {"path": "f/crew/v", "value": "1"}
    assert api.post("variables/create", token=ada, json=new).status_code == 201
    read = "variables/get_value/f/crew/v"
    assert api.get(read, token=bob).status_code == 403
    assert api.get("folders/get/crew", token=bob).status_code == 403
    assert api.post("folders/update/crew", token=bob, json={"owners": ["u/bob"]}).status_code == 403
    assert api.post("folders/update/crew", token=ada, json={"extra_perms": {"u/bob": False}}).is_success
    assert api.get(read, token=bob).json() == "1"  # at once
    write: dict[str, Any] = {"json": {"value": "2"}}
    assert api.post("variables/update/f/crew/v", token=bob, **write).status_code == 403
    assert api.post("acls/add/folder/crew", token=ada, json={"owner": "u/bob", "write": True}).is_success
    assert api.post("variables/update/f/crew/v", token=bob, **write).is_success
    assert api.get("acls/get/folder/crew", token=bob).json() == {"u/bob": True}
    assert api.post("acls/add/folder/crew", token=bob, json={"owner": "u/bob"}).status_code == 403
    assert "crew" in api.get("folders/listnames", token=bob).json()
    assert api.post("acls/remove/folder/crew", token=ada, json={"owner": "u/bob"}).is_success
    assert api.get(read, token=bob).status_code == 403
    assert "crew" not in api.get("folders/listnames", token=bob).json()
    assert api.post("folders/addowner/crew", token=ada, json={"owner": "u/bob"}).is_success
    assert api.post("folders/removeowner/crew", token=bob, json={"owner": "u/ada"}).is_success
    assert api.get(read, token=ada).status_code == 403
    assert api.delete("folders/delete/crew", token=ada).status_code == 403
    assert api.delete("folders/delete/crew", token=bob).is_success
    assert api.get(read, token=bob).status_code == 403
    assert api.get("folders/exists/crew").json() is False
    assert api.get("folders/get/crew").status_code == 404


def test_nobody_makes_a_folder_over_what_is_there(api: Api, ada: str) -> None:
    api.script("f/prod/bill")
    assert api.post("folders/create", token=ada, json={"name": "prod"}).status_code == 403
    assert api.post("folders/create", json={"name": "prod", "owners": [], "extra_perms": {}}).is_success
    told = api.get("folders/get/prod").json()
    assert (told["owners"], told["extra_perms"]) == ([], {})
    assert "prod" in {each["name"] for each in api.get("folders/list").json()}
    assert "prod" not in {each["name"] for each in api.get("folders/list", token=ada).json()}


def test_a_group_may_what_its_folder_says(api: Api, ada: str, bob: str) -> None:
    assert api.post("groups/create", token=ada, json={"name": "ops"}).status_code == 403
    assert api.post("groups/create", json={"name": "ops", "summary": "s"}).is_success
    api.post("folders/create", json={"name": "opsdir", "owners": ["g/ops"]})
    api.post("variables/create", json={"path": "f/opsdir/v", "value": "1"})
    read = "variables/get_value/f/opsdir/v"
    assert api.get(read, token=ada).status_code == 403
    assert api.post("groups/adduser/ops", json={"username": "ada"}).is_success
    assert api.get(read, token=ada).is_success
    assert api.post("groups/adduser/ops", token=ada, json={"username": "bob"}).status_code == 403
    assert api.post("acls/add/group_/ops", json={"owner": "u/ada", "write": True}).is_success
    assert api.post("groups/adduser/ops", token=ada, json={"username": "bob"}).is_success
    assert api.post("groups/adduser/ops", token=ada, json={"username": "nobody"}).status_code == 404
    assert api.post("groups/update/ops", token=ada, json={"summary": "new"}).is_success
    told = api.get("groups/get/ops", token=bob).json()
    expected = {"name": "ops", "summary": "new", "members": ["ada", "bob"], "extra_perms": {"u/ada": True}}
    assert told | expected == told
    assert api.post("groups/removeuser/ops", token=ada, json={"username": "bob"}).is_success
    assert api.get(read, token=bob).status_code == 403
    listed = {each["name"]: each for each in api.get("groups/list").json()}
    assert {"ada", "admin", "bob"} <= set(listed["all"]["members"])
    assert api.get("groups/get/all").json()["name"] == "all"
    assert api.get("groups/listnames").json()[:1] == ["all"]
    assert api.post("groups/create", json={"name": "all"}).status_code == 400
    assert api.delete("groups/delete/ops", token=bob).status_code == 403
    assert api.delete("groups/delete/ops", token=ada).is_success
    assert api.get(read, token=ada).status_code == 403
    # Whoever makes a group of that name has nothing of the old one's.
    api.post("groups/create", json={"name": "ops"})
    api.post("groups/adduser/ops", json={"username": "ada"})
    assert api.get(read, token=ada).status_code == 403


def test_a_single_thing_may_have_rights_of_its_own(api: Api, ada: str, bob: str) -> None:
    api.post("variables/create", token=ada, json={"path": "u/ada/s", "value": "hidden", "is_secret": True})
    api.post("resources/create", token=ada, json={"path": "u/ada/r", "value": "$var:u/ada/s"})
    assert api.get("variables/get_value/u/ada/s", token=bob).status_code == 403
    add = {"owner": "u/bob", "write": False}
    assert api.post("acls/add/variable/u/ada/s", token=bob, json=add).status_code == 403
    assert api.post("acls/add/variable/u/ada/s", token=ada, json=add).is_success
    assert api.get("variables/get_value/u/ada/s", token=bob).json() == "hidden"
    assert api.post("variables/update/u/ada/s", token=bob, json={"value": "x"}).status_code == 403
    assert "u/ada/s" in {each["path"] for each in api.get("variables/list", token=bob).json()}
    everybody = {"owner": "g/all", "write": True}
    assert api.post("acls/add/resource/u/ada/r", token=ada, json=everybody).is_success
    assert api.get("resources/get_value_interpolated/u/ada/r", token=bob).json() == "hidden"
    assert api.post("resources/update_value/u/ada/r", token=bob, json={"value": 1}).is_success
    assert "u/ada/r" in {each["path"] for each in api.get("resources/list", token=bob).json()}
    assert api.get("acls/get/resource/u/ada/r", token=ada).json() == {"g/all": True}
    assert api.post("acls/remove/variable/u/ada/s", token=ada, json={"owner": "u/bob"}).is_success
    assert api.get("variables/get_value/u/ada/s", token=bob).status_code == 403
    assert api.get("variables/get_value/u/ada/s", token=ada).json() == "hidden"
    for kind in ("script", "flow", "app", "nonsense"):
        answer = api.post(f"acls/add/{kind}/u/ada/s", token=ada, json=add)
        assert (answer.status_code, answer.json()["code"]) == (400, "refused")
    assert api.get("acls/get/script/f/none/s", token=ada).status_code == 403
    assert api.get("acls/get/variable/u/ada/none", token=ada).status_code == 404
    assert api.get("acls/get/variable/u/admin/none", token=ada).status_code == 403


def test_whoever_is_gone_leaves_no_rights(api: Api) -> None:
    token = member(api.dsn, "carl")
    api.post("folders/create", json={"name": "carls", "owners": ["u/carl"], "extra_perms": {"u/carl": True}})
    assert api.get("folders/get/carls", token=token).is_success
    api.delete("users/delete/carl")
    told = api.get("folders/get/carls").json()
    assert (told["owners"], told["extra_perms"]) == ([], {})


def test_resource_types(api: Api, ada: str) -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {"default": 36893488147419103232}}}
    body = {"name": "c_ini", "schema": schema, "description": "", "format_extension": "ini"}
    assert api.post("resources/type/create", token=ada, json=body).status_code == 201
    assert api.post("resources/type/create", token=ada, json=body).status_code == 400
    told = api.get("resources/type/get/c_ini").json()
    assert told | body == told
    assert list(told["schema"]["properties"]) == ["b", "a"]
    assert api.get("resources/type/exists/c_ini").json() is True
    assert api.get("resources/type/listnames").json() == ["c_ini"]
    assert [each["name"] for each in api.get("resources/type/list").json()] == ["c_ini"]
    expected = {"c_ini": {"format_extension": "ini"}}
    assert api.get("resources/file_resource_type_to_file_ext_map").json() == expected
    update = {"format_extension": None, "description": "d"}
    assert api.post("resources/type/update/c_ini", json=update).is_success
    told = api.get("resources/type/get/c_ini").json()
    assert (told["description"], "format_extension" in told, told["schema"]) == ("d", False, schema)
    assert api.delete("resources/type/delete/c_ini").is_success
    assert api.delete("resources/type/delete/c_ini").status_code == 404
    assert api.get("resources/type/get/c_ini").status_code == 404
    assert api.post("resources/type/create", json={"name": "a/b"}).status_code == 400


SCHEDULE = {
    "path": "f/sched/nightly", "schedule": "0 0 */6 * * *", "timezone": "Europe/Zurich", "enabled": True,
    "script_path": "f/sched/job", "is_flow": False, "args": {"n": 1.0, "deep": {"z": 1, "a": None}},
    "summary": "", "no_flow_overlap": False, "some_new_field": [1],
}  # fmt: skip


def test_a_schedule_is_kept_as_it_was_sent(api: Api, ada: str) -> None:
    assert api.post("schedules/create", token=ada, json=SCHEDULE).status_code == 403
    assert api.post("schedules/create", json={**SCHEDULE, "tag": None}).status_code == 200
    assert api.post("schedules/create", json=SCHEDULE).status_code == 400
    told = api.get("schedules/get/f/sched/nightly").json()
    assert told | SCHEDULE == told
    assert (told["email"], told["permissioned_as"], "tag" in told) == ("admin@localhost", "u/admin", False)
    update = {
        key: value for key, value in SCHEDULE.items() if key not in {"path", "summary", "some_new_field"}
    }
    update |= {"schedule": "0 0 12 * * MON-FRI", "enabled": False}
    assert api.post("schedules/update/f/sched/nightly", json=update).status_code == 200
    told = api.get("schedules/get/f/sched/nightly").json()
    assert told | {**update, "enabled": True} == told
    assert "summary" not in told
    assert api.post("schedules/setenabled/f/sched/nightly", json={"enabled": False}).is_success
    assert api.get("schedules/get/f/sched/nightly").json()["enabled"] is False
    assert api.get("schedules/get/f/sched/nightly", token=ada).status_code == 403
    assert api.get("schedules/list", token=ada).json() == []
    for query in (
        "",
        "?path=f/sched/job",
        "?is_flow=false&path_start=f/sched",
        "?schedule_path=f/sched/nightly",
    ):
        assert [each["path"] for each in api.get(f"schedules/list{query}").json()] == ["f/sched/nightly"]
    for query in ("?path=f/x/y", "?is_flow=true", "?path_start=f/x", "?page=2&per_page=1"):
        assert api.get(f"schedules/list{query}").json() == []
    assert api.get("schedules/exists/f/sched/nightly").json() is True
    assert api.delete("schedules/delete/f/sched/nightly").is_success
    assert api.get("schedules/exists/f/sched/nightly").json() is False
    assert api.post("schedules/setenabled/f/sched/nightly", json={"enabled": True}).status_code == 404


def test_a_token_schedules_only_what_it_may_run(api: Api) -> None:
    narrow = make_token(api.dsn, scopes=["schedules:write:f/sched/*", "schedules:write"])
    assert api.post("schedules/create", token=narrow, json=SCHEDULE).status_code == 403


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *[
            ("schedules/create", {**SCHEDULE, "schedule": cron})
            for cron in ("", "* * * * *", "* * * * * * *", "60 * * * * *", "0 0 0 32 * *", "0 */0 * * * *",
                         "0 0 0 * FOO *", "0 5-1 * * * *", "0 0 0 * * 8", "0 1,,2 * * * *", "0 ٣ * * * *")
        ],
        *[
            ("schedules/create", {**SCHEDULE, "timezone": zone})
            for zone in ("", "Mars/Base", "../../etc/passwd", "/etc/localtime", "\0", "x" * 5000)
        ],
        ("schedules/create", {**SCHEDULE, "path": "nightly"}),
        ("schedules/create", {**SCHEDULE, "args": [1]}),
        ("schedules/setenabled/f/a/b", {}),
        ("folders/create", {"name": "a/b"}),
        ("folders/create", {"name": ""}),
        ("folders/create", {"name": "x", "owners": ["ada"]}),
        ("folders/create", {"name": "x", "extra_perms": {"nobody": True}}),
        ("folders/create", {"name": "x", "extra_perms": {"u/a": "yes"}}),
        ("folders/create", {"name": "x", "summary": "\0"}),
        ("groups/create", {"name": "a b"}),
        ("groups/create", {"name": "x", "summary": "\0"}),
        ("acls/add/folder/x", {"owner": "ada"}),
        ("acls/add/group_/x", {"owner": "u/ada", "write": False}),
    ],
)  # fmt: skip
def test_nonsense_is_a_400_in_the_one_shape(api: Api, path: str, body: Any) -> None:
    answer = api.post(path, json=body)
    assert (answer.status_code, answer.json()["status"]) == (400, 400), answer.text
    assert answer.json()["code"]
