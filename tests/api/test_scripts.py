"""Scripts over HTTP: deployed, read back as they were sent, out of use, deleted."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from mill_actors.store.connection import Database
from tests.api.conftest import Api, make_token

CODE = "def main(x: int = 1):\n    return x + {n}\n"
#: What Windmill's command line sends.
SENT: dict[str, Any] = {
    "summary": "Adds",
    "description": "",
    "schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "order": ["x"],
        "properties": {"x": {"type": "integer", "default": 1, "description": ""}},
        "required": [],
    },
    "kind": "script",
    "lock": "",
    "timeout": 30,
    "priority": 2,
    "concurrent_limit": 3,
    "concurrency_time_window_s": 5,
    "labels": ["billing"],
    "skip_draft_deletion": True,
    "something": {"nobody": ["has", 36893488147419103232, "heard of"]},
}


def new(path: str, n: int = 0, **more: Any) -> dict[str, Any]:
    return {"path": path, "content": CODE.format(n=n), "language": "python3", "summary": "", **more}


def create(api: Api, body: dict[str, Any], **options: Any) -> httpx.Response:
    return api.post("scripts/create", json=body, **options)


@pytest.fixture(scope="module")
def ann(api: Api) -> str:
    """A developer who owns a folder of her own, and may read another."""
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.account (email) values ('ann@x'), ('olaf@x')")
        connection.execute(
            "insert into mill.member (workspace, username, email, role) values"
            " ('default', 'ann', 'ann@x', 'developer'), ('default', 'olaf', 'olaf@x', 'operator')"
        )
        connection.execute(
            "insert into mill.folder (workspace, name, owners, extra_perms, created_by) values"
            " ('default', 'anns', '{u/ann}', '{}', 'u/admin'),"
            " ('default', 'shown', '{}', '{\"u/ann\": false}', 'u/admin')"
        )
    return make_token(api.dsn, "ann@x")


def test_a_script_runs_and_comes_back_as_it_was_sent(api: Api) -> None:
    answer = create(api, new("f/a/sent", **SENT))
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/plain; charset=utf-8")
    told = api.get("scripts/get/p/f/a/sent").json()
    assert told["hash"] == answer.text
    assert {name: told.get(name) for name in SENT if name != "skip_draft_deletion"} == {
        name: value for name, value in SENT.items() if name != "skip_draft_deletion"
    }
    assert (told["content"], told["language"], told["path"]) == (CODE.format(n=0), "python3", "f/a/sent")
    assert (told["created_by"], told["archived"], told["workspace_id"]) == ("admin", False, "default")
    assert told["ws_error_handler_muted"] is False
    assert "envs" not in told
    assert api.post("jobs/run_wait_result/p/f/a/sent", json={"x": 2}).json() == 2
    assert api.get(f"scripts/get/h/{answer.text}").json() == told
    assert api.get("scripts/exists/p/f/a/sent").json() is True
    assert api.get("scripts/exists/p/f/a/absent").json() is False
    assert api.get("scripts/get/p/f/a/absent").status_code == 404


@pytest.mark.parametrize("sent", [{}, {"schema": None}, {"schema": {}}])
def test_without_a_schema_the_signature_is_it(api: Api, sent: dict[str, Any]) -> None:
    digest = create(api, new("f/a/inferred", auto_parent=True, **sent)).text
    for path in ("p/f/a/inferred", f"h/{digest}"):
        schema = api.get(f"scripts/get/{path}").json()["schema"]
        assert schema["properties"] == {"x": {"description": "", "type": "integer", "default": 1}}
        assert (schema["order"], schema["required"]) == (["x"], [])
    for code, language in (("x = 1", "python3"), ("def main(:", "python3"), ("", "bun")):
        body = {"path": "f/a/unread", "content": code, "language": language, "auto_parent": True}
        create(api, body)
        assert "schema" not in api.get("scripts/get/p/f/a/unread").json()


def test_its_jobs_run_by_what_it_says(api: Api) -> None:
    create(api, new("f/a/says", **SENT | {"tag": "gpu", "timeout": 0.0, "concurrent_limit": 0}))
    script = api.store.script("f/a/says")
    assert (script.tag, script.options.priority, script.options.timeout_seconds) == ("gpu", 2, None)
    assert (script.options.concurrency_limit, script.options.concurrency_window_s) == (None, 5.0)
    create(api, new("f/a/pinned", dedicated_worker=True, retry={"constant": {"attempts": 2, "seconds": 1}}))
    script = api.store.script("f/a/pinned")
    assert script.tag == "default:f/a/pinned"
    assert script.options.retry.constant.attempts == 2


def test_the_same_again_is_the_same_version(api: Api) -> None:
    first = create(api, new("f/a/same", **SENT)).text
    for _ in range(2):
        again = create(api, new("f/a/same", **SENT), params={"skip_if_noop": "true"})
        assert (again.status_code, again.text) == (201, first)
    for changed in ({"summary": "Other"}, {"something": 1}, {"timeout": 31}):
        body = new("f/a/same", **SENT | changed)
        answer = create(api, {**body, "parent_hash": first, "auto_parent": True})
        assert answer.text != first
    assert len(api.get("scripts/get/p/f/a/same").json()["parent_hashes"]) == 3


def test_a_version_follows_the_one_that_it_replaces(api: Api) -> None:
    one = create(api, new("f/a/lineage", 1)).text
    refused = create(api, new("f/a/lineage", 2))
    assert (refused.status_code, refused.json()["found"]) == (400, one)
    two = create(api, new("f/a/lineage", 2, parent_hash=one)).text
    assert create(api, new("f/a/lineage", 3, parent_hash=one)).status_code == 400
    assert create(api, new("f/a/lineage", 3, parent_hash="0" * 16)).status_code == 400
    three = create(api, new("f/a/lineage", 3, auto_parent=True)).text
    assert create(api, new("f/a/lineage", 1, parent_hash=three)).text == one
    told = api.get("scripts/get/p/f/a/lineage").json()
    assert (told["hash"], told["parent_hashes"]) == (one, [three, two, one])
    assert api.get(f"scripts/get/h/{two}").json()["archived"] is True


def test_a_parent_at_another_path_is_renamed(api: Api) -> None:
    old = create(api, new("f/a/before")).text
    taken = create(api, new("f/a/taken")).text
    assert create(api, new("f/a/taken", 1, parent_hash=old)).status_code == 400
    assert api.get("scripts/exists/p/f/a/before").json() is True
    fresh = create(api, new("f/a/after", parent_hash=old)).text
    assert api.get("scripts/get/p/f/a/before").status_code == 404
    told = api.get("scripts/get/p/f/a/after").json()
    assert (told["hash"], told["parent_hashes"]) == (fresh, [old])
    assert api.get("scripts/get/p/f/a/taken").json()["hash"] == taken
    assert api.get(f"scripts/get/h/{old}").json()["path"] == "f/a/after"


def test_an_archived_script_is_there_and_does_not_run(api: Api) -> None:
    digest = create(api, new("f/a/archived")).text
    assert api.post("scripts/archive/p/f/a/archived").status_code == 200
    assert api.post("scripts/archive/p/f/a/archived").status_code == 200
    assert api.post("scripts/archive/p/f/a/never").status_code == 404
    told = api.get("scripts/get/p/f/a/archived").json()
    assert (told["hash"], told["archived"]) == (digest, True)
    assert api.get("scripts/exists/p/f/a/archived").json() is False
    assert api.post("jobs/run/p/f/a/archived").status_code == 404
    assert create(api, new("f/a/archived", parent_hash=digest, auto_parent=True)).text == digest
    assert api.post("jobs/run_wait_result/p/f/a/archived").json() == 1
    assert api.post(f"scripts/archive/h/{digest}").status_code == 200
    assert api.get("scripts/exists/p/f/a/archived").json() is False


def test_a_deleted_script_leaves_nothing(api: Api) -> None:
    one = create(api, new("f/a/deleted", 1)).text
    two = create(api, new("f/a/deleted", 2, parent_hash=one)).text
    assert api.post(f"scripts/delete/h/{one}").status_code == 200
    assert api.get(f"scripts/get/h/{one}").status_code == 404
    assert api.get("scripts/get/p/f/a/deleted").json()["hash"] == two
    assert api.post("scripts/delete/p/f/a/deleted").status_code == 200
    assert api.post("scripts/delete/p/f/a/deleted").status_code == 404
    for path in ("get/p/f/a/deleted", f"get/h/{two}"):
        assert api.get(f"scripts/{path}").status_code == 404
    assert api.post(f"jobs/run/h/{two}").status_code == 404
    with Database(api.dsn).connect() as connection:
        row = connection.execute("select count(*) from mill.script where path = 'f/a/deleted'").fetchone()
    assert row == (0,)
    assert create(api, new("f/a/deleted", 1)).text == one


def test_a_script_deployed_from_files_is_told_by_windmills_names(api: Api) -> None:
    from mill_actors.jobs.script import ScriptOptions

    api.script("f/a/files", options=ScriptOptions(timeout_seconds=2.0, dedicated=True))
    told = api.get("scripts/get/p/f/a/files").json()
    assert (told["timeout"], told["dedicated_worker"], told["summary"]) == (2, True, "")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"path": "nowhere"}, "$.path"),
        ({"path": "f/a/" + "x" * 255}, "$.path"),
        ({"path": "f/a/b\n"}, "$.path"),
        ({"path": 1}, "$.path"),
        ({"language": "cobol"}, "$.language"),
        ({"kind": "other"}, "$.kind"),
        ({"timeout": -1}, "$.timeout"),
        ({"timeout": 1e300}, "$.timeout"),
        ({"priority": 101}, "$.priority"),
        ({"concurrent_limit": 10**30}, "$.concurrent_limit"),
        ({"labels": [1]}, "$.labels[0]"),
        ({"schema": [1]}, "$.schema"),
        ({"retry": {"constant": {"attempts": "many"}}}, "$.retry.constant.attempts"),
        ({"content": "\0"}, None),
        ({"content": "\ud800"}, None),
        ({"content": None}, "$.content"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is(api: Api, change: dict[str, Any], where: str | None) -> None:
    import json

    answer = api.post("scripts/create", content=json.dumps({**new("f/a/refused"), **change}))
    assert (answer.status_code, answer.json().get("path")) == (400, where), answer.text
    assert api.get("scripts/exists/p/f/a/refused").json() is False


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"x"', b"{", b'{"path": "f/a/x"}', b"[" * 100_000, b"\xff"]
)
def test_a_body_that_is_no_script_is_a_400(api: Api, body: bytes) -> None:
    assert api.post("scripts/create", content=body).status_code == 400


def test_deep_and_odd_values_are_kept_or_refused(api: Api) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert create(api, new("f/a/odd", schema={"x": deep})).status_code == 400
    kept = {"x": "\0", "y": 1.0, "z": -(10**40), "é": None}
    assert create(api, new("f/a/odd", odd=kept, summary="\0")).status_code == 201
    told = api.get("scripts/get/p/f/a/odd").json()
    assert (told["odd"], told["summary"]) == (kept, "\0")
    text = b'{"path":"f/a/half","content":"","language":"python3","labels":["\\ud800"],"deployment_message":"\\u0000"}'
    assert api.post("scripts/create", content=text).status_code in {201, 400}


def test_who_may_write(api: Api, ann: str) -> None:
    for path in ("u/ann/mine", "f/anns/mine"):
        digest = create(api, new(path), token=ann).text
        assert api.get(f"scripts/get/h/{digest}", token=ann).json()["created_by"] == "ann"
    admins = create(api, new("f/shown/admins")).text
    hidden = create(api, new("f/hidden/admins")).text
    assert api.get("scripts/get/p/f/shown/admins", token=ann).status_code == 200
    for call in (
        create(api, new("f/shown/mine"), token=ann),
        create(api, new("f/shown/admins", 1, auto_parent=True), token=ann),
        create(api, new("f/anns/stolen", parent_hash=admins), token=ann),
        api.post("scripts/archive/p/f/shown/admins", token=ann),
        api.post(f"scripts/archive/h/{admins}", token=ann),
        api.post("scripts/delete/p/f/shown/admins", token=ann),
        api.post(f"scripts/delete/h/{admins}", token=ann),
        api.get("scripts/get/p/f/hidden/admins", token=ann),
        api.get(f"scripts/get/h/{hidden}", token=ann),
        create(api, new("u/olaf/mine"), token=make_token(api.dsn, "olaf@x")),
    ):
        assert (call.status_code, call.json()["code"]) == (403, "forbidden"), call.text
    scoped = make_token(api.dsn, scopes=["scripts:read"])
    assert create(api, new("f/a/scoped"), token=scoped).status_code == 403
    assert api.get("scripts/get/p/f/shown/admins", token=scoped).status_code == 200


def test_a_workspace_sees_its_own(api: Api) -> None:
    create(api, new("f/a/ours"))
    with Database(api.dsn).connect() as connection:
        connection.execute("insert into mill.workspace (id) values ('other')")
        connection.execute(
            "insert into mill.member (workspace, username, email, role)"
            " values ('other', 'admin', 'admin@localhost', 'admin')"
        )
    theirs = make_token(api.dsn, workspace="other")
    assert api.get("scripts/get/p/f/a/ours", token=theirs).status_code == 403
    assert api.get("/w/other/scripts/get/p/f/a/ours", token=theirs).status_code == 404
    assert api.post("/w/nowhere/scripts/create", json=new("f/a/x")).status_code in {400, 403, 404}


def test_changes_are_in_the_audit_log(api: Api) -> None:
    digest = create(api, new("f/a/audited")).text
    api.post("scripts/archive/p/f/a/audited")
    api.post("scripts/delete/p/f/a/audited")
    with Database(api.dsn).connect() as connection:
        rows = connection.execute(
            "select username, operation, action, parameters from mill.audit"
            " where resource = 'f/a/audited' order by id"
        ).fetchall()
    assert rows == [
        ("admin", "scripts.create", "create", {"hash": digest}),
        ("admin", "scripts.archive", "archive", None),
        ("admin", "scripts.delete", "delete", None),
    ]
