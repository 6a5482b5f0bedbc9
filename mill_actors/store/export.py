"""A workspace's scripts and flows with their code, for an archive. SQL: `sql/export.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from mill_actors.flows.document import whole
from mill_actors.jobs.jsons import decode
from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql


class ExportedScript(Struct, frozen=True):
    """What a path means; `rest` is what was sent beside path, language and code."""

    path: str
    language: str
    content: str
    options: ScriptOptions
    rest: dict[str, Any]


class ExportedFlow(Struct, frozen=True):
    """What a path means, as the document that was sent."""

    path: str
    document: dict[str, Any]


def export_scripts(
    connection: Connection, workspace: str, readable: Sequence[str] | None
) -> list[ExportedScript]:
    """Return the scripts below these prefixes; None: all."""
    told = {"workspace": workspace, "readable": None if readable is None else list(readable)}
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        rows = connection.execute(sql.export_scripts, told).fetchall()
    return [
        ExportedScript(path, language, content, msgspec.convert(options, ScriptOptions), decode(rest))
        for path, language, content, options, rest in rows
    ]


def export_flows(
    connection: Connection, workspace: str, readable: Sequence[str] | None
) -> list[ExportedFlow]:
    """Return the flows below these prefixes; None: all."""
    told = {"workspace": workspace, "readable": None if readable is None else list(readable)}
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        rows = connection.execute(sql.export_flows, told).fetchall()
    return [
        ExportedFlow(
            path,
            whole(
                summary, description, None if schema is None else decode(schema), decode(value), decode(rest)
            ),
        )
        for path, summary, description, value, schema, rest in rows
    ]
