"""Variables: texts that scripts and flows share; a secret goes out by `get` and `get_value` alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.bodies import raws, rest_of_item, sent, without_nulls
from mill_actors.api.items import is_there, permitted
from mill_actors.api.listing import ListQuery
from mill_actors.api.routing import Call, Routes
from mill_actors.store import variables
from mill_actors.store.access import note
from mill_actors.store.connection import Connection
from mill_actors.store.variables import Variable

routes = Routes("variables")

_KNOWN = ("path", "value", "is_secret")


class ListableVariable(JsonAnswer):
    """A variable; of a secret `value` is missing, unless it was asked for."""

    workspace_id: str
    path: str
    is_secret: bool
    extra_perms: dict[str, bool]
    value: str | None = None
    description: str | None = None
    account: int | None = None
    is_oauth: bool | None = None
    expires_at: str | None = None
    labels: list[str] | None = None
    ws_specific: bool | None = None
    edited_at: datetime | None = None
    edited_by: str | None = None


class CreateVariable(Struct, kw_only=True):
    """A new variable; fields that are not named here are kept too."""

    path: str
    value: str
    is_secret: bool = False
    description: str | None = None
    account: int | None = None
    is_oauth: bool | None = None
    expires_at: str | None = None
    labels: list[str] | None = None
    ws_specific: bool | None = None


class EditVariable(Struct, kw_only=True):
    """What changes; what is missing stays as it is."""

    path: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    is_secret: bool | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    labels: list[str] | UnsetType | None = UNSET
    ws_specific: bool | UnsetType | None = UNSET


class WriteQuery(Struct):
    """`already_encrypted`: a secret's value is this workspace's ciphertext, as an export has it."""

    already_encrypted: bool = False


class GetQuery(Struct):
    """Of a secret: whether its text is told, else whether its ciphertext is."""

    decrypt_secret: bool = True
    include_encrypted: bool = False


class ContextualVariable(Struct):
    """What a job finds in its environment."""

    name: str
    value: str
    description: str
    is_custom: bool = False


@routes.post(
    "/w/{workspace}/variables/create",
    query=WriteQuery, body=CreateVariable, returns=str, status=201, form="text",
)  # fmt: skip
async def create_variable(call: Call[WriteQuery, CreateVariable]) -> web.Response:
    """Make a variable; 400 if there is one."""
    told = call.body
    call.who.need_item("variables", "write", told.path, {})
    made = Variable(
        told.path,
        told.value,
        told.description or "",
        told.is_secret,
        rest=without_nulls(rest_of_item(await sent(call), _KNOWN)),
        edited_by=call.who.owner,
    )

    def work(connection: Connection) -> None:
        with connection.transaction():
            variables.create_variable(
                connection, call.workspace, made, already_encrypted=call.query.already_encrypted
            )
            _note(connection, call, "create", made)

    await call.services.run(work)
    return text_answer(f"variable {told.path} created", 201)


@routes.post(
    "/w/{workspace}/variables/update/{path*}", query=WriteQuery, body=EditVariable, returns=str, form="text"
)
async def update_variable(call: Call[WriteQuery, EditVariable]) -> web.Response:
    """Change a variable; what is not sent stays as it is."""
    told = call.body
    rest = rest_of_item(await sent(call), _KNOWN)

    def work(connection: Connection) -> str:
        with connection.transaction():
            old = permitted(connection, call, "write", variables.lock_variable)
            fresh = replace(
                old,
                path=told.path or old.path,
                value=old.value if told.value is UNSET else told.value,
                is_secret=old.is_secret if told.is_secret is UNSET else told.is_secret,
                description=old.description if told.description is UNSET else told.description or "",
                rest=without_nulls({**old.rest, **rest}),
                edited_by=call.who.owner,
            )
            if fresh.path != old.path:
                call.who.need_item("variables", "write", fresh.path, {})
            is_sealed = call.query.already_encrypted and told.value is not UNSET
            variables.update_variable(
                connection, call.workspace, old.path, fresh, already_encrypted=is_sealed
            )
            _note(connection, call, "update", fresh)
            return fresh.path

    return text_answer(f"variable {await call.services.run(work)} updated")


@routes.delete("/w/{workspace}/variables/delete/{path*}", returns=str, form="text")
async def delete_variable(call: Call[Any, Any]) -> web.Response:
    """Delete a variable."""

    def work(connection: Connection) -> None:
        with connection.transaction():
            old = permitted(connection, call, "write", variables.lock_variable)
            variables.delete_variable(connection, call.workspace, old.path)
            _note(connection, call, "delete", old)

    await call.services.run(work)
    return text_answer(f"variable {call.path} deleted")


@routes.get("/w/{workspace}/variables/get_value/{path*}", returns=str)
async def get_variable_value(call: Call[Any, Any]) -> web.Response:
    """A variable's text, decrypted."""

    def work(connection: Connection) -> str:
        return _decrypted(
            connection, call, permitted(connection, call, "read", variables.find_variable)
        ).value

    return json_answer(await call.services.run(work))


