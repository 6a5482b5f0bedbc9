"""The JSON Schema of a script's arguments, read from the signature of its `main`.

As far as the code says something: a type that is computed, imported or unheard of is any. Nothing is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from mill_actors.runtimes import signature_python, signature_typescript
from mill_actors.runtimes.parameter import Parameter

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: Nobody writes a longer one by hand, and a server has other things to do than to read it.
LONGEST_CODE = 200_000

_READERS: Mapping[str, Callable[[str], list[Parameter] | None]] = MappingProxyType(
    {"python3": signature_python.parameters, "bun": signature_typescript.parameters}
)


def schema_of(language: str, content: str) -> dict[str, Any] | None:
    """Return the schema of `main`'s arguments, in Windmill's form; None if there is no `main` to be read."""
    reader = _READERS.get(language)
    if reader is None or len(content) > LONGEST_CODE:
        return None
    found = reader(content)
    if found is None:
        return None
    return {
        "$schema": DIALECT,
        "type": "object",
        "order": [parameter.name for parameter in found],
        "properties": {parameter.name: parameter.document for parameter in found},
        "required": [parameter.name for parameter in found if parameter.is_required],
    }
