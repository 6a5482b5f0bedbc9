"""Locks, for clients that ask for them before they deploy. Nothing is installed here: locks are empty."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import Struct

from mill_actors.api.answers import text_answer
from mill_actors.api.definitions import sent
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.jobs.jsons import encode
from mill_actors.store.dependencies import put_resolved

routes = Routes("jobs")

_RUN: dict[str, Any] = {"returns": str, "status": 201, "form": "text", "action": "run"}


class RawScript(Struct):
    """Code that is not deployed yet."""

    raw_code: str | None = None
    language: str | None = None
    script_path: str | None = None


class ScriptsToLock(Struct):
    """Scripts whose dependencies are asked for."""

    raw_scripts: list[RawScript]
    entrypoint: str | None = None


class FlowToLock(Struct):
    """A flow whose steps' dependencies are asked for."""

    flow_value: dict[str, Any]
    path: str | None = None


@routes.post("/w/{workspace}/jobs/run/dependencies_async", body=ScriptsToLock, **_RUN)
async def lock_scripts(call: Call[NoQuery, ScriptsToLock]) -> web.Response:
    """Start a job whose result is `{"lock": ""}`: what is imported has to be installed where it runs."""
    return await _resolved(call, encode({"lock": ""}))


@routes.post("/w/{workspace}/jobs/run/flow_dependencies_async", body=FlowToLock, **_RUN)
async def lock_flow(call: Call[NoQuery, FlowToLock]) -> web.Response:
    """Start a job whose result has the flow as it is, in `updated_flow_value`: its locks are kept."""
    return await _resolved(call, encode({"updated_flow_value": (await sent(call))["flow_value"]}))


async def _resolved(call: Call[NoQuery, Any], result: bytes) -> web.Response:
    if call.who.is_operator:
        raise Problem(403, "forbidden", "Operators run what is deployed, and nothing else.")
    owner = call.who.owner
    job = await call.services.run(
        lambda c: put_resolved(c, call.workspace, f"{owner}/dependencies", result, owner)
    )
    return text_answer(job, 201)
