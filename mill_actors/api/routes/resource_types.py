"""Resource types: names that resources have, with a schema for whoever fills them in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import UNSET, Raw, Struct, UnsetType

from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.bodies import raws, rest_of, sent, without_nulls
from mill_actors.api.routing import Call, Routes
from mill_actors.store import resource_types
from mill_actors.store.access import note
from mill_actors.store.connection import Connection
from mill_actors.store.resource_types import ResourceType

routes = Routes("resources")


class ResourceTypeAnswer(JsonAnswer):
    """A type, as it was sent."""

    workspace_id: str
    name: str
    schema: Any = None
    description: str | None = None
    format_extension: str | None = None
    is_fileset: bool | None = None
    display_name: str | None = None
    created_by: str | None = None
    edited_at: datetime | None = None


class CreateResourceType(Struct, kw_only=True):
    """A new type; fields that are not named here are kept too."""

    name: str
    schema: Raw | UnsetType = UNSET
    description: str | None = None
    format_extension: str | None = None
    is_fileset: bool | None = None
    display_name: str | None = None


class EditResourceType(Struct, kw_only=True):
    """What changes; null takes away, and what is missing stays as it is."""

    schema: Raw | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    format_extension: str | UnsetType | None = UNSET
    is_fileset: bool | UnsetType | None = UNSET
    display_name: str | UnsetType | None = UNSET


class FileType(JsonAnswer):
    """What a resource's `content` is as a file."""

    format_extension: str | None = None
    is_fileset: bool | None = None


@routes.post(
    "/w/{workspace}/resources/type/create", body=CreateResourceType, returns=str, status=201, form="text"
)
async def create_resource_type(call: Call[Any, CreateResourceType]) -> web.Response:
    """Make a type."""
    document = without_nulls(rest_of(await sent(call), ()))
    made = ResourceType(call.body.name, document, call.who.owner)

    def work(connection: Connection) -> None:
        with connection.transaction():
            resource_types.create_resource_type(connection, call.workspace, made)
            _note(connection, call, "create", made.name)

    await call.services.run(work)
    return text_answer(f"resource_type {made.name} created", 201)


@routes.post("/w/{workspace}/resources/type/update/{name}", body=EditResourceType, returns=str, form="text")
async def update_resource_type(call: Call[Any, EditResourceType]) -> web.Response:
    """Change a type."""
    name, document = call.names["name"], rest_of(await sent(call), ())

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = resource_types.lock_resource_type(connection, call.workspace, name)
            fresh = ResourceType(name, without_nulls({**old.document, **document}), call.who.owner)
            resource_types.update_resource_type(connection, call.workspace, fresh)
            _note(connection, call, "update", name)

    await call.services.run(work)
    return text_answer(f"resource_type {name} updated")


@routes.delete("/w/{workspace}/resources/type/delete/{name}", returns=str, form="text")
async def delete_resource_type(call: Call[Any, Any]) -> web.Response:
    """Delete a type; resources of it stay what they are."""
    name = call.names["name"]

    def work(connection: Connection) -> None:
        with connection.transaction():
            resource_types.delete_resource_type(connection, call.workspace, name)
            _note(connection, call, "delete", name)

    await call.services.run(work)
    return text_answer(f"resource_type {name} deleted")


@routes.get("/w/{workspace}/resources/type/get/{name}", returns=ResourceTypeAnswer)
async def get_resource_type(call: Call[Any, Any]) -> web.Response:
    """A type."""
    name = call.names["name"]
    found = await call.services.run(lambda c: resource_types.get_resource_type(c, call.workspace, name))
    return json_answer(_answer(call, found))


@routes.get("/w/{workspace}/resources/type/exists/{name}", returns=bool)
async def exists_resource_type(call: Call[Any, Any]) -> web.Response:
    """Whether there is such a type."""
    return json_answer(call.names["name"] in {each.name for each in await _all(call)})


@routes.get("/w/{workspace}/resources/type/list", returns=list[ResourceTypeAnswer])
async def list_resource_types(call: Call[Any, Any]) -> web.Response:
    """All types of the workspace."""
    return json_answer([_answer(call, each) for each in await _all(call)])


@routes.get("/w/{workspace}/resources/type/listnames", returns=list[str])
async def list_resource_type_names(call: Call[Any, Any]) -> web.Response:
    """Their names."""
    return json_answer([each.name for each in await _all(call)])


@routes.get("/w/{workspace}/resources/file_resource_type_to_file_ext_map", returns=dict[str, FileType])
async def file_resource_types(call: Call[Any, Any]) -> web.Response:
    """Types whose resources are files, and what files."""
    fields = ("format_extension", "is_fileset")
    told = {
        each.name: raws({name: each.document[name] for name in fields if name in each.document})
        for each in await _all(call)
        if any(each.document.get(name) for name in fields)
    }
    return json_answer(told)


async def _all(call: Call[Any, Any]) -> list[ResourceType]:
    return await call.services.run(lambda c: resource_types.list_resource_types(c, call.workspace))


def _note(connection: Connection, call: Call[Any, Any], action: str, name: str) -> None:
    note(connection, call.workspace, call.who.username, f"resource_types.{action}", action, name)


def _answer(call: Call[Any, Any], found: ResourceType) -> dict[str, Any]:
    return {
        **raws(found.document),
        "workspace_id": call.workspace,
        "name": found.name,
        "created_by": found.edited_by.removeprefix("u/"),
        "edited_at": found.edited_at,
    }
