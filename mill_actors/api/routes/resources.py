"""Resources: JSON values that scripts and flows share, states among them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from mill_actors.api.answers import JsonAnswer, json_answer, raw_answer, text_answer
from mill_actors.api.bodies import checked, raws, rest_of_item, sent, without_nulls
from mill_actors.api.items import is_there, permitted
from mill_actors.api.listing import ListQuery, PageQuery
from mill_actors.api.permissions import scope_allows
from mill_actors.api.routing import Call, Routes
from mill_actors.jobs.jsons import encode
from mill_actors.store import resources
from mill_actors.store.access import note
from mill_actors.store.connection import Connection
from mill_actors.store.references import fill_value
from mill_actors.store.resources import ANY, Resource
from mill_actors.store.shared_values import PathTaken, SharedValueNotFound

routes = Routes("resources")

_KNOWN = ("path", "value", "resource_type")


class ListableResource(JsonAnswer):
    """A resource."""

    workspace_id: str
    path: str
    resource_type: str
    is_oauth: bool
    is_linked: bool
    is_refreshed: bool
    value: Raw
    extra_perms: dict[str, bool]
    description: str | None = None
    labels: list[str] | None = None
    ws_specific: bool | None = None
    created_by: str | None = None
    edited_at: datetime | None = None


class CreateResource(Struct, kw_only=True):
    """A new resource; fields that are not named here are kept too."""

    path: str
    value: Raw
    resource_type: str = ANY
    description: str | None = None
    labels: list[str] | None = None
    ws_specific: bool | None = None


class EditResource(Struct, kw_only=True):
    """What changes; what is missing stays as it is."""

    path: str | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    resource_type: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    labels: list[str] | UnsetType | None = UNSET
    ws_specific: bool | UnsetType | None = UNSET


class EditValue(Struct):
    """The value alone; none is null."""

    value: Raw | UnsetType = UNSET


class CreateQuery(Struct):
    """`update_if_exists`: what is there is replaced."""

    update_if_exists: bool = False


class ResourceQuery(ListQuery, kw_only=True):
    """Types by commas."""

    resource_type: str | None = None
    resource_type_exclude: str | None = None


class SearchedResource(Struct):
    """A resource to be searched in."""

    path: str
    value: Raw


@routes.post(
    "/w/{workspace}/resources/create",
    query=CreateQuery, body=CreateResource, returns=str, status=201, form="text",
)  # fmt: skip
async def create_resource(call: Call[CreateQuery, CreateResource]) -> web.Response:
    """Make a resource; 400 if there is one, unless both are states or `update_if_exists` is said."""
    told = call.body
    checked(told.value)
    made = Resource(
        told.path,
        bytes(told.value).decode(),
        told.resource_type,
        told.description or "",
        rest=without_nulls(rest_of_item(await sent(call), _KNOWN)),
        edited_by=call.who.owner,
    )

    def work(connection: Connection) -> None:
        with connection.transaction():
            try:
                old = resources.lock_resource(connection, call.workspace, told.path)
            except SharedValueNotFound:
                call.who.need_item("resources", "write", told.path, {})
                resources.create_resource(connection, call.workspace, made)
            else:
                call.who.need_item("resources", "write", told.path, old.extra_perms)
                both_states = old.resource_type == made.resource_type == "state"
                if not (call.query.update_if_exists or both_states):
                    raise PathTaken("resource", told.path)
                kept = replace(made, extra_perms=old.extra_perms)
                resources.update_resource(connection, call.workspace, told.path, kept)
            _note(connection, call, "create", made)

    await call.services.run(work)
    return text_answer(f"resource {told.path} created", 201)


@routes.post("/w/{workspace}/resources/update/{path*}", body=EditResource, returns=str, form="text")
async def update_resource(call: Call[Any, EditResource]) -> web.Response:
    """Change a resource; what is not sent stays as it is."""
    told = call.body
    if not isinstance(told.value, UnsetType):
        checked(told.value)
    rest = rest_of_item(await sent(call), _KNOWN)

    def work(connection: Connection) -> str:
        with connection.transaction():
            old = permitted(connection, call, "write", resources.lock_resource)
            fresh = replace(
                old,
                path=told.path or old.path,
                raw=old.raw if isinstance(told.value, UnsetType) else bytes(told.value).decode(),
                resource_type=told.resource_type or old.resource_type,
                description=old.description if told.description is UNSET else told.description or "",
                rest=without_nulls({**old.rest, **rest}),
                edited_by=call.who.owner,
            )
            if fresh.path != old.path:
                call.who.need_item("resources", "write", fresh.path, {})
            resources.update_resource(connection, call.workspace, old.path, fresh)
            _note(connection, call, "update", fresh)
            return fresh.path

    return text_answer(f"resource {await call.services.run(work)} updated")


@routes.post("/w/{workspace}/resources/update_value/{path*}", body=EditValue, returns=str, form="text")
async def update_resource_value(call: Call[Any, EditValue]) -> web.Response:
    """Change a resource's value: any JSON, null too."""
    raw = "null"
    if not isinstance(call.body.value, UnsetType):
        checked(call.body.value)
        raw = bytes(call.body.value).decode()

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = permitted(connection, call, "write", resources.lock_resource)
            fresh = replace(old, raw=raw, edited_by=call.who.owner)
            resources.update_resource(connection, call.workspace, old.path, fresh)
            if old.resource_type != "state":  # a state changes with every job
                _note(connection, call, "update", fresh)

    await call.services.run(work)
    return text_answer(f"value of resource {call.path} updated")


