"""Flows as they were sent: read, listed, renamed, archived, deleted. SQL: `sql/deployment.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from mill_actors.errors import FlowNotFound
from mill_actors.flows.document import whole
from mill_actors.jobs.jsons import decode
from mill_actors.store.connection import Connection
from mill_actors.store.deployments import VersionConflict, forget_path, last_version, move_history
from mill_actors.store.flow_versions import FlowText, deploy_flow
from mill_actors.store.queries import sql


class FlowDefinition(Struct, frozen=True):
    """A version with all that was sent, as JSON text; lists leave `value` and `schema` out."""

    path: str
    hash: str
    version: int
    summary: str
    description: str
    value: str
    schema: str | None
    rest: str
    deployed_by: str
    deployed_at: datetime
    message: str | None
    #: its path means no flow now
    is_archived: bool

    @property
    def document(self) -> dict[str, Any]:
        """The document that it was sent as."""
        schema = None if self.schema is None else decode(self.schema)
        return whole(self.summary, self.description, schema, decode(self.value), decode(self.rest))


class FlowFilter(Struct, frozen=True, kw_only=True):
    """Which flows are listed; None: it does not matter."""

    path: str | None = None
    path_start: str | None = None
    created_by: str | None = None
    label: str | None = None
    dedicated: bool | None = None
    #: those that are archived, and no others
    archived: bool = False
    with_message: bool = False
    descending: bool = True
    limit: int = 1000
    offset: int = 0


def read_flow_definition(
    connection: Connection, workspace: str, *, path: str | None = None, version: int | None = None
) -> FlowDefinition | None:
    """Return what a path means now or, archived, meant last; or one version of any path."""
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        row = connection.execute(
            sql.flow_definition, {"workspace": workspace, "path": path, "version": version}
        ).fetchone()
    return None if row is None else FlowDefinition(*row)


def list_flow_definitions(
    connection: Connection, workspace: str, readable: Sequence[str] | None, wanted: FlowFilter
) -> list[FlowDefinition]:
    """Return the flows below these prefixes (None: all), newest first unless asked otherwise."""
    told = {
        "workspace": workspace,
        "readable": None if readable is None else list(readable),
        **msgspec.structs.asdict(wanted),
    }
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        rows = connection.execute(sql.list_flow_definitions, told).fetchall()
    return [FlowDefinition(*row) for row in rows]


def create_flow(connection: Connection, flow: FlowText, deployed_by: str, message: str | None) -> bool:
    """Deploy a flow where there is none; False if it is there already, as it is.

    Raises `VersionConflict` if the path means another.
    """
    with connection.transaction():
        if deploy_flow(connection, flow, deployed_by, only_after="", message=message):
            return True
        found = _current(connection, flow.workspace, flow.path)
        if found == flow.hash:
            return False
        raise VersionConflict(flow.path, found, "is there already: update it")


def update_flow(
    connection: Connection, path: str, flow: FlowText, deployed_by: str, message: str | None
) -> bool:
    """Deploy a flow in the place of the one that `path` means or has meant; another path renames it.

    False if nothing is different. Raises `FlowNotFound`, and `VersionConflict` if its new path is taken.
    """
    with connection.transaction():
        if last_version(connection, flow.workspace, "flow", path) is None:
            raise FlowNotFound(flow.workspace, path)
        if flow.path == path:
            return deploy_flow(connection, flow, deployed_by, message=message)
        connection.execute(sql.archive_flow, {"workspace": flow.workspace, "path": path})
        move_history(connection, flow.workspace, "flow", path, flow.path)
        if not deploy_flow(connection, flow, deployed_by, only_after="", message=message):
            raise VersionConflict(
                flow.path, _current(connection, flow.workspace, flow.path), "is there already"
            )
        return True


def archive_flow(connection: Connection, workspace: str, path: str, by: str, *, archived: bool) -> bool:
    """Let a path mean nothing any more, or what it meant last; False if there was no such flow."""
    with connection.transaction():
        last = last_version(connection, workspace, "flow", path)
        if last is None:
            return False
        told = {"workspace": workspace, "path": path}
        if archived:
            connection.execute(sql.archive_flow, told)
        else:
            back = {**told, "hash": last, "deployed_by": by, "only_after": ""}
            connection.execute(sql.point_flow_path, back)
    return True


def delete_flow(connection: Connection, workspace: str, path: str) -> bool:
    """Forget what a path means, and its history; False if there was none. Runs under way go on."""
    with connection.transaction():
        connection.execute(sql.archive_flow, {"workspace": workspace, "path": path})
        return bool(forget_path(connection, workspace, "flow", path))


def _current(connection: Connection, workspace: str, path: str) -> str | None:
    row = connection.execute(sql.flow_by_path, {"workspace": workspace, "path": path}).fetchone()
    return None if row is None else str(row[1])
