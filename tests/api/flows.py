"""Flows for tests, deployed past the API."""

from __future__ import annotations

from typing import Any

from mill_actors.flows.document import read_flow
from mill_actors.store.connection import Database
from mill_actors.store.flow_versions import make_flow
from tests.api.conftest import Api
from tests.store.floor import eventually


def deploy_flow(api: Api, path: str, *modules: dict[str, Any], summary: str = "") -> None:
    document = read_flow({"summary": summary, "value": {"modules": list(modules)}})
    api.store.deploy_flow(make_flow("default", path, document.value_json, summary=summary))


def code(name: str, content: str, inputs: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A step of Python; `inputs` are expressions."""
    transforms = {key: {"type": "javascript", "expr": expr} for key, expr in (inputs or {}).items()}
    value = {"type": "rawscript", "language": "python3", "content": content, "input_transforms": transforms}
    return {"id": name, "value": value, **more}


def suspended(api: Api, flow: str) -> None:
    """Wait until a flow, or something in it, waits for an answer."""
    with Database(api.dsn).connect() as connection:
        asking = "select 1 from mill.flow_run where root = %s and (state->>0)::int = 4"
        eventually(lambda: connection.execute(asking, (flow,)).fetchone() is not None)