@routes.delete("/w/{workspace}/resources/delete/{path*}", returns=str, form="text")
async def delete_resource(call: Call[Any, Any]) -> web.Response:
    """Delete a resource."""

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = permitted(connection, call, "write", resources.lock_resource)
            resources.delete_resource(connection, call.workspace, old.path)
            _note(connection, call, "delete", old)

    await call.services.run(work)
    return text_answer(f"resource {call.path} deleted")


@routes.get("/w/{workspace}/resources/get_value_interpolated/{path*}", returns=Raw)
async def get_resource_value_interpolated(call: Call[Any, Any]) -> web.Response:
    """A resource's value, with `$var:` and `$res:` in it replaced by what the caller may read."""
    scopes = call.who.account.scopes

    def work(connection: Connection) -> bytes:
        value = permitted(connection, call, "read", resources.get_resource).value
        reader = (call.workspace, call.who.owner)
        allows = None if scopes is None else lambda kind, path: scope_allows(scopes, f"{kind}s", "read", path)
        return encode(fill_value(connection, reader, value, allows))

    return raw_answer(await call.services.run(work))


@routes.get("/w/{workspace}/resources/get_value/{path*}", returns=Raw)
async def get_resource_value(call: Call[Any, Any]) -> web.Response:
    """A resource's value as it was set."""
    found = await call.services.run(lambda c: permitted(c, call, "read", resources.get_resource))
    return raw_answer(found.raw)


@routes.get("/w/{workspace}/resources/get/{path*}", returns=ListableResource)
async def get_resource(call: Call[Any, Any]) -> web.Response:
    """A resource with all that is known of it."""
    found = await call.services.run(lambda c: permitted(c, call, "read", resources.get_resource))
    return json_answer(_answer(call, found))


@routes.get("/w/{workspace}/resources/exists/{path*}", returns=bool)
async def exists_resource(call: Call[Any, Any]) -> web.Response:
    """Whether there is such a resource."""
    return json_answer(await is_there(call, resources.get_resource))


@routes.get("/w/{workspace}/resources/list", query=ResourceQuery, returns=list[ListableResource])
async def list_resources(call: Call[ResourceQuery, Any]) -> web.Response:
    """Resources that the caller may read, by path."""
    told = call.query
    found = await call.services.run(
        lambda connection: resources.list_resources(
            connection,
            call.workspace,
            told.filter(call.who),
            told.pages,
            types=_names(told.resource_type),
            other_types=_names(told.resource_type_exclude),
        )
    )
    return json_answer([_answer(call, each) for each in found])


@routes.get("/w/{workspace}/resources/list_search", query=PageQuery, returns=list[SearchedResource])
async def list_search_resources(call: Call[PageQuery, Any]) -> web.Response:
    """Paths and values of what the caller may read, to be searched."""
    wanted, page = ListQuery().filter(call.who), call.query.pages
    found = await call.services.run(lambda c: resources.list_resources(c, call.workspace, wanted, page))
    return json_answer([SearchedResource(each.path, Raw(each.raw)) for each in found])


def _names(told: str | None) -> list[str] | None:
    return [name.strip() for name in told.split(",") if name.strip()] if told else None


def _note(connection: Connection, call: Call[Any, Any], action: str, told: Resource) -> None:
    more = {"resource_type": told.resource_type}
    if "path" in call.names:
        more["from"] = call.path
    note(connection, call.workspace, call.who.username, f"resources.{action}", action, told.path, more)


def _answer(call: Call[Any, Any], found: Resource) -> dict[str, Any]:
    told: dict[str, Any] = {
        "is_oauth": False,
        "is_linked": False,
        "is_refreshed": False,
        **raws(found.rest),
        "workspace_id": call.workspace,
        "path": found.path,
        "resource_type": found.resource_type,
        "value": Raw(found.raw),
        "extra_perms": found.extra_perms,
        "description": found.description,
        "edited_at": found.edited_at,
    }
    if found.edited_by is not None:
        told["created_by"] = found.edited_by.removeprefix("u/")
    return told
