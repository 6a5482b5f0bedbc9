"""What Windmill's command line finds in an archive of a workspace: a file for each thing, and its name.

On a push it compares these files with its own, key by key: what was not sent is not in them, and what was
sent is, as it was.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from mill_actors.jobs.jsons import encode
from mill_actors.jobs.script_document import options_document
from mill_actors.store.access import Member
from mill_actors.store.export import ExportedFlow, ExportedScript
from mill_actors.store.folders import FolderDocument
from mill_actors.store.groups import Group
from mill_actors.store.resource_types import ResourceType
from mill_actors.store.resources import Resource
from mill_actors.store.schedules import Schedule
from mill_actors.store.variables import Variable

#: A name, and what is in it.
Entry = tuple[str, bytes]

_ENDINGS = {
    "python3": "py", "go": "go", "bash": "sh", "powershell": "ps1", "postgresql": "pg.sql", "mysql": "my.sql",
    "bigquery": "bq.sql", "snowflake": "sf.sql", "mssql": "ms.sql", "oracledb": "odb.sql",
    "duckdb": "duckdb.sql", "graphql": "gql", "php": "php", "rust": "rs", "ansible": "playbook.yml",
    "csharp": "cs", "nu": "nu", "java": "java", "ruby": "rb", "rlang": "r", "nativets": "fetch.ts",
}  # fmt: skip
#: The server's business, wherever it stands in a document.
_STRIPPED = frozenset({
    "workspace_id", "path", "name", "versions", "id", "created_at", "updated_at", "created_by", "updated_by",
    "edited_at", "edited_by", "permissioned_as", "archived", "error", "last_server_ping", "server_id",
    "raw_app", "hash", "content", "language", "is_template", "no_main_func", "auto_kind", "extra_perms",
    "email",
})  # fmt: skip
#: What jobs keep for themselves is no part of a workspace's definition.
_NOT_EXPORTED = frozenset({"state", "cache"})
#: A name that would lead out of the folder it is unpacked in.
_OUTSIDE = re.compile(r"(^|/)\.*(/|$)|\\")


def script_entries(scripts: Iterable[ExportedScript], default_ts: str) -> Iterator[Entry]:
    """Return code and document of each script."""
    for script in scripts:
        yield f"{script.path}.{_ending(script.language, default_ts)}", script.content.encode()
        yield f"{script.path}.script.json", encode(script_document(script))


def script_document(script: ExportedScript) -> dict[str, Any]:
    """Return what is said of a script beside its code."""
    told = {**options_document(script.options), **script.rest}
    if not script.rest:
        # Deployed past the API: nobody has said anything, and the command line wants to know it.
        told = {"summary": "", "description": "", "kind": "script", **told}
    return _stripped(told)


def flow_entries(flows: Iterable[ExportedFlow]) -> Iterator[Entry]:
    """Return the document of each flow, its steps' code in it."""
    for flow in flows:
        yield f"{flow.path}.flow.json", encode(_stripped(flow.document))


def variable_entries(variables: Iterable[Variable]) -> Iterator[Entry]:
    """Return a document of each variable; of a secret, with whatever stands in `value`."""
    for found in variables:
        told = {**_stripped(found.rest), "value": found.value, "is_secret": found.is_secret}
        if found.description:
            told["description"] = found.description
        yield f"{found.path}.variable.json", encode(told)


def resource_entries(resources: Iterable[Resource]) -> Iterator[Entry]:
    """Return a document of each resource, without what jobs keep for themselves."""
    for found in resources:
        if found.resource_type not in _NOT_EXPORTED:
            told = {**_stripped(found.rest), "value": found.value, "resource_type": found.resource_type}
            if found.description:
                told["description"] = found.description
            yield f"{found.path}.resource.json", encode(told)


def resource_type_entries(types: Iterable[ResourceType]) -> Iterator[Entry]:
    """Return a document of each resource type."""
    for found in types:
        yield f"{found.name}.resource-type.json", encode(_stripped(found.document))


def folder_entries(folders: Iterable[FolderDocument]) -> Iterator[Entry]:
    """Return a document of each folder."""
    for found in folders:
        told = {**_stripped(found.rest), "owners": found.owners, "extra_perms": found.extra_perms}
        if not told.get("default_permissioned_as", True):
            del told["default_permissioned_as"]
        yield f"f/{found.name}/folder.meta.json", encode(told)


def schedule_entries(schedules: Iterable[Schedule]) -> Iterator[Entry]:
    """Return a document of each schedule."""
    for found in schedules:
        told = {"script_path": found.script_path, "is_flow": found.is_flow, "enabled": found.enabled}
        yield f"{found.path}.schedule.json", encode({**_stripped(found.document), **told})


def user_entries(members: Iterable[Member]) -> Iterator[Entry]:
    """Return a document of each member."""
    for member in members:
        told = {"username": member.username, "role": member.role, "disabled": member.disabled}
        yield f"users/{member.email}.user.json", encode(told)


def group_entries(groups: Iterable[Group]) -> Iterator[Entry]:
    """Return a document of each group."""
    for group in groups:
        told = {
            "summary": group.summary,
            "members": [f"u/{name}" for name in group.members],
            "admins": [f"u/{name}" for name in group.admins],
        }
        yield f"groups/{group.name}.group.json", encode(told)


def packed(entries: Iterable[Entry], kind: Literal["zip", "tar"]) -> bytes:
    """Return the archive. Takes its time: not for an event loop."""
    told = io.BytesIO()
    safe = ((name, data) for name, data in entries if not _OUTSIDE.search(name))
    if kind == "zip":
        with zipfile.ZipFile(told, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, data in safe:
                # Without a date: the same workspace is the same archive.
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(fileobj=told, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, data in safe:
                about = tarfile.TarInfo(name)
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))
    return told.getvalue()


def _stripped(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _STRIPPED}


def _ending(language: str, default_ts: str) -> str:
    if language in {"bun", "bunnative"}:
        return "ts" if default_ts == "bun" else "bun.ts"
    if language == "deno":
        return "deno.ts" if default_ts == "bun" else "ts"
    return _ENDINGS.get(language, language)
