"""The page on which people answer what a flow asks. It needs no script, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from aiohttp import web
from msgspec import Struct

from mill_actors.api.answering import Link, answer, check_link, link_of_token, refusal
from mill_actors.api.approval_form import WrongEntry, entered_value, form_html
from mill_actors.api.authentication import cookie_of, session_of
from mill_actors.api.permissions import Principal
from mill_actors.api.problems import problem_of
from mill_actors.api.services import Services
from mill_actors.errors import MillError
from mill_actors.jobs.jsons import encode
from mill_actors.store.approvals import Asked, Given, answers, flow_summary, form_of, step_said
from mill_actors.store.connection import Connection
from mill_actors.store.flow_control import answered_flow, asked_run

PATH = "/approve/{workspace}/{flow}"

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    # The address is the right to answer.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class _Question(Struct):
    """What the page shows."""

    asked: Asked
    summary: str
    said: dict[str, Any]
    given: list[Given]


class ApprovalPage:
    """Shows what is asked, and takes the answer."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, request: web.Request) -> web.Response:
        """Answer the page."""
        try:
            # People come here by links.
            link, who = await self._link(request, session_of(request))
            question = await self._services.run(lambda connection: _read(connection, link))
        except Exception as error:  # noqa: BLE001  people get it in words
            return _failure(error)
        return _page(link, question, who)

    async def take(self, request: web.Request) -> web.Response:
        """Take an answer, and say what became of it."""
        try:
            # Whoever has no good link sends no long forms either.
            link, who = await self._link(request, cookie_of(request))
            question = await self._services.run(lambda connection: _read(connection, link))
            entered = {name: text for name, text in (await request.post()).items() if isinstance(text, str)}
            approved = entered.get("answer") == "approve"
            form = form_of(question.asked.gates[0]) if question.asked.waits and question.asked.gates else None
            try:
                value = entered_value(form, entered) if form is not None and approved else None
            except WrongEntry as error:
                return _page(link, question, who, entered, str(error))
            await self._services.run(
                lambda connection: answer(connection, link, who, value, approved=approved)
            )
        except Exception as error:  # noqa: BLE001  people get it in words
            return _failure(error)
        return _answer("Thank you", f"<p>You {'approved' if approved else 'refused'}. The flow goes on.</p>")

    async def _link(self, request: web.Request, token: str | None) -> tuple[Link, Principal]:
        # Who is signed in here has a cookie; what stands in the address is the link's.
        workspace = request.match_info["workspace"]
        link = link_of_token(workspace, request.query.get("token", ""))
        return link, await self._services.authenticator.anybody(token, workspace, "jobs", "run")


def _read(connection: Connection, link: Link) -> _Question:
    check_link(connection, link)
    with connection.transaction():
        flow = answered_flow(connection, link.workspace, link.job)
        _, asked = asked_run(connection, link.workspace, flow, lambda _: None)
    assert asked is not None
    gate = asked.gates[0] if asked.waits and asked.gates else None
    return _Question(
        asked,
        flow_summary(connection, link.workspace, asked.flow),
        {} if gate is None else step_said(connection, asked.run, gate.step),
        answers(connection, asked.run),
    )


def _page(
    link: Link,
    question: _Question,
    who: Principal,
    entered: Mapping[str, str] | None = None,
    wrong: str | None = None,
) -> web.Response:
    asked = question.asked
    gate = asked.gates[0] if asked.waits and asked.gates else None
    title = question.summary or asked.path
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="path">{escape(asked.path)} · {escape(asked.root)}</p>',
        f'<p class="small">Started by {escape(asked.created_by.removeprefix("u/"))}</p>',
    ]
    if gate is not None:
        parts.append(f"<p>Step <b>{escape(gate.step)}</b> {escape(gate.summary)} waits for an answer.</p>")
    description = question.said.get("description")
    if description is not None:
        text = description if isinstance(description, str) else encode(description).decode()
        parts.append(f'<div class="said">{escape(text)}</div>')
    for each in question.given:
        if not each.is_heard_by(gate):
            continue
        name = each.approver or "Somebody"
        parts.append(f'<p class="small">{escape(name)} {"approved" if each.approved else "refused"}.</p>')
    why = next((why for each in asked.gates if (why := refusal(each, asked, who))), None)
    if any(each.resume_id == link.resume_id for each in question.given):
        parts.append('<p class="note">This link has been used.</p>')
    elif why is not None:
        parts.append(f'<p class="note">{escape(why)}</p>')
    else:
        if not asked.waits:
            parts.append('<p class="note">Nothing asks yet: an answer is kept for the step that will.</p>')
        if wrong is not None:
            parts.append(f'<p class="note">{escape(wrong)}</p>')
        parts.append('<form method="post">')
        if gate is not None:
            parts.append(form_html(form_of(gate), question.said.get("default_args"), entered))
        parts.append('<button name="answer" value="approve">Approve</button>')
        if gate is None or not gate.suspend.hide_cancel:
            # Refusing needs no fields filled in.
            parts.append('<button name="answer" value="refuse" class="refuse" formnovalidate>Refuse</button>')
        parts.append("</form>")
    return _answer(title, "\n".join(parts), 200 if wrong is None else 400)


def _failure(error: Exception) -> web.Response:
    problem = problem_of(error)
    word = {403: "This link answers nothing", 404: "There is no such flow", 409: "Answered before"}
    title = word.get(problem.status, "It cannot be answered")
    text = str(error) if isinstance(error, MillError) else str(problem)
    return _answer(title, f"<h1>{title}</h1>\n<p>{escape(text)}</p>", problem.status)


def _answer(title: str, body: str, status: int = 200) -> web.Response:
    text = _template().substitute(title=escape(title), body=body)
    return web.Response(text=text, content_type="text/html", status=status, headers=_HEADERS)


@cache
def _template() -> Template:
    return Template(Path(__file__).with_name("approval.html").read_text(encoding="utf-8"))
