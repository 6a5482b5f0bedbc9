"""What a path means to who submits: a script or a flow, as far as a job's row needs to know."""

from __future__ import annotations

from typing import NoReturn

import msgspec
from msgspec import Struct

from mill_actors.errors import FlowNotFound, InvalidArgs, ScriptNotFound
from mill_actors.flows.version import FlowOptions
from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.connection import Connection
from mill_actors.store.flow_versions import flow_by_path
from mill_actors.store.queries import sql
from mill_actors.store.scripts import script_by_path


class Runnable(Struct, frozen=True):
    """A version, and what it says about its jobs."""

    hash: str
    tag: str
    is_flow: bool
    priority: int
    concurrency_limit: int | None
    concurrency_key: str | None
    concurrency_window_s: float | None


def runnable_by_path(connection: Connection, workspace: str, path: str, kind: str | None) -> Runnable:
    """Return what a path means now.

    Raises `ScriptNotFound` or `FlowNotFound`, with similar paths of both kinds, and `InvalidArgs` for a
    path that is both while nobody said which is meant.
    """
    rows = connection.execute(
        sql.runnable_by_path, {"workspace": workspace, "path": path, "kind": kind}
    ).fetchall()
    if len(rows) > 1:
        raise InvalidArgs(path, "is both a script and a flow: say which is meant")
    if not rows:
        _refuse(connection, workspace, path, kind)
    is_flow, digest, tag, options = rows[0]
    if is_flow:
        flow = msgspec.convert(options, FlowOptions)
        return Runnable(
            digest,
            tag,
            is_flow=True,
            priority=flow.priority,
            concurrency_limit=flow.concurrency_limit,
            concurrency_key=flow.concurrency_key,
            concurrency_window_s=flow.concurrency_window_s,
        )
    script = msgspec.convert(options, ScriptOptions)
    return Runnable(
        digest,
        tag,
        is_flow=False,
        priority=script.priority,
        concurrency_limit=script.concurrency_limit,
        concurrency_key=script.concurrency_key,
        concurrency_window_s=script.concurrency_window_s,
    )


def _refuse(connection: Connection, workspace: str, path: str, kind: str | None) -> NoReturn:
    similar: list[str] = []
    if kind != "script":
        try:
            flow_by_path(connection, workspace, path)
        except FlowNotFound as error:
            similar += error.similar
            if kind == "flow":
                raise
    try:
        script_by_path(connection, workspace, path)
    except ScriptNotFound as error:
        raise ScriptNotFound(workspace, path, [*error.similar, *similar]) from None
    raise ScriptNotFound(workspace, path, similar)  # it has come just now
