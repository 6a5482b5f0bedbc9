"""Answers to approvals: the links that give one, and who may.

A link is signed with the workspace's key. It is all that is needed, unless the step that asks wants to
know who answers: then a token of a member's must come with it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from mill_actors.api.job_rights import checked_id
from mill_actors.api.permissions import Principal
from mill_actors.api.problems import Problem
from mill_actors.store.approvals import Asked, Gate, signature
from mill_actors.store.connection import Connection
from mill_actors.store.flow_control import MOST_RESUME_ID, resume_flow

_WRONG = Problem(403, "forbidden", "The signature is wrong: this link answers nothing.")


class Link(Struct, frozen=True):
    """A right to give one answer for a job; `approver` is who the link was made for, "": nobody by name."""

    workspace: str
    job: str
    resume_id: int
    approver: str
    signature: str

    @property
    def token(self) -> str:
        """The same as one word, for the approval page."""
        name = base64.urlsafe_b64encode(self.approver.encode()).rstrip(b"=").decode()
        return f"{self.job}.{self.resume_id}.{self.signature}.{name}"

    def url(self, base: str, verb: str) -> str:
        """Return the address that approves (`resume`) or refuses (`cancel`)."""
        place = f"{self.workspace}/jobs_u/{verb}/{self.job}/{self.resume_id}/{self.signature}"
        query = f"?approver={quote(self.approver, safe='')}" if self.approver else ""
        return f"{base}/api/w/{place}{query}"

    def page(self, base: str, flow: str) -> str:
        """Return the address of the page for people."""
        return f"{base}/approve/{self.workspace}/{flow}?token={self.token}"


def make_link(connection: Connection, workspace: str, job: str, resume_id: int, approver: str) -> Link:
    """Sign a link."""
    signed = signature(connection, workspace, job, resume_id, approver)
    return Link(workspace, job, resume_id, approver, signed)


def check_link(connection: Connection, link: Link) -> None:
    """Raise a 403 `Problem` if nobody has signed it."""
    right = signature(connection, link.workspace, link.job, link.resume_id, link.approver)
    if not hmac.compare_digest(right.encode(), link.signature.encode()):
        raise _WRONG


def link_of_token(workspace: str, token: str) -> Link:
    """Return the link that a word of `Link.token` stands for, not yet checked; raise a 403 `Problem`."""
    try:
        job, number, signed, name = token.split(".")
        approver = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        return Link(workspace, checked_id(job), resume_id_of(number), approver, signed)
    except (ValueError, binascii.Error, Problem):
        raise _WRONG from None


def resume_id_of(text: str) -> int:
    """Return the number of an answer; raise a 400 `Problem`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_RESUME_ID))):
        raise Problem(400, "invalid_id", f"{text!r} is no number of an answer.", "$.resume_id")
    number = int(text)
    if number > MOST_RESUME_ID:
        raise Problem(400, "invalid_id", f"A resume_id is at most {MOST_RESUME_ID:,}.", "$.resume_id")
    return number


def refusal(gate: Gate, asked: Asked, who: Principal) -> str | None:
    """Return why somebody may not answer; None: he may."""
    if gate.is_open_to_all:
        return None
    # A job that runs for somebody is not somebody who has looked at it.
    if who.job is not None or not who.account.email:
        return "Only members of the workspace who are signed in may answer."
    if who.is_admin:
        return None
    if gate.suspend.self_approval_disabled and asked.created_by == who.owner:
        return "Whoever started the flow may not answer."
    if gate.groups is None:
        return "Only admins may answer: which groups may cannot be told from what the flow was given."
    groups = () if who.member is None else (*who.member.groups, "all")
    if gate.groups and not set(gate.groups).intersection(groups):
        return f"Only members of one of these groups may answer: {', '.join(gate.groups)}."
    return None


def must_be_allowed(who: Principal) -> Callable[[Asked], None]:
    """Return what raises a 403 `Problem` if somebody may not answer all that an answer may be heard by."""

    def check(asked: Asked) -> None:
        for gate in asked.gates:
            why = refusal(gate, asked, who)
            if why is not None:
                raise Problem(403, "forbidden", why)

    return check


def answer(connection: Connection, link: Link, who: Principal, value: Any, *, approved: bool) -> str:
    """Give a link's answer; return the flow's job that hears it. Raises as `resume_flow` does."""
    check_link(connection, link)
    return resume_flow(
        connection,
        link.workspace,
        link.job,
        value,
        # A name that is known goes before one that somebody wrote into a link.
        who.username or link.approver,
        approved=approved,
        resume_id=link.resume_id,
        check=must_be_allowed(who),
    )
