"""Locks over HTTP: jobs that are over as they begin."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api
from tests.api.people import member

FLOW = {"modules": [{"id": "a", "value": {"type": "rawscript", "lock": "x==1", "big": 2**80}}]}


@pytest.mark.parametrize(
    ("path", "body", "result"),
    [
        (
            "dependencies_async",
            {
                "raw_scripts": [{"raw_code": "import x", "language": "python3", "script_path": "f/a/b"}],
                "raw_workspace_dependencies": None,
                "entrypoint": "f/a/b",
                "temp_script_refs": None,
            },
            {"lock": ""},
        ),
        ("flow_dependencies_async", {"flow_value": FLOW, "path": "f/a/b"}, {"updated_flow_value": FLOW}),
    ],
)
def test_a_lock_is_the_result_of_a_job(api: Api, path: str, body: Any, result: Any) -> None:
    # Windmill's command line sends its token as a cookie here.
    answer = api.client.post(
        f"{api.url}/api/w/default/jobs/run/{path}", json=body, headers={"Cookie": f"token={api.token}"}
    )
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/plain; charset=utf-8")
    told = api.get(f"jobs_u/completed/get_result_maybe/{answer.text}").json()
    assert (told["completed"], told["success"], told["result"]) == (True, True, result)
    job = api.get(f"jobs_u/get/{answer.text}").json()
    assert (job["type"], job["success"], job["created_by"]) == ("CompletedJob", True, "admin")


def test_what_is_no_code_is_a_400(api: Api) -> None:
    for body in (b"", b"{}", b'{"raw_scripts": 1}', b'{"raw_scripts": [1]}'):
        assert api.post("jobs/run/dependencies_async", content=body).status_code == 400
    for body in (b"", b"{}", b'{"flow_value": []}', b'{"flow_value": {"x":' + b"[" * 90_000):
        assert api.post("jobs/run/flow_dependencies_async", content=body).status_code == 400
    token = member(api.dsn, "olaf", "operator")
    assert api.post("jobs/run/dependencies_async", json={"raw_scripts": []}, token=token).status_code == 403
