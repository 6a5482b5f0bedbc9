"""Things with a path and rights of their own, as somebody finds them who may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from mill_actors.api.routing import Call
from mill_actors.store.connection import Connection
from mill_actors.store.rights import Action
from mill_actors.store.shared_values import SharedValueNotFound


class Item(Protocol):
    """What all of them have."""

    @property
    def extra_perms(self) -> Mapping[str, bool]: ...


I = TypeVar("I", bound=Item)  # noqa: E741  it is one

#: From (connection, workspace, path); raises `SharedValueNotFound`.
Load = Callable[[Connection, str, str], I]


def permitted(connection: Connection, call: Call[Any, Any], action: Action, load: Load[I]) -> I:
    """Return what has the path if the caller may; whether there is one is nobody else's business."""
    try:
        found = load(connection, call.workspace, call.path)
    except SharedValueNotFound:
        call.who.need(action, call.path)
        raise
    call.who.need(action, call.path, found.extra_perms)
    return found


async def is_there(call: Call[Any, Any], load: Load[Any]) -> bool:
    """Whether something has the path; raise a 403 `Problem` if the caller may not know."""
    try:
        await call.services.run(lambda connection: permitted(connection, call, "read", load))
    except SharedValueNotFound:
        return False
    return True