@routes.get("/w/{workspace}/variables/get/{path*}", query=GetQuery, returns=ListableVariable)
async def get_variable(call: Call[GetQuery, Any]) -> web.Response:
    """A variable with all that is known of it."""

    def work(connection: Connection) -> tuple[Variable, bool]:
        found = permitted(connection, call, "read", variables.find_variable)
        if call.query.decrypt_secret:
            return _decrypted(connection, call, found), True
        return found, not found.is_secret or call.query.include_encrypted

    found, has_value = await call.services.run(work)
    return json_answer(_answer(call, found, has_value=has_value))


@routes.get("/w/{workspace}/variables/exists/{path*}", returns=bool)
async def exists_variable(call: Call[Any, Any]) -> web.Response:
    """Whether there is such a variable."""
    return json_answer(await is_there(call, variables.find_variable))


@routes.get("/w/{workspace}/variables/list", query=ListQuery, returns=list[ListableVariable])
async def list_variables(call: Call[ListQuery, Any]) -> web.Response:
    """Variables that the caller may read, by path; secrets without their text."""
    wanted, page = call.query.filter(call.who), call.query.pages
    found = await call.services.run(lambda c: variables.list_variables(c, call.workspace, wanted, page))
    return json_answer([_answer(call, each, has_value=not each.is_secret) for each in found])


@routes.get("/w/{workspace}/variables/list_contextual", returns=list[ContextualVariable])
async def list_contextual_variables(call: Call[Any, Any]) -> web.Response:
    """What jobs find in their environment, with values as a job of the caller's would see them."""
    base = call.services.base_url
    told = [
        ("WM_TOKEN", "", "A token for this API, good while the job runs."),
        ("WM_WORKSPACE", call.workspace, "The workspace."),
        ("WM_USERNAME", call.who.username, "Who started the job."),
        ("WM_EMAIL", call.who.account.email, "Whose account that is."),
        ("WM_PERMISSIONED_AS", call.who.owner, "Whose rights the job has."),
        ("WM_JOB_ID", "", "The job's id."),
        ("WM_JOB_PATH", "", "The script's path."),
        ("WM_STATE_PATH", "", "Where the script's state is kept."),
        ("WM_FLOW_JOB_ID", "", "Of a step: the flow's job."),
        ("WM_ROOT_FLOW_JOB_ID", "", "Of a step: the job of the outermost flow."),
        ("WM_FLOW_STEP_ID", "", "Of a step: its id in the flow."),
        ("WM_FLOW_PATH", "", "Of a step: the flow's path."),
        ("WM_BASE_URL", base, "Where this API is."),
        ("BASE_INTERNAL_URL", base, "Where this API is, for jobs."),
    ]
    return json_answer([ContextualVariable(*each) for each in told])


def _decrypted(connection: Connection, call: Call[Any, Any], found: Variable) -> Variable:
    if not found.is_secret:
        return found
    with connection.transaction():
        note(connection, call.workspace, call.who.username, "variables.decrypt_secret", "execute", found.path)
        return variables.opened(connection, call.workspace, found)


def _note(connection: Connection, call: Call[Any, Any], action: str, told: Variable) -> None:
    more = {"is_secret": told.is_secret, **({"from": call.names["path"]} if "path" in call.names else {})}
    note(connection, call.workspace, call.who.username, f"variables.{action}", action, told.path, more)


def _answer(call: Call[Any, Any], found: Variable, *, has_value: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        **raws(found.rest),
        "workspace_id": call.workspace,
        "path": found.path,
        "is_secret": found.is_secret,
        "extra_perms": found.extra_perms,
        "description": found.description,
        "edited_at": found.edited_at,
    }
    if found.edited_by is not None:
        told["edited_by"] = found.edited_by.removeprefix("u/")
    if has_value:
        told["value"] = found.value
    return told
