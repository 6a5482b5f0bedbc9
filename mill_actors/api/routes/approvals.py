"""Answering what flows ask: by signed links, or as somebody who may run them."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Raw, Struct

from mill_actors.api.answering import (
    Link,
    answer,
    check_link,
    link_of_token,
    make_link,
    must_be_allowed,
    refusal,
    resume_id_of,
)
from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.arguments import from_base64
from mill_actors.api.job_models import CompletedJob, QueuedJob
from mill_actors.api.job_rights import checked_id, may_steer, steerable
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.api.whole_job import whole_job
from mill_actors.errors import MillError
from mill_actors.jobs.jsons import decode
from mill_actors.store.approvals import Asked, answers, conditions, flow_summary, form_of, step_said
from mill_actors.store.connection import Connection
from mill_actors.store.flow_control import answered_flow, asked_run, resume_flow
from mill_actors.store.job_control import job_head
from mill_actors.store.job_reading import job_view

routes = Routes("jobs")


class UrlQuery(Struct):
    """For whom a link is made, and whether for the flow instead of the step."""

    approver: str | None = None
    flow_level: bool = False


class AnswerQuery(Struct):
    """What comes with an answer."""

    approver: str | None = None
    #: of a GET: base64 of the JSON that the next step is told
    payload: str | None = None


class TokenQuery(Struct):
    """The word of the approval page's address."""

    token: str | None = None


class ResumeUrls(Struct):
    """Where an approval is given: the page for people, and what approves or refuses at once."""

    approvalPage: str  # noqa: N815  Windmill's name
    resume: str
    cancel: str


class Approver(Struct):
    """Who has approved; "" if nobody said."""

    resume_id: int
    approver: str


class SuspendedFlow(Struct):
    """What a link is about."""

    job: QueuedJob | CompletedJob
    approvers: list[Approver]


class ApprovalInfo(JsonAnswer):
    """What is asked, and who may answer."""

    flow_id: str
    can_approve: bool
    user_auth_required: bool
    skin: str
    approvers: list[Approver]
    approval_conditions: Any = None
    form_schema: Any = None
    description: Any = None
    hide_cancel: bool | None = None
    step_summary: str | None = None
    flow_summary: str | None = None


class Suspended(Struct):
    """An answer to a flow that waits."""

    payload: Raw = msgspec.field(default_factory=Raw)
    approval_token: str | None = None
    approved: bool = True


@routes.get(
    "/w/{workspace}/jobs/resume_urls/{id}/{resume_id}", query=UrlQuery, returns=ResumeUrls, action="run"
)
async def get_resume_urls(call: Call[UrlQuery, None]) -> web.Response:
    """The links that answer for a job of a flow, once; whoever has them needs no token.

    `flow_level`: for the flow that the job is a step of, whichever of its steps asks.
    """
    number = resume_id_of(call.names["resume_id"])

    def work(connection: Connection) -> ResumeUrls:
        job, flow = _signed_job(connection, call)
        link = make_link(connection, call.workspace, job, number, call.query.approver or "")
        base = call.services.base_url
        return ResumeUrls(link.page(base, flow), link.url(base, "resume"), link.url(base, "cancel"))

    return json_answer(await call.services.run(work))


def _signed_job(connection: Connection, call: Call[UrlQuery, None]) -> tuple[str, str]:
    """Return the job that a link is for, and the flow's."""
    job = checked_id(call.id)
    if call.who.job == job and not call.query.flow_level:
        # A step of a flow that one worker holds whole has no row to be looked up.
        try:
            head = job_head(connection, call.workspace, job)
        except MillError:
            return job, job
    else:
        head = steerable(connection, call.who, call.workspace, job)
    flow = head.flow
    if flow is None:
        raise Problem(400, "refused", f"Job {job} is no flow, and no step of one: it asks for no approval.")
    return flow if call.query.flow_level else head.id, flow


