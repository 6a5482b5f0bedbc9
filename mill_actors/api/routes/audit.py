"""Who did what in a workspace; for its admins."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from aiohttp import web
from msgspec import Raw

from mill_actors.api.answers import JsonAnswer, json_answer
from mill_actors.api.listing import PageQuery
from mill_actors.api.problems import not_found
from mill_actors.api.routing import Call, Routes
from mill_actors.store import audit
from mill_actors.store.audit import AuditEntry, AuditFilter

routes = Routes("audit")

#: Our actions by Windmill's kinds: as they are asked for, and as they are told.
_ASKED = {"Create": ["create"], "Update": ["update", "archive"], "Delete": ["delete"], "Execute": ["execute"]}
_TOLD = {"create": "Created", "update": "Updated", "archive": "Updated", "delete": "Delete"}


class AuditLog(JsonAnswer):
    """One deed."""

    workspace_id: str
    id: int
    timestamp: datetime
    username: str
    operation: str
    action_kind: str
    resource: str | None = None
    parameters: Raw | None = None


class AuditQuery(PageQuery, kw_only=True):
    """What is looked for; times are exclusive."""

    before: datetime | None = None
    after: datetime | None = None
    username: str | None = None
    operation: str | None = None
    resource: str | None = None
    action_kind: Literal["Create", "Update", "Delete", "Execute"] | None = None


@routes.get("/w/{workspace}/audit/list", query=AuditQuery, returns=list[AuditLog])
async def list_audit_logs(call: Call[AuditQuery, Any]) -> web.Response:
    """What has been done in the workspace, newest first; admins alone."""
    call.who.need_admin()
    told = call.query
    wanted = AuditFilter(
        before=told.before,
        after=told.after,
        username=told.username,
        operation=told.operation,
        resource=told.resource,
        actions=None if told.action_kind is None else _ASKED[told.action_kind],
    )
    found = await call.services.run(lambda c: audit.list_audit(c, call.workspace, wanted, told.pages))
    return json_answer([_answer(call, each) for each in found])


@routes.get("/w/{workspace}/audit/get/{id}", returns=AuditLog)
async def get_audit_log(call: Call[Any, Any]) -> web.Response:
    """One deed; admins alone."""
    call.who.need_admin()
    number = int(call.id) if call.id.isascii() and call.id.isdigit() and len(call.id) < 20 else 0
    found = None
    if number <= audit.MAX_ID:
        found = await call.services.run(lambda c: audit.get_audit(c, call.workspace, number))
    if found is None:
        raise not_found(f"audit entry {call.id!r}")
    return json_answer(_answer(call, found))


def _answer(call: Call[Any, Any], found: AuditEntry) -> AuditLog:
    return AuditLog(
        workspace_id=call.workspace,
        id=found.id,
        timestamp=found.at,
        username=found.username,
        operation=found.operation,
        action_kind=_TOLD.get(found.action, "Execute"),
        resource=found.resource,
        parameters=None if found.parameters is None else Raw(found.parameters),
    )
