"""What a path means to who submits: a script or a flow, as far as a job's row needs to know."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from mill_actors.errors import FlowNotFound, InvalidArgs, ScriptNotFound
from mill_actors.flows.version import FlowOptions
from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode
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


def script_version(connection: Connection, workspace: str, digest: str) -> str | None:
    """Return the path of a script's version."""
    row = connection.execute(sql.script_version, {"workspace": workspace, "hash": digest}).fetchone()
    return None if row is None else str(row[0])


def flow_version(connection: Connection, workspace: str, version: str) -> tuple[str, str] | None:
    """Return (path, hash) of a flow's version, which is a number or a hash."""
    number = int(version) if version.isascii() and version.isdigit() and len(version) < 16 else None
    row = connection.execute(
        sql.flow_version, {"workspace": workspace, "hash": version, "version": number}
    ).fetchone()
    return None if row is None else (row[0], row[1])


def has_preprocessor(connection: Connection, workspace: str, path: str, digest: str | None) -> bool:
    """Whether a flow has a preprocessor; one that is not there has none."""
    row = connection.execute(
        sql.flow_has_preprocessor, {"workspace": workspace, "path": path, "hash": digest}
    ).fetchone()
    return row is not None and row[0] is not None and bool(decode(row[0]).get("preprocessor_module"))


def runnable_by_hash(
    connection: Connection, workspace: str, path: str, kind: str | None, digest: str
) -> Runnable:
    """Return one version, whatever its path means now; raise `ScriptNotFound`."""
    row = connection.execute(
        sql.runnable_by_hash, {"workspace": workspace, "hash": digest, "kind": kind}
    ).fetchone()
    if row is None:
        raise ScriptNotFound(workspace, f"{path}@{digest}")
    return _runnable(*row)


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
    return _runnable(*rows[0])


def _runnable(is_flow: bool, digest: str, tag: str, options: Any) -> Runnable:  # noqa: FBT001  as the row has it
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