@routes.get(
    "/w/{workspace}/jobs/job_signature/{id}/{resume_id}",
    query=UrlQuery,
    returns=str,
    form="text",
    action="run",
)
async def create_job_signature(call: Call[UrlQuery, None]) -> web.Response:
    """The signature alone of the links that answer for a job."""
    number = resume_id_of(call.names["resume_id"])

    def work(connection: Connection) -> str:
        job, _ = _signed_job(connection, call)
        return make_link(connection, call.workspace, job, number, call.query.approver or "").signature

    return text_answer(await call.services.run(work))


# ---------------------------------------------------------------- by link

_LINK: dict[str, Any] = {
    "query": AnswerQuery,
    "status": 201,
    "form": "none",
    "is_public": True,
    "looks_at_token": True,
    "action": "run",
}


def _link(call: Call[AnswerQuery, Any]) -> Link:
    return Link(
        call.workspace,
        checked_id(call.id),
        resume_id_of(call.names["resume_id"]),
        call.query.approver or "",
        call.names["signature"],
    )


async def _answer(call: Call[AnswerQuery, Any], *, approved: bool) -> web.Response:
    link = _link(call)
    text = call.body or b""
    if call.query.payload:
        text = from_base64(call.query.payload)
    value = _json(text)
    await call.services.run(lambda c: answer(c, link, call.who, value, approved=approved))
    return web.Response(status=201)


def _json(text: bytes) -> Any:
    try:
        return decode(text.strip() or b"null")
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid_body", f"The body is not JSON: {error}") from None


@routes.post("/w/{workspace}/jobs_u/resume/{id}/{resume_id}/{signature}", body=bytes, **_LINK)
async def resume_suspended_job(call: Call[AnswerQuery, bytes]) -> web.Response:
    """Approve; the body is any JSON, and what the next step sees as `resume`."""
    return await _answer(call, approved=True)


@routes.get("/w/{workspace}/jobs_u/resume/{id}/{resume_id}/{signature}", **_LINK)
async def resume_suspended_job_get(call: Call[AnswerQuery, None]) -> web.Response:
    """Approve by GET."""
    return await _answer(call, approved=True)


@routes.post("/w/{workspace}/jobs_u/cancel/{id}/{resume_id}/{signature}", body=bytes, **_LINK)
async def cancel_suspended_job(call: Call[AnswerQuery, bytes]) -> web.Response:
    """Refuse."""
    return await _answer(call, approved=False)


@routes.get("/w/{workspace}/jobs_u/cancel/{id}/{resume_id}/{signature}", **_LINK)
async def cancel_suspended_job_get(call: Call[AnswerQuery, None]) -> web.Response:
    """Refuse by GET."""
    return await _answer(call, approved=False)


@routes.get(
    "/w/{workspace}/jobs_u/get_flow/{id}/{resume_id}/{signature}",
    query=AnswerQuery,
    returns=SuspendedFlow,
    is_public=True,
)
async def get_suspended_job_flow(call: Call[AnswerQuery, None]) -> web.Response:
    """The flow that a link is about, and who has approved."""
    link = _link(call)

    def work(connection: Connection) -> SuspendedFlow:
        check_link(connection, link)
        head = job_head(connection, link.workspace, link.job)
        flow = head.flow or head.id
        found = job_view(connection, link.workspace, flow)
        given = answers(connection, flow)
        return SuspendedFlow(
            whole_job(connection, link.workspace, found, logs=False, code=True),
            [Approver(each.resume_id, each.approver) for each in given if each.approved],
        )

    return json_answer(await call.services.run(work))


# ---------------------------------------------------------------- by the flow


def _of_flow(link: Link, connection: Connection, flow: str) -> None:
    """Check a link, and that it is one of this flow's."""
    check_link(connection, link)
    head = job_head(connection, link.workspace, link.job)
    if flow not in {head.id, head.flow, head.root_job}:
        raise Problem(403, "forbidden", "The token is for another flow.")


