"""A workspace as an archive."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from typing import Any

import pytest

from tests.api.conftest import Api, make_token
from tests.api.people import folder, member

#: As Windmill's command line asks.
ASKED = {
    "archive_type": "zip", "plain_secret": "false", "skip_variables": "false", "skip_resources": "false",
    "skip_secrets": "false", "include_schedules": "false", "include_triggers": "false", "include_users": "false",
    "include_groups": "false", "include_settings": "false", "include_key": "false",
    "include_workspace_dependencies": "true", "skip_datatable_migrations": "false", "default_ts": "bun",
    "skip_resource_types": "false", "settings_version": "v2", "preserve_extra_perms": "true",
    "sync_behavior_version": "v1",
}  # fmt: skip
SCRIPT = {
    "path": "f/x/script", "content": "def main(): ...\n", "language": "python3", "summary": "s", "description": "",
    "kind": "script", "lock": "", "schema": {"$schema": "x", "properties": {"b": {}, "a": {}}, "type": "object"},
    "tag": "gpu", "timeout": 5, "labels": [], "some_new_field": {"n": 36893488147419103232},
}  # fmt: skip
FLOW = {
    "path": "f/x/flow", "summary": "", "schema": {"type": "object"}, "new": 1,
    "value": {"modules": [{"id": "a", "value": {"type": "identity"}, "summary": ""}]},
}  # fmt: skip
FOLDER = {"owners": ["u/admin"], "extra_perms": {}, "summary": "", "display_name": "X", "labels": []}
VARIABLE = {"path": "f/x/plain", "value": "v", "is_secret": False, "description": "", "labels": ["l"]}
RESOURCE = {"path": "f/x/res", "value": {"b": 1.0, "a": None}, "resource_type": "any"}
TYPE = {"name": "c_x", "schema": {"z": 1}, "description": "d"}
SCHEDULE = {
    "path": "f/x/nightly", "schedule": "0 0 0 * * *", "timezone": "UTC", "script_path": "f/x/script",
    "is_flow": False, "args": {}, "enabled": True, "summary": "",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def everything(api: Api) -> None:
    created = [
        api.post("folders/create", json={"name": "x", **FOLDER}),
        api.post("scripts/create", content=json.dumps(SCRIPT)),
        api.post("flows/create", json=FLOW),
        api.post("variables/create", json=VARIABLE),
        api.post("variables/create", json={"path": "f/x/secret", "value": "hidden", "is_secret": True}),
        api.post("resources/create", json=RESOURCE),
        api.post("resources/create", json={"path": "f/x/script/user", "value": 1, "resource_type": "state"}),
        api.post("resources/type/create", json=TYPE),
        api.post("schedules/create", json=SCHEDULE),
        api.post("groups/create", json={"name": "crew", "summary": "c"}),
    ]
    assert [answer.status_code for answer in created if not answer.is_success] == []
    api.script("f/x/past", "export function main() {}", "bun")


def export(api: Api, token: str | None = None, **changes: str) -> dict[str, bytes]:
    answer = api.get("workspaces/tarball", token=token, params={**ASKED, **changes})
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def test_what_was_sent_is_in_it_and_nothing_else(api: Api) -> None:
    found = export(api)
    assert {name for name in found if not name.startswith("f/hers/")} == {
        "f/x/folder.meta.json", "f/x/script.py", "f/x/script.script.json", "f/x/flow.flow.json", "f/x/past.ts",
        "f/x/past.script.json", "f/x/plain.variable.json", "f/x/secret.variable.json", "f/x/res.resource.json",
        "c_x.resource-type.json",
    }  # fmt: skip
    told = {name: json.loads(data) for name, data in found.items() if name.endswith(".json")}
    assert found["f/x/script.py"] == b"def main(): ...\n"
    assert told["f/x/script.script.json"] == without(SCRIPT, "path", "content", "language")
    assert list(told["f/x/script.script.json"]["schema"]["properties"]) == ["b", "a"]
    assert told["f/x/past.script.json"] == {"summary": "", "description": "", "kind": "script"}
    assert told["f/x/flow.flow.json"] == without(FLOW, "path")
    assert told["f/x/folder.meta.json"] == FOLDER
    assert told["f/x/plain.variable.json"] == without(VARIABLE, "path")
    assert told["f/x/res.resource.json"] == without(RESOURCE, "path")
    assert told["c_x.resource-type.json"] == without(TYPE, "name")
    assert export(api) == found


def test_a_secret_comes_back_as_it_went(api: Api) -> None:
    sealed = json.loads(export(api)["f/x/secret.variable.json"])
    assert "hidden" not in str(sealed)
    body = {"path": "f/x/copy", **sealed}
    params = {"already_encrypted": "true"}
    assert api.post("variables/create", params=params, json=body).status_code == 201
    assert api.get("variables/get_value/f/x/copy").json() == "hidden"
    api.delete("variables/delete/f/x/copy")
    assert json.loads(export(api, plain_secret="true")["f/x/secret.variable.json"])["value"] == "hidden"
    assert "f/x/secret.variable.json" not in export(api, skip_secrets="true")


def test_parts_are_left_out_and_added(api: Api) -> None:
    assert not [name for name in export(api, skip_variables="true") if ".variable." in name]
    assert not [name for name in export(api, skip_resources="true") if ".resource." in name]
    assert not [name for name in export(api, skip_resource_types="true") if ".resource-type." in name]
    more = export(
        api,
        include_schedules="true",
        include_users="true",
        include_groups="true",
        include_settings="true",
        include_key="true",
        default_ts="deno",
    )
    assert json.loads(more["f/x/nightly.schedule.json"]) == without(SCHEDULE, "path")
    user = {"username": "admin", "role": "admin", "disabled": False}
    assert json.loads(more["users/admin@localhost.user.json"]) == user
    assert json.loads(more["groups/crew.group.json"]) == {"summary": "c", "members": [], "admins": []}
    assert len(bytes.fromhex(json.loads(more["encryption_key.json"]))) == 32
    assert isinstance(json.loads(more["settings.json"]), dict)
    assert "f/x/past.bun.ts" in more


def test_a_tar_has_the_same(api: Api) -> None:
    answer = api.get("workspaces/tarball", params={**ASKED, "archive_type": "tar"})
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        found = {each.name: archive.extractfile(each).read() for each in archive.getmembers()}  # type: ignore[union-attr]
    assert found == export(api)
    answer = api.get("workspaces/tarball", params={"archive_type": "rar"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


def test_somebody_gets_what_he_may_read(api: Api) -> None:
    ada = member(api.dsn, "ada")
    folder(api.dsn, "hers", ada=False)
    api.post("variables/create", json={"path": "f/hers/v", "value": ""})
    assert set(export(api, ada)) == {
        "f/hers/folder.meta.json",
        "f/hers/v.variable.json",
        "c_x.resource-type.json",
    }
    for part in ("include_users", "include_groups", "include_settings", "include_key"):
        assert api.get("workspaces/tarball", token=ada, params={part: "true"}).status_code == 403
    narrow = make_token(api.dsn, scopes=["workspaces:read", "scripts:read", "flows:read", "folders:read"])
    assert api.get("workspaces/tarball", token=narrow).status_code == 403
    skipped = {"skip_variables": "true", "skip_resources": "true", "skip_resource_types": "true"}
    assert api.get("workspaces/tarball", token=narrow, params=skipped).status_code == 200
    reading = make_token(api.dsn, scopes=["*:read"])
    assert api.get("workspaces/tarball", token=reading, params={"include_key": "true"}).status_code == 200


def test_nothing_is_unpacked_elsewhere(api: Api) -> None:
    api.script("f/x/../../../../etc/cron", "def main(): ...")
    assert not [name for name in export(api) if ".." in name.split("/")]
