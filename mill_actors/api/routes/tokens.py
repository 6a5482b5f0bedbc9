"""One's own tokens. What makes a token never makes one that may more than itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from msgspec import Struct

from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.listing import PageQuery
from mill_actors.api.permissions import Principal, scope_within
from mill_actors.api.problems import Problem, not_found
from mill_actors.api.routing import Call, Routes
from mill_actors.store import tokens
from mill_actors.store.access import member_by_email, new_token, note
from mill_actors.store.connection import Connection

routes = Routes("tokens")

#: What a job makes ends soon after it: its own token is good while it runs.
JOB_DAYS = 1
#: A date that every database and calendar knows.
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class NewToken(Struct, kw_only=True):
    """What is left out is as with the token that asks: scopes, workspace, and never a later end."""

    label: str | None = None
    expiration: datetime | None = None
    scopes: list[str] | None = None
    workspace_id: str | None = None
    read_only: bool = False


class TruncatedToken(JsonAnswer):
    """A token without what makes it one."""

    token_prefix: str
    created_at: datetime
    last_used_at: datetime
    read_only: bool
    label: str | None = None
    expiration: datetime | None = None
    scopes: list[str] | None = None
    email: str | None = None
    workspace_id: str | None = None


class TokensQuery(PageQuery, kw_only=True):
    """`exclude_ephemeral`: without those that a login made."""

    exclude_ephemeral: bool = False


@routes.post("/users/tokens/create", body=NewToken | None, returns=str, status=201, form="text")
async def create_token(call: Call[Any, NewToken | None]) -> web.Response:
    """Make a token of one's own; it is shown once."""
    who = call.who
    told = call.body or NewToken()
    scopes = _scopes(who, told)
    workspace = told.workspace_id or who.account.workspace
    if who.account.workspace not in {None, workspace}:
        raise Problem(403, "forbidden", f"This token is good for {who.account.workspace!r} alone.")
    expires = _end(who, told.expiration)

    def work(connection: Connection) -> str:
        with connection.transaction():
            if workspace is not None:
                member = member_by_email(connection, workspace, who.account.email)
                if member is None and not who.account.is_superadmin:
                    raise Problem(403, "forbidden", f"{who.account.email} is no member of {workspace!r}.")
            made = new_token(
                connection,
                who.account.email,
                label=told.label,
                workspace=workspace,
                scopes=scopes,
                expires_at=expires,
            )
            more = {"label": told.label, "scopes": scopes, "job": who.job}
            note(connection, workspace or "", who.account.email, "users.token.create", "create", None, more)
            return made

    return text_answer(await call.services.run(work), 201)


@routes.get("/users/tokens/list", query=TokensQuery, returns=list[TruncatedToken])
async def list_tokens(call: Call[TokensQuery, Any]) -> web.Response:
    """One's own tokens, newest first, as far as they can be shown."""
    who = call.who.account
    found = await call.services.run(
        lambda connection: tokens.list_tokens(
            connection,
            who.email,
            call.query.pages,
            workspace=who.workspace,
            sessions=not call.query.exclude_ephemeral,
        )
    )
    return json_answer(
        [
            TruncatedToken(
                token_prefix=each.prefix,
                created_at=each.created_at,
                last_used_at=each.last_used_at,
                read_only=each.scopes is not None and all(_reads(scope) for scope in each.scopes),
                label=each.label,
                expiration=each.expires_at,
                scopes=each.scopes,
                email=who.email,
                workspace_id=each.workspace,
            )
            for each in found
        ]
    )


@routes.delete("/users/tokens/delete/{prefix}", returns=str, form="text")
async def delete_token(call: Call[Any, Any]) -> web.Response:
    """Delete one's own token by its first letters, from this moment on."""
    who, prefix = call.who.account, call.names["prefix"]

    def work(connection: Connection) -> bool:
        with connection.transaction():
            gone = tokens.delete_token(connection, who.email, prefix, workspace=who.workspace)
            if gone:
                note(connection, who.workspace or "", who.email, "users.token.delete", "delete", prefix)
            return gone

    if not await call.services.change_rights(work):
        raise not_found(f"token that begins with {prefix!r}")
    return text_answer("token deleted")


def _scopes(who: Principal, told: NewToken) -> list[str] | None:
    own = who.account.scopes
    wanted = told.scopes
    if wanted is None:
        wanted = None if own is None else list(own)
    if told.read_only:
        wanted = ["*:read"] if wanted is None else [_reading(scope) for scope in wanted]
    for scope in wanted or ():
        if not scope_within(own, scope):
            raise Problem(403, "forbidden", f"This token's own scopes do not allow {scope!r}.", "$.scopes")
    return wanted


def _reading(scope: str) -> str:
    domain, _, rest = scope.partition(":")
    _, colon, place = rest.partition(":")
    return f"{domain}:read{colon}{place}"


def _reads(scope: str) -> bool:
    return scope.split(":")[1:2] == ["read"]


def _end(who: Principal, wanted: datetime | None) -> datetime | None:
    now = datetime.now(UTC)
    if wanted is not None:
        wanted = wanted if wanted.tzinfo is not None else wanted.replace(tzinfo=UTC)
        if wanted <= now:
            raise Problem(400, "invalid_body", "The token would have expired already.", "$.expiration")
    latest = [end for end in (wanted, who.account.expires_at) if end is not None]
    if who.job is not None:
        latest.append(now + timedelta(days=JOB_DAYS))
    return min([*latest, _LATEST]) if latest else None
