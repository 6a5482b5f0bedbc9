"""The schema of a script that was sent without one, made from its code when it is asked for."""

from __future__ import annotations

import asyncio
from typing import Any

from mill_actors.runtimes.signature import schema_of
from mill_actors.store.script_definitions import ScriptDefinition

#: By hash: a version never changes.
_known: dict[str, dict[str, Any] | None] = {}
MAX_KNOWN = 1_000


async def inferred_schema(told: ScriptDefinition) -> dict[str, Any] | None:
    """Return the schema of a version's `main`; None if it was sent with one, or has no `main`."""
    if told.rest.get("schema"):
        return None
    if told.hash not in _known:
        # To read long code takes a while, and others wait.
        found = await asyncio.to_thread(schema_of, told.language, told.content)
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[told.hash] = found
    return _known[told.hash]
