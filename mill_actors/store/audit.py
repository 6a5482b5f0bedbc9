"""The audit log, as it is read. SQL: `sql/audit.sql`; it is written by `access.note`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import asdict

from mill_actors.store.connection import Connection
from mill_actors.store.paging import Page
from mill_actors.store.queries import sql

MAX_ID = 2**63 - 1


class AuditEntry(Struct, frozen=True):
    """Who did what, when; `parameters` is JSON text."""

    id: int
    at: datetime
    username: str
    operation: str
    action: str
    resource: str | None
    parameters: str | None


class AuditFilter(Struct, frozen=True, kw_only=True):
    """What is looked for; None: anything."""

    before: datetime | None = None
    after: datetime | None = None
    username: str | None = None
    operation: str | None = None
    resource: str | None = None
    actions: Sequence[str] | None = None


def list_audit(connection: Connection, workspace: str, wanted: AuditFilter, page: Page) -> list[AuditEntry]:
    """Return entries, newest first."""
    told = {**asdict(wanted), "workspace": workspace, "limit": page.limit, "offset": page.offset}
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        rows = connection.execute(sql.list_audit, told).fetchall()
    return [AuditEntry(*row) for row in rows]


def get_audit(connection: Connection, workspace: str, number: int) -> AuditEntry | None:
    """Return an entry."""
    row = connection.execute(sql.get_audit, {"workspace": workspace, "id": number}).fetchone()
    return None if row is None else AuditEntry(*row)
