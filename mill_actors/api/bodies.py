"""Documents of which this server knows some fields: the others are kept, and given back as they were sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Raw

from mill_actors.api.problems import invalid
from mill_actors.api.routing import Call
from mill_actors.jobs.jsons import decode, encode

#: What documents say of whoever wrote them, and where: the server's business.
OURS = frozenset({
    "workspace_id", "path", "name", "versions", "id", "created_at", "created_by", "updated_at", "updated_by",
    "edited_at", "edited_by", "extra_perms", "permissioned_as", "archived", "error",
})  # fmt: skip


async def sent(call: Call[Any, Any]) -> dict[str, Any]:
    """Return the body as it stands, after it has been found to be an object of the route's type."""
    value = checked(await call.request.read())
    assert isinstance(value, dict)
    return value


def checked(text: bytes | Raw) -> Any:
    """Return what a JSON text of a body means; raise a 400 `Problem` if it is none."""
    try:
        return decode(bytes(text))
    except (ValueError, RecursionError) as error:
        raise invalid(error, "body") from None


def rest_of(document: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the fields that nobody here knows, those that are null too."""
    return {name: value for name, value in document.items() if name not in known and name not in OURS}


def rest_of_item(document: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the fields without a column, and an empty description: to its column that is as good as none."""
    rest = rest_of(document, known)
    if rest.get("description"):
        rest["description"] = None
    return rest


def without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is there: an export must not invent it, and null is how an update takes it away."""
    return {name: value for name, value in document.items() if value is not None}


def raws(document: Mapping[str, Any]) -> dict[str, Raw]:
    """Return fields as they go into an answer, numbers of any size among them."""
    return {name: Raw(encode(value)) for name, value in document.items()}
