"""Running code that is not deployed: scripts and flows as they stand in an editor."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Raw, Struct, field

from mill_actors.api.bodies import checked
from mill_actors.api.definitions import LONGEST_PATH, need_steps
from mill_actors.api.job_rights import steerable
from mill_actors.api.problems import Problem
from mill_actors.api.routes.jobs_run import start, wait
from mill_actors.api.routing import Call, Routes
from mill_actors.flows.document import read_flow
from mill_actors.jobs.script import PATH, Script, ScriptOptions, make_script
from mill_actors.runtimes.languages import LANGUAGES
from mill_actors.store.connection import Connection
from mill_actors.store.flow_control import plan_restart
from mill_actors.store.flow_versions import FlowText, make_flow
from mill_actors.store.previews import put_preview
from mill_actors.store.submission import Submission

routes = Routes("jobs")


class PreviewQuery(Struct):
    """How a preview's job is started."""

    #: an id of the caller's choice
    job_id: str | None = None
    #: seconds
    timeout: float | None = None


class Preview(Struct):
    """A script: its `content`, in one of the languages that are run here."""

    content: str | None = None
    language: str | None = None
    #: an object; a factory, for a schema has no raw default
    args: Raw = field(default_factory=lambda: Raw(b"{}"))
    #: what it would be deployed as; it is not looked at for another script
    path: str | None = None
    tag: str | None = None
    kind: str | None = None


class RestartedFrom(Struct):
    """Where a flow begins: at a step of an earlier run."""

    flow_job_id: str
    step_id: str
    branch_or_iteration_n: int | None = None


class FlowPreview(Struct):
    """A flow: its `value`, as it would be deployed."""

    value: Raw
    #: an object; a factory, for a schema has no raw default
    args: Raw = field(default_factory=lambda: Raw(b"{}"))
    path: str | None = None
    tag: str | None = None
    restarted_from: RestartedFrom | None = None


def _path(call: Call[Any, Any], told: str | None) -> str:
    """Return the path a preview runs as; what is no path, or nothing, becomes one of the caller's own."""
    if call.who.is_operator:
        raise Problem(403, "forbidden", "Operators run what is deployed, and nothing else.")
    if told is None or len(told) > LONGEST_PATH or not PATH.fullmatch(told):
        return f"{call.who.owner}/preview"
    call.who.need("run", told)
    return told


def _args(raw: Raw) -> bytes:
    text = bytes(raw)
    return b"{}" if text in {b"", b"null"} else text


async def _script(call: Call[PreviewQuery, Preview]) -> Submission:
    told = call.body
    if told.kind not in {None, "code"}:
        raise Problem(400, "invalid_body", f"Previews of kind {told.kind!r} are not run here.", "$.kind")
    if told.content is None:
        raise Problem(400, "invalid_body", "There is no code.", "$.content")
    if told.language is None or told.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        message = f"Scripts in {told.language!r} are not run here, but in {known}."
        raise Problem(400, "invalid_body", message, "$.language")
    options = ScriptOptions(tag=told.tag or None, arguments="windmill")
    path = _path(call, told.path)
    script = make_script(call.workspace, path, told.language, told.content, options, preview=True)
    return await _submission(call, script, _args(told.args))


async def _flow(call: Call[PreviewQuery, FlowPreview]) -> Submission:
    told = call.body
    path = _path(call, told.path)
    document = read_flow({"summary": "", "value": checked(told.value)}, path)
    flow = make_flow(call.workspace, path, document.value_json, tag=told.tag or None, preview=True)
    await need_steps(call, flow)
    submission = await _submission(call, flow, _args(told.args))
    begin = told.restarted_from
    if begin is None or not begin.flow_job_id:
        return submission

    def plan(connection: Connection) -> Submission:
        # The results of the old run come with it.
        old = steerable(connection, call.who, call.workspace, begin.flow_job_id)
        number = begin.branch_or_iteration_n or 0
        return plan_restart(connection, call.workspace, old.id, begin.step_id, number, now=flow)

    planned = await call.services.run(plan)
    return msgspec.structs.replace(submission, restart=planned.restart)


async def _submission(call: Call[PreviewQuery, Any], what: Script | FlowText, args: bytes) -> Submission:
    await call.services.run(lambda connection: put_preview(connection, what, call.who.owner))
    return Submission(
        workspace=call.workspace,
        path=what.path,
        hash=what.hash,
        kind="script" if isinstance(what, Script) else "flow",
        args=args,
        created_by=call.who.owner,
        id=call.query.job_id or None,
        timeout_seconds=call.query.timeout,
    )


_RUN: dict[str, Any] = {
    "query": PreviewQuery,
    "returns": str,
    "status": 201,
    "form": "text",
    "action": "run",
}
_WAIT: dict[str, Any] = {"query": PreviewQuery, "returns": Raw, "action": "run"}


@routes.post("/w/{workspace}/jobs/run/preview", body=Preview, **_RUN)
async def run_script_preview(call: Call[PreviewQuery, Preview]) -> web.Response:
    """Run a script that is not deployed; answers the job's id."""
    return await start(call, await _script(call))


@routes.post("/w/{workspace}/jobs/run/preview_flow", body=FlowPreview, **_RUN)
async def run_flow_preview(call: Call[PreviewQuery, FlowPreview]) -> web.Response:
    """Run a flow that is not deployed; answers the job's id, or every fault of the flow."""
    return await start(call, await _flow(call))


@routes.post("/w/{workspace}/jobs/run_wait_result/preview", body=Preview, **_WAIT)
async def run_wait_result_preview(call: Call[PreviewQuery, Preview]) -> web.Response:
    """Run a script that is not deployed, and answer its result."""
    return await wait(call, await _script(call))


@routes.post("/w/{workspace}/jobs/run_wait_result/preview_flow", body=FlowPreview, **_WAIT)
async def run_wait_result_preview_flow(call: Call[PreviewQuery, FlowPreview]) -> web.Response:
    """Run a flow that is not deployed, and answer its result."""
    return await wait(call, await _flow(call))


@routes.post("/w/{workspace}/jobs/run_inline/preview", body=Preview, **_WAIT)
async def run_inline_preview(call: Call[PreviewQuery, Preview]) -> web.Response:
    """The same as run_wait_result/preview: here too it is a job, with logs and a result that is kept."""
    return await wait(call, await _script(call))
