"""Schedules: when something is to run. They are kept; nothing runs them yet. SQL: `sql/schedules.sql`."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from mill_actors.errors import InvalidArgs
from mill_actors.jobs.cron import check_cron
from mill_actors.jobs.jsons import encode
from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql
from mill_actors.store.shared_values import PathTaken, SharedValueNotFound, check_path, document


class Schedule(Struct, frozen=True):
    """A schedule; `document` is the rest, as it was sent: schedule, timezone, args and so on."""

    path: str
    script_path: str
    is_flow: bool
    enabled: bool
    document: Mapping[str, Any]
    extra_perms: Mapping[str, bool]
    edited_by: str
    edited_at: datetime | None = None
    #: of whoever edited it
    email: str = ""


def check_times(cron: str, timezone: str) -> None:
    """Raise `InvalidArgs` for what is no cron of six fields, or no time zone."""
    check_cron(cron)
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgs(timezone[:60], "is no time zone's name, as Europe/Zurich is") from None


def list_schedules(connection: Connection, workspace: str) -> list[Schedule]:
    """Return all schedules by path."""
    rows = connection.execute(sql.list_schedules, {"workspace": workspace, "path": None}).fetchall()
    return [Schedule(*row) for row in rows]


def get_schedule(connection: Connection, workspace: str, path: str) -> Schedule:
    """Return a schedule; raise `SharedValueNotFound`."""
    row = connection.execute(sql.list_schedules, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise SharedValueNotFound("schedule", workspace, path)
    return Schedule(*row)


def lock_schedule(connection: Connection, workspace: str, path: str) -> Schedule:
    """Return a schedule that is about to be changed; raise `SharedValueNotFound`."""
    row = connection.execute(sql.lock_schedule, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        raise SharedValueNotFound("schedule", workspace, path)
    return Schedule(*row)


def create_schedule(connection: Connection, workspace: str, schedule: Schedule) -> None:
    """Make a schedule; raise `PathTaken`."""
    if connection.execute(sql.create_schedule, _columns(workspace, schedule)).fetchone() is None:
        raise PathTaken("schedule", schedule.path)


def update_schedule(connection: Connection, workspace: str, schedule: Schedule) -> None:
    """Change a schedule, locked before."""
    connection.execute(sql.update_schedule, _columns(workspace, schedule))


def delete_schedule(connection: Connection, workspace: str, path: str) -> None:
    """Delete a schedule; raise `SharedValueNotFound`."""
    if connection.execute(sql.delete_schedule, {"workspace": workspace, "path": path}).fetchone() is None:
        raise SharedValueNotFound("schedule", workspace, path)


def _columns(workspace: str, schedule: Schedule) -> dict[str, Any]:
    check_path(schedule.path)
    return {
        "workspace": workspace,
        "path": schedule.path,
        "script_path": schedule.script_path,
        "is_flow": schedule.is_flow,
        "enabled": schedule.enabled,
        "document": encode(schedule.document).decode(),
        "extra_perms": document(schedule.path, schedule.extra_perms),
        "edited_by": schedule.edited_by,
    }
