"""A script's document: Windmill's fields of it, and what they mean for its jobs.

Fields that nobody here has heard of are kept, and given back as they were sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mill_actors.jobs.retry import NO_RETRY, RetryPolicy
from mill_actors.jobs.script import ScriptOptions

Kind = Literal["script", "failure", "trigger", "command", "approval", "preprocessor"]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]

#: Windmill's name of an option: ours.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "tag": "tag",
        "dedicated_worker": "dedicated",
        "priority": "priority",
        "timeout": "timeout_seconds",
        "retry": "retry",
        "concurrent_limit": "concurrency_limit",
        "concurrency_key": "concurrency_key",
        "concurrency_time_window_s": "concurrency_window_s",
        "arguments": "arguments",
    }
)
#: What is kept elsewhere, is about the deployment, or is the server's to say.
_NOT_KEPT = frozenset(
    {
        *("path", "language", "content"),
        *("parent_hash", "auto_parent", "deployment_message", "skip_draft_deletion", "preserve_on_behalf_of"),
        *("workspace_id", "hash", "created_by", "created_at", "archived", "deleted", "parent_hashes"),
        *("extra_perms", "starred", "draft_only", "lock_error_logs", "deployment_msg", "inherited_labels"),
    }
)


class NewScript(Struct, kw_only=True):
    """A version of a script; other fields are kept too."""

    path: str
    content: str
    language: str
    summary: str | None = None
    description: str | None = None
    #: JSON Schema of the arguments; without one it is made from the signature of `main`
    schema: dict[str, Any] | None = None
    #: kept, and not used: nothing is installed
    lock: str | list[str] | None = None
    kind: Kind | None = None
    is_template: bool | None = None
    has_preprocessor: bool | None = None
    ws_error_handler_muted: bool | None = None
    tag: str | None = None
    envs: list[str] | None = None
    labels: list[str] | None = None
    timeout: Seconds | None = None
    priority: Annotated[int, Meta(ge=0, le=100)] | None = None
    dedicated_worker: bool | None = None
    retry: RetryPolicy | None = None
    concurrent_limit: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    concurrency_key: str | None = None
    concurrency_time_window_s: Seconds | None = None
    #: ours; "strict": arguments that `main` does not have, or misses, fail the job
    arguments: Literal["strict", "windmill"] | None = None
    #: the version that this one replaces; of another path, it is renamed
    parent_hash: str | None = None
    #: replace whatever the path means now
    auto_parent: bool | None = None
    deployment_message: str | None = None

    @property
    def options(self) -> ScriptOptions:
        """What it says about how its jobs run. Zero is Windmill's word for none."""
        return ScriptOptions(
            tag=self.tag or None,
            dedicated=bool(self.dedicated_worker),
            priority=self.priority or 0,
            timeout_seconds=self.timeout or None,
            retry=self.retry or NO_RETRY,
            concurrency_limit=self.concurrent_limit or None,
            concurrency_key=self.concurrency_key or None,
            concurrency_window_s=self.concurrency_time_window_s or None,
            # Written for Windmill, most of them; callers send more than `main` takes.
            arguments=self.arguments or "windmill",
        )


def rest_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a decoded document as it stands. Null is what is not there."""
    return {name: value for name, value in document.items() if name not in _NOT_KEPT and value is not None}


def options_document(options: ScriptOptions) -> dict[str, Any]:
    """Return options by Windmill's names, those that say something. `arguments` is none of Windmill's."""
    told = msgspec.to_builtins(options)
    return {
        theirs: int(value) if isinstance(value, float) and value.is_integer() else value
        for theirs, ours in NAMES.items()
        if theirs != "arguments" and (value := told.get(ours)) is not None
    }