@routes.get(
    "/w/{workspace}/jobs_u/flow/approval_info/{id}",
    query=TokenQuery,
    returns=ApprovalInfo,
    is_public=True,
    looks_at_token=True,
)
async def get_approval_info(call: Call[TokenQuery, None]) -> web.Response:
    """What a flow asks, and who may answer; for whoever has a link, or may run it."""
    flow = checked_id(call.id)

    def work(connection: Connection) -> ApprovalInfo:
        job = flow
        if call.query.token and call.query.token.count(".") == 3:
            link = link_of_token(call.workspace, call.query.token)
            _of_flow(link, connection, flow)
            job = link.job
        elif not call.who.account.email or not may_steer(
            call.who, job_head(connection, call.workspace, flow)
        ):
            raise Problem(403, "forbidden", "Only who has a link, or may run the flow, is told.")
        with connection.transaction():
            hears = answered_flow(connection, call.workspace, job)
            _, asked = asked_run(connection, call.workspace, hears, lambda _: None)
        assert asked is not None
        return _info(connection, call, asked)

    return json_answer(await call.services.run(work))


def _info(connection: Connection, call: Call[TokenQuery, None], asked: Asked) -> ApprovalInfo:
    gate = asked.gates[0] if asked.gates else None
    given = [each for each in answers(connection, asked.run) if each.approved and each.is_heard_by(gate)]
    approvers = [Approver(each.resume_id, each.approver) for each in given]
    info = ApprovalInfo(
        flow_id=asked.run,
        can_approve=asked.waits and all(refusal(each, asked, call.who) is None for each in asked.gates),
        user_auth_required=any(not each.is_open_to_all for each in asked.gates),
        skin="detailed",
        approvers=approvers,
        flow_summary=flow_summary(connection, call.workspace, asked.flow) or None,
    )
    if gate is not None and asked.waits:
        info.approval_conditions = conditions(gate)
        info.form_schema = form_of(gate)
        info.description = step_said(connection, asked.run, gate.step).get("description")
        info.hide_cancel = gate.suspend.hide_cancel
        info.step_summary = gate.summary or None
    return info


@routes.post(
    "/w/{workspace}/jobs_u/flow/resume_suspended/{id}",
    body=Suspended | None,
    status=201,
    form="none",
    is_public=True,
    looks_at_token=True,
    action="run",
)
async def resume_suspended(call: Call[NoQuery, Suspended | None]) -> web.Response:
    """Answer a flow, with the token of the approval page's address, or as somebody who may run it."""
    told = call.body or Suspended()
    flow = checked_id(call.id)

    def work(connection: Connection) -> None:
        if told.approval_token:
            link = link_of_token(call.workspace, told.approval_token)
            _of_flow(link, connection, flow)
            answer(connection, link, call.who, _json(bytes(told.payload)), approved=told.approved)
        elif call.who.account.email:
            _as_runner(connection, call, flow, _json(bytes(told.payload)), approved=told.approved)
        else:
            raise Problem(401, "unauthorized", "There is neither a token nor an approval_token.")

    await call.services.run(work)
    return web.Response(status=201)


@routes.post("/w/{workspace}/jobs/flow/resume/{id}", body=bytes, status=201, form="none", action="run")
async def resume_suspended_flow_as_owner(call: Call[NoQuery, bytes]) -> web.Response:
    """Approve what a flow asks now, as somebody who may run it; the body is any JSON."""
    value = _json(call.body)
    await call.services.run(lambda c: _as_runner(c, call, checked_id(call.id), value, approved=True))
    return web.Response(status=201)


def _as_runner(
    connection: Connection, call: Call[Any, Any], flow: str, value: Any, *, approved: bool
) -> None:
    steerable(connection, call.who, call.workspace, flow)
    allowed = must_be_allowed(call.who)

    def check(asked: Asked) -> None:
        if not asked.waits:
            raise Problem(400, "refused", f"Flow {flow} waits for no answer.")
        allowed(asked)

    resume_flow(
        connection,
        call.workspace,
        flow,
        value,
        call.who.username,
        approved=approved,
        resume_id=None,
        check=check,
    )
