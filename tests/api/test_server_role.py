"""`mill server` with the grants of docs/roles.md, and no more."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx
import psycopg
from psycopg.conninfo import make_conninfo

from tests.api.conftest import make_token
from tests.cli.conftest import Mill
from tests.fix_db import Server
from tests.store.test_roles import grants

SCRIPT = {"path": "f/a/b", "content": "def main(): pass", "language": "python3", "summary": ""}


def test_a_server_does_all_of_it_without_the_owners_rights(
    server: Server, template: str, tmp_path: Path
) -> None:
    role = f"mill_server_{os.getpid()}"
    with server.database(template) as dsn, psycopg.connect(dsn, autocommit=True) as owner:
        token = make_token(dsn)
        owner.execute(f"create role {role} login password 'secret'".encode())
        owner.execute(grants("Servers", role).encode())
        try:
            url = make_conninfo(dsn, user=role, password="secret")
            mill = Mill(tmp_path, {"DATABASE_URL": url})
            with mill.running("server", "--json") as api:
                told = json.loads(api.until_out("url"))["url"]
                _use(f"{told}/api", token)
                api.signal(signal.SIGTERM)
                api.end(0)
        finally:
            owner.execute(f"drop owned by {role}".encode())
            owner.execute(f"drop role {role}".encode())


def _use(api: str, token: str) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30.0) as client:

        def ask(method: str, path: str, body: object = None) -> httpx.Response:
            answer = client.request(method, f"{api}{path}", json=body)
            assert answer.is_success, f"{method} {path}: {answer.text}"
            return answer

        w = "/w/default"
        ask("POST", f"{w}/scripts/create", SCRIPT)
        ask("POST", f"{w}/flows/create", {"path": "f/a/flow", "summary": "", "value": {"modules": []}})
        ask("POST", f"{w}/folders/create", {"name": "a"})
        ask(
            "POST",
            f"{w}/variables/create",
            {"path": "f/a/v", "value": "x", "is_secret": True, "description": ""},
        )
        ask("POST", f"{w}/resources/create", {"path": "f/a/r", "value": {"a": 1}, "resource_type": "any"})
        job = ask("POST", f"{w}/jobs/run/p/f/a/b", {}).text
        ask("GET", f"{w}/jobs_u/get/{job}")
        ask("GET", f"{w}/jobs/list")
        ask("POST", f"{w}/jobs_u/queue/cancel/{job}", {})
        ask("GET", f"{w}/jobs_u/completed/get_result_maybe/{job}")
        ask("GET", f"{w}/audit/list")
        ask("POST", "/users/tokens/create", {"label": "another"})
        ask("DELETE", f"{w}/variables/delete/f/a/v")
        ask("POST", f"{w}/scripts/archive/p/f/a/b")
        ask("GET", f"{w}/workspaces/tarball?archive_type=zip")
        ask("GET", "/health")
