"""A whole workspace as an archive: what Windmill's command line pulls, and compares with before it pushes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from aiohttp import web
from msgspec import Struct

from mill_actors.api import archive
from mill_actors.api.archive import Entry
from mill_actors.api.permissions import scope_allows
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, Routes
from mill_actors.jobs.jsons import encode
from mill_actors.store.access import list_members, note
from mill_actors.store.connection import Connection
from mill_actors.store.export import export_flows, export_scripts
from mill_actors.store.folders import list_folders
from mill_actors.store.groups import list_groups
from mill_actors.store.resource_types import list_resource_types
from mill_actors.store.resources import list_resources
from mill_actors.store.schedules import list_schedules
from mill_actors.store.shared_values import secret_key
from mill_actors.store.variables import Filter, Variable, list_variables, opened
from mill_actors.store.workspaces import workspaces_of

routes = Routes("workspaces")


class ExportQuery(Struct, kw_only=True):
    """What is in the archive. Triggers, apps and the like are not there to be exported."""

    archive_type: Literal["zip", "tar"] = "zip"
    #: secrets in clear text, else as this workspace's ciphertext
    plain_secret: bool = False
    plain_secrets: bool = False
    skip_variables: bool = False
    skip_resources: bool = False
    skip_resource_types: bool = False
    skip_secrets: bool = False
    include_schedules: bool = False
    #: admins alone, as the next three
    include_users: bool = False
    include_groups: bool = False
    include_settings: bool = False
    include_key: bool = False
    #: what a file ending in .ts alone is: bun or deno
    default_ts: str = "bun"


@routes.get("/w/{workspace}/workspaces/tarball", query=ExportQuery, returns=bytes, form="bytes")
async def export_workspace(call: Call[ExportQuery, Any]) -> web.Response:
    """All that the caller may read, a file each: a zip archive, or `archive_type=tar`."""
    told = call.query
    kind = told.archive_type
    _check_rights(call)
    entries = await call.services.run(lambda connection: _entries(connection, call))
    packed = await asyncio.to_thread(lambda: archive.packed((e for make in entries for e in make()), kind))
    name = f'attachment; filename="{call.workspace}.{kind}"'
    return web.Response(
        body=packed, content_type="application/octet-stream", headers={"Content-Disposition": name}
    )


def _check_rights(call: Call[ExportQuery, Any]) -> None:
    told, scopes = call.query, call.who.account.scopes
    if told.include_users or told.include_groups or told.include_settings or told.include_key:
        call.who.need_admin()
    parts = {
        "scripts": True,
        "flows": True,
        "folders": True,
        "variables": not told.skip_variables,
        "resources": not (told.skip_resources and told.skip_resource_types),
        "schedules": told.include_schedules,
        "users": told.include_users,
        "groups": told.include_groups,
        # No scope of less than everything hands out the key of all secrets.
        "*": told.include_key,
    }
    for domain, is_asked in parts.items():
        if is_asked and not scope_allows(scopes, domain, "read"):
            raise Problem(
                403, "forbidden", f"The token's scopes lack {domain}:read, which the archive needs."
            )


def _entries(connection: Connection, call: Call[ExportQuery, Any]) -> list[Callable[[], Any]]:
    """Return what makes the entries of each kind; that takes longer than to read them."""
    told, workspace, who = call.query, call.workspace, call.who
    readable = who.readable
    wanted = Filter(readable=readable, names=sorted(who.rights.names))
    folders = [f for f in list_folders(connection, workspace) if who.may("read", f"f/{f.name}/")]
    made: list[Callable[[], Any]] = [
        partial(archive.folder_entries, folders),
        partial(archive.script_entries, export_scripts(connection, workspace, readable), told.default_ts),
        partial(archive.flow_entries, export_flows(connection, workspace, readable)),
    ]
    if not told.skip_variables:
        made.append(partial(archive.variable_entries, _variables(connection, call, wanted)))
    if not told.skip_resources:
        made.append(partial(archive.resource_entries, list_resources(connection, workspace, wanted)))
    if not told.skip_resource_types:
        made.append(partial(archive.resource_type_entries, list_resource_types(connection, workspace)))
    if told.include_schedules:
        schedules = [
            s for s in list_schedules(connection, workspace) if who.may("read", s.path, s.extra_perms)
        ]
        made.append(partial(archive.schedule_entries, schedules))
    if told.include_users:
        made.append(partial(archive.user_entries, list_members(connection, workspace)))
    if told.include_groups:
        made.append(partial(archive.group_entries, list_groups(connection, workspace)))
    if told.include_settings:
        (found,) = workspaces_of(connection, who.account.email, everywhere=True, workspace=workspace)
        made.append(partial(_one, ("settings.json", encode({"name": found.name or found.id}))))
    if told.include_key:
        note(connection, workspace, who.username, "workspaces.export_key", "execute", workspace)
        key = secret_key(connection, workspace).hex()
        made.append(partial(_one, ("encryption_key.json", encode(key))))
    return made


def _variables(connection: Connection, call: Call[ExportQuery, Any], wanted: Filter) -> list[Variable]:
    told, workspace = call.query, call.workspace
    found = list_variables(connection, workspace, wanted, with_ciphertext=True)
    if told.skip_secrets:
        return [each for each in found if not each.is_secret]
    if (told.plain_secret or told.plain_secrets) and any(each.is_secret for each in found):
        note(connection, workspace, call.who.username, "variables.export_secrets", "execute", workspace)
        return [opened(connection, workspace, each) for each in found]
    return found


def _one(entry: Entry) -> list[Entry]:
    return [entry]
