"""A flow as Windmill's API tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from mill_actors.api.answers import JsonAnswer
from mill_actors.api.definitions import person
from mill_actors.store.flow_definitions import FlowDefinition

#: What is kept elsewhere, is about the deployment, or is the server's to say.
_NOT_KEPT = frozenset(
    {
        *("path", "deployment_message", "skip_draft_deletion", "preserve_on_behalf_of", "workspace_id"),
        *("edited_by", "edited_at", "archived", "extra_perms", "starred", "draft_only", "version_id"),
        *("lock_error_logs", "deployment_msg", "inherited_labels", "hash"),
    }
)


class EditedFlow(Struct, kw_only=True):
    """A flow in the OpenFlow format; other fields are kept too. All its faults are told at once."""

    #: another one renames it
    path: str | None = None
    summary: Any = ""
    description: Any = ""
    #: JSON Schema of the flow's inputs
    schema: Any = None
    value: Any = None
    tag: Any = None
    labels: list[str] | None = None
    dedicated_worker: Any = None
    priority: Any = None
    timeout: Any = None
    #: ours: "step" or "flow"
    durability: Any = None
    deployment_message: str | None = None


class NewFlow(EditedFlow, kw_only=True):
    """A flow with the path that is to mean it."""

    path: str


class ArchiveFlow(Struct):
    """Whether a flow is out of use."""

    archived: bool = True


class FlowInList(JsonAnswer, kw_only=True):
    """A flow without its steps; whatever else was sent is there too."""

    workspace_id: str
    path: str
    summary: str
    description: str
    edited_by: str
    edited_at: datetime
    archived: bool
    starred: bool
    extra_perms: dict[str, bool]
    version_id: int
    labels: list[str] | None = None
    deployment_msg: str | None = None


class FlowAnswer(FlowInList, kw_only=True):
    """A version of a flow, with all that was sent."""

    value: dict[str, Any]
    schema: dict[str, Any] | None = None
    tag: str | None = None


class FlowVersion(JsonAnswer):
    """A version in a history."""

    id: int
    created_at: datetime
    created_by: str
    deployment_msg: str | None = None


def kept(document: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a decoded body. Null is what is not there."""
    return {name: value for name, value in document.items() if name not in _NOT_KEPT and value is not None}


def in_list(workspace: str, told: FlowDefinition) -> dict[str, Any]:
    """Return what lists have of a flow."""
    answer = whole(workspace, told)
    answer.pop("value", None)
    answer.pop("schema", None)
    return answer


def whole(workspace: str, told: FlowDefinition) -> dict[str, Any]:
    """Return all there is to say of a version."""
    answer = {
        "description": "",
        **told.document,
        "workspace_id": workspace,
        "path": told.path,
        "edited_by": person(told.deployed_by),
        "edited_at": msgspec.to_builtins(told.deployed_at),
        "archived": told.is_archived,
        "starred": False,
        "extra_perms": {},
        "version_id": told.version,
    }
    if told.message is not None:
        answer["deployment_msg"] = told.message
    return answer
