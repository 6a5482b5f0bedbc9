"""A script version: code in one language with a `main`, named by its content hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mill_actors.errors import InvalidArgs
from mill_actors.jobs.jsons import canonical, encode
from mill_actors.jobs.retry import NO_RETRY, RetryPolicy

#: Windmill's paths: `f/folder/name`, `u/user/name`, with any further segments.
PATH = re.compile(r"^[fu]/[A-Za-z0-9_-]+(/[A-Za-z0-9_.-]+)+$")

#: What the hash of a preview begins with, and no other's: a version that no path ever means. So whoever
#: has a job's row knows what it is.
PREVIEW = "p"


def is_preview(digest: str) -> bool:
    """Whether a version, of a script or a flow, is a preview's."""
    return digest.startswith(PREVIEW)


def version_name(told: bytes, *, preview: bool = False) -> str:
    """Return the hash of what makes a version: the first 16 hex digits of SHA-256, as Windmill shows."""
    digest = hashlib.sha256(told).hexdigest()[:16]
    return f"{PREVIEW}{digest[1:]}" if preview else digest


class ScriptOptions(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a script says about how its jobs run; a job may override each at submission."""

    tag: str | None = None
    #: Pins warm processes at boot in the workers that serve it; its tag is `workspace:path`.
    dedicated: bool = False
    priority: Annotated[int, Meta(ge=0, le=100)] = 0
    timeout_seconds: Annotated[float, Meta(gt=0)] | None = None
    retry: RetryPolicy = NO_RETRY
    #: At most this many of its jobs at a time, over all workers.
    concurrency_limit: Annotated[int, Meta(gt=0)] | None = None
    #: What the limit counts by; `$workspace` and `$args[name]` are filled in. Default: the path.
    concurrency_key: str | None = None
    #: … and within so many seconds after their ends.
    concurrency_window_s: Annotated[float, Meta(ge=0)] | None = None
    #: "windmill": arguments that `main` does not have are left out, and missing ones are null
    arguments: Literal["strict", "windmill"] = "strict"


NO_OPTIONS = ScriptOptions()


class Script(Struct, frozen=True):
    """One immutable version."""

    workspace: str
    path: str
    language: str
    content: str
    hash: str
    tag: str
    options: ScriptOptions = ScriptOptions()
    #: what its document says beside these, as JSON text; read with the definition alone
    rest: bytes = b"{}"

    @property
    def dedicated(self) -> bool:
        """Whether its processes are pinned."""
        return self.options.dedicated


def make_script(
    workspace: str,
    path: str,
    language: str,
    content: str,
    options: ScriptOptions = NO_OPTIONS,
    *,
    preview: bool = False,
    rest: Mapping[str, Any] = MappingProxyType({}),
) -> Script:
    """Name a version by path, language, content and options; raise `InvalidArgs` if the path is none.

    The hash covers the rest too. A `preview` may have any path: nobody ever finds it by that.
    """
    if not preview and not PATH.fullmatch(path):
        raise InvalidArgs(path, "a path looks like f/folder/name or u/user/name")
    if "\0" in content:
        raise InvalidArgs(path, "the code contains a NUL character")
    try:
        told = msgspec.json.encode([path, language, content, options], order="deterministic")
    except UnicodeEncodeError:
        raise InvalidArgs(path, "the code is no Unicode text") from None
    if rest:
        told += canonical(dict(rest))
    tag = options.tag or (f"{workspace}:{path}" if options.dedicated else language)
    return Script(
        workspace=workspace,
        path=path,
        language=language,
        content=content,
        hash=version_name(told, preview=preview),
        tag=tag,
        options=options,
        rest=encode(dict(rest)),
    )
