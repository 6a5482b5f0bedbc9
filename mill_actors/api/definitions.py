"""What the routes of scripts and flows share: paths, documents, pages."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from msgspec import Meta, Struct

from mill_actors.api.permissions import scope_allows
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call
from mill_actors.flows.definition import FlowStep, ScriptStep
from mill_actors.flows.validation import oversize
from mill_actors.jobs.jsons import decode
from mill_actors.jobs.script import PATH
from mill_actors.store.flow_versions import FlowText, compiled
from mill_actors.store.runnables import script_version

#: Windmill's own limit.
LONGEST_PATH = 255
MAX_PER_PAGE = 10_000


class Page(Struct, kw_only=True):
    """Which part of a list; page 0 is page 1."""

    page: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    per_page: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1000

    @property
    def limit(self) -> int:
        """How many."""
        return min(self.per_page, MAX_PER_PAGE)

    @property
    def offset(self) -> int:
        """After how many."""
        return max(0, self.page - 1) * self.limit


def check_path(path: str) -> None:
    """Raise a 400 `Problem` for what can be nobody's path."""
    if len(path) > LONGEST_PATH or not PATH.fullmatch(path):
        why = f"a path looks like f/folder/name or u/user/name, in up to {LONGEST_PATH} letters"
        raise Problem(400, "invalid_path", f"{path[:LONGEST_PATH]!r}: {why}.", "$.path")


def need_write(call: Call[Any, Any], domain: str, path: str) -> None:
    """Raise a 403 `Problem` unless the caller, and the scopes of his token, may change what has this path."""
    call.who.need("write", path)
    if not scope_allows(call.who.account.scopes, domain, "write", path):
        raise Problem(403, "forbidden", f"The token's scopes do not allow to write {path}.", path)


async def need_steps(call: Call[Any, Any], flow: FlowText) -> None:
    """Raise a 403 `Problem` unless the caller may run every script and flow that a flow of his has as a step.

    Whoever runs the flow later need not: its maker has let him.
    """
    for step in compiled(flow).program.steps():
        match step.module.value:
            case FlowStep(path=path):
                call.who.need("run", path)
            case ScriptStep(path=path, hash=digest):
                call.who.need("run", path)
                if digest and not call.who.is_admin:
                    # It is the version that runs, whatever its path is said to be.
                    own = await call.services.run(
                        partial(script_version, workspace=call.workspace, digest=digest)
                    )
                    call.who.need("run", own or path)
            case _:
                pass


async def sent(call: Call[Any, Any]) -> dict[str, Any]:
    """Return the body, which has been found to be an object, as it was sent."""
    try:
        document = decode(await call.request.read())
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid_body", f"The body is not JSON: {error}") from None
    fault = oversize(document, "body")
    if fault is not None:
        raise Problem(400, "invalid_body", f"The {fault.path} {fault.message}.", "$")
    if not isinstance(document, dict):
        raise Problem(400, "invalid_body", "The body is no object.", "$")
    return document


def person(owner: str) -> str:
    """Return u/NAME as Windmill's `created_by` has it."""
    return owner.removeprefix("u/")


def words(told: str | None) -> list[str] | None:
    """Return a list that was told with commas; None if it was not."""
    return None if told is None else [word.strip() for word in told.split(",") if word.strip()]
