"""Flow versions in the database. SQL: `sql/flow.sql`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from mill_actors.errors import FlowNotFound, InvalidArgs, ScriptNotFound
from mill_actors.flows.definition import ScriptStep
from mill_actors.flows.document import FlowDocument
from mill_actors.flows.program import compile_flow
from mill_actors.flows.version import FlowOptions, FlowVersion
from mill_actors.jobs.jsons import encode
from mill_actors.jobs.script import PATH, Script, version_name
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode, storable
from mill_actors.store.queries import sql
from mill_actors.store.scripts import put_script, script_by_hash, script_by_path

#: The tag of flows that say nothing.
FLOW_TAG = "flow"


class FlowText(Struct, frozen=True):
    """A version of a flow as it is stored: `value`, `schema` and `rest` are JSON text."""

    workspace: str
    path: str
    hash: str
    value: bytes
    tag: str
    options: FlowOptions
    summary: str = ""
    description: str = ""
    schema: bytes | None = None
    #: what its document says beside these, as it stands there
    rest: bytes = b"{}"


class ListedFlow(Struct, frozen=True):
    """A path and what it means now."""

    path: str
    hash: str
    version: int
    summary: str
    tag: str
    dedicated: bool
    deployed_by: str
    deployed_at: datetime


def make_flow(
    workspace: str,
    path: str,
    value: bytes,
    *,
    options: FlowOptions | None = None,
    tag: str | None = None,
    summary: str = "",
    description: str = "",
    schema: bytes | None = None,
    rest: bytes = b"{}",
    preview: bool = False,
) -> FlowText:
    """Name a version by its content; `value` must have been found without faults.

    What the value itself says about limits and priority goes into the options, where a submission
    finds it without reading the value. Raises `InvalidArgs` if the path is none; a `preview` may have any.
    """
    if not preview and not PATH.fullmatch(path):
        raise InvalidArgs(path, "a path looks like f/folder/name or u/user/name")
    given = compile_flow(value).value
    options = msgspec.structs.replace(
        options or FlowOptions(),
        concurrency_limit=given.concurrent_limit or None,
        concurrency_key=given.concurrency_key,
        concurrency_window_s=given.concurrency_time_window_s,
        priority=given.priority or (options.priority if options else 0),
    )
    told = msgspec.json.encode([path, options, tag, summary, description], order="deterministic")
    digest = version_name(b"\0".join([told, value, schema or b"", rest]), preview=preview)
    # A dedicated flow's tag is its own: whoever serves it takes everything under it as this flow's runs.
    tag = f"{workspace}:flow/{path}" if options.dedicated else tag or FLOW_TAG
    return FlowText(workspace, path, digest, value, tag, options, summary, description, schema, rest)


def flow_of(workspace: str, path: str, document: FlowDocument) -> FlowText:
    """Name a version of a whole document."""
    options = FlowOptions(
        dedicated=document.dedicated,
        durability=document.durability,
        priority=document.priority or 0,
        timeout_seconds=document.timeout,
    )
    return make_flow(
        workspace,
        path,
        document.value_json,
        options=options,
        tag=document.tag or None,
        summary=document.summary,
        description=document.description,
        schema=None if document.schema is None else encode(document.schema),
        rest=document.rest_json,
    )


def deploy_flow(
    connection: Connection,
    flow: FlowText,
    deployed_by: str,
    *,
    only_after: str | None = None,
    message: str | None = None,
) -> bool:
    """Make `flow` what its path means, with its own code; False if it meant that already.

    `only_after`: the hash that the path has to mean until now, "" for nothing; False too if it does not.
    """
    with connection.transaction():
        for script in compiled(flow).inline_scripts():
            put_script(connection, script, deployed_by)
        connection.execute(
            sql.put_flow,
            {
                "workspace": flow.workspace,
                "hash": flow.hash,
                "path": flow.path,
                "summary": flow.summary,
                "description": flow.description,
                "value": flow.value.decode(),
                "schema": None if flow.schema is None else flow.schema.decode(),
                "rest": flow.rest.decode(),
                "labels": _labels(decode(flow.rest).get("labels")),
                "tag": flow.tag,
                "dedicated": flow.options.dedicated,
                "options": msgspec.json.encode(flow.options).decode(),
                "created_by": deployed_by,
            },
        )
        told = {"workspace": flow.workspace, "path": flow.path, "hash": flow.hash}
        told["deployed_by"] = deployed_by
        changed = connection.execute(sql.point_flow_path, {**told, "only_after": only_after}).fetchone()
        if changed is not None:
            connection.execute(sql.put_deployment, {**told, "kind": "flow", "message": message})
    return changed is not None


def _labels(told: Any) -> list[str]:
    return [storable(label) for label in told if isinstance(label, str)] if isinstance(told, list) else []


def compiled(flow: FlowText) -> FlowVersion:
    """Make a version ready to run."""
    return FlowVersion(flow.workspace, flow.path, flow.hash, compile_flow(flow.value), flow.options)


def flow_by_path(connection: Connection, workspace: str, path: str) -> FlowText:
    """Return what a path means now; raise `FlowNotFound`, with similar paths if there are any."""
    row = connection.execute(sql.flow_by_path, {"workspace": workspace, "path": path}).fetchone()
    if row is None:
        known = [flow.path for flow in list_flows(connection, workspace)]
        raise FlowNotFound(workspace, path, difflib.get_close_matches(path, known, n=3, cutoff=0.6))
    return flow_text(row)


def flow_by_hash(connection: Connection, workspace: str, digest: str) -> FlowText | None:
    """Return one version, whatever its path means now."""
    row = connection.execute(sql.flow_by_hash, {"workspace": workspace, "hash": digest}).fetchone()
    return None if row is None else flow_text(row)


def dedicated_flows(connection: Connection) -> list[FlowText]:
    """Return the current version of every dedicated flow, of all workspaces."""
    return [flow_text(row) for row in connection.execute(sql.dedicated_flows).fetchall()]


def list_flows(connection: Connection, workspace: str) -> list[ListedFlow]:
    """Return every path of a workspace, sorted."""
    rows = connection.execute(sql.list_flows, {"workspace": workspace}).fetchall()
    return [ListedFlow(*row) for row in rows]


def flow_text(row: Sequence[Any]) -> FlowText:
    """Return a row of (workspace, hash, path, value, tag, options) as a version."""
    workspace, digest, path, value, tag, options = row
    return FlowText(workspace, path, digest, value.encode(), tag, msgspec.convert(options, FlowOptions))


class PinnedFlow(Struct, frozen=True):
    """A dedicated flow, and the versions its steps mean now."""

    tag: str
    scripts: tuple[Script, ...]


def pinned_flows(connection: Connection, wanted: Sequence[str]) -> list[PinnedFlow]:
    """Return the dedicated flows that are wanted: by path, `flow/path`, `workspace:…` of either, or `*`."""
    found = []
    for text in dedicated_flows(connection):
        if not _is_wanted(wanted, text.workspace, text.path):
            continue
        version = compiled(text)
        scripts = version.inline_scripts()
        for step in version.program.steps():
            value = step.module.value
            if isinstance(value, ScriptStep):
                script = _step_script(connection, text.workspace, value)
                if script is not None:
                    scripts.append(script)
        found.append(PinnedFlow(text.tag, tuple(scripts)))
    return found


def dedicated_tags(connection: Connection, wanted: Sequence[str]) -> list[str]:
    """Return the tags of all flows that are or were dedicated, and wanted, as `pinned_flows` has it."""
    rows = connection.execute(sql.dedicated_flow_tags).fetchall()
    return sorted({tag for workspace, path, tag in rows if _is_wanted(wanted, workspace, path)})


def _is_wanted(wanted: Sequence[str], workspace: str, path: str) -> bool:
    names = {path, f"flow/{path}", f"{workspace}:{path}", f"{workspace}:flow/{path}"}
    return "*" in wanted or not names.isdisjoint(wanted)


def _step_script(connection: Connection, workspace: str, step: ScriptStep) -> Script | None:
    if step.hash is not None:
        return script_by_hash(connection, workspace, step.hash)
    try:
        return script_by_path(connection, workspace, step.path)
    except ScriptNotFound:
        return None
