"""A script as Windmill's API tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from mill_actors.api.answers import JsonAnswer
from mill_actors.api.definitions import person
from mill_actors.api.inference import inferred_schema
from mill_actors.jobs.script_document import options_document
from mill_actors.store.script_definitions import ScriptDefinition

#: Of what was sent, lists have all but these.
_LONG = frozenset({"schema", "lock", "modules", "assets", "envs"})


class ScriptInList(JsonAnswer, kw_only=True):
    """A script without its code; whatever else was sent is there too."""

    workspace_id: str
    path: str
    hash: str
    language: str
    summary: str
    kind: str
    created_by: str
    created_at: datetime
    archived: bool
    deleted: bool
    is_template: bool
    has_preprocessor: bool
    starred: bool
    ws_error_handler_muted: bool
    extra_perms: dict[str, bool]
    description: str | None = None
    tag: str | None = None
    labels: list[str] | None = None
    deployment_msg: str | None = None


class ScriptAnswer(ScriptInList, kw_only=True):
    """A version of a script, with all that was sent."""

    content: str
    parent_hashes: list[str]
    schema: dict[str, Any] | None = None
    lock: str | list[str] | None = None
    envs: list[str] | None = None


class ScriptVersion(JsonAnswer):
    """A version in a history."""

    script_hash: str
    created_at: datetime
    created_by: str
    deployment_msg: str | None = None


def in_list(workspace: str, told: ScriptDefinition) -> dict[str, Any]:
    """Return what lists have of a script."""
    answer = {
        "summary": "",
        "description": "",
        "kind": "script",
        "is_template": False,
        "has_preprocessor": False,
        # Windmill's command line takes a script without this for another one.
        "ws_error_handler_muted": False,
        **options_document(told.options),
        **{name: value for name, value in told.rest.items() if name not in _LONG},
        "workspace_id": workspace,
        "path": told.path,
        "hash": told.hash,
        "language": told.language,
        "created_by": person(told.deployed_by),
        "created_at": msgspec.to_builtins(told.deployed_at),
        "archived": told.is_archived,
        "deleted": False,
        "starred": False,
        "extra_perms": {},
    }
    if told.message is not None:
        answer["deployment_msg"] = told.message
    return answer


async def whole(workspace: str, told: ScriptDefinition) -> dict[str, Any]:
    """Return all there is to say of a version."""
    answer = {
        **in_list(workspace, told),
        **{name: value for name, value in told.rest.items() if name in _LONG},
        "content": told.content,
        "parent_hashes": list(told.parents),
    }
    schema = await inferred_schema(told)
    return answer if schema is None else {**answer, "schema": schema}
