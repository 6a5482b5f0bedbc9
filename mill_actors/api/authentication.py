"""Who sends a request: a bearer token, `?token=`, or the cookie that Windmill's command line sends.

What a token means is remembered for a second or two, so a hot client costs no statement a request; what
changes is heard of after that.
"""

from __future__ import annotations

import asyncio
from time import monotonic, time
from urllib.parse import unquote

from aiohttp import web
from msgspec import Struct

from mill_actors.api.permissions import NOBODY, Principal, scope_allows
from mill_actors.api.problems import Problem
from mill_actors.errors import InvalidToken
from mill_actors.store.access import (
    Account,
    account_of_token,
    folder_rights,
    job_of_token,
    member_by_email,
    member_by_username,
    note_use,
)
from mill_actors.store.connection import Connection
from mill_actors.store.pool import Pool
from mill_actors.store.rights import folder_levels

REMEMBER_SECONDS = 2.0
MAX_REMEMBERED = 10_000


class _Remembered(Struct):
    who: Principal
    until: float


class Authenticator:
    """Looks tokens up, and remembers for a moment."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[tuple[str, str], _Remembered] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[Principal]] = {}
        self._changes = 0

    async def principal(self, request: web.Request, workspace: str) -> Principal:
        """Return who sends a request about a workspace ("": about none); raise a 401 or 403 `Problem`."""
        token = token_of(request)
        if token is None:
            raise Problem(401, "unauthorized", "There is no token: send Authorization: Bearer TOKEN.")
        return await self.of_token(token, workspace)

    async def of_token(self, token: str, workspace: str) -> Principal:
        """Return whom a token speaks for; raise as `principal` does."""
        key = (token, workspace)
        known = self._known.get(key)
        if known is not None and known.until > monotonic():
            return known.who
        # Thousands may come at once with one token: one of them asks, for all.
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key, self._changes))
            asking.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(asking)

    async def _ask(self, key: tuple[str, str], changes: int) -> Principal:
        token, workspace = key
        who = await self._pool.run(lambda connection: _look_up(connection, token, workspace))
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        if changes == self._changes:  # else what was read may be older than the change
            self._known[key] = _Remembered(who, monotonic() + REMEMBER_SECONDS)
        return who

    def _asked(self, key: tuple[str, str], done: asyncio.Task[Principal]) -> None:
        if self._asking.get(key) is done:
            del self._asking[key]
        if not done.cancelled():
            done.exception()  # whoever asked may have gone

    async def anybody(self, token: str | None, workspace: str, domain: str, action: str) -> Principal:
        """Return who sends a request that anybody may send: nobody, if his token is worth nothing for it."""
        if token is None:
            return NOBODY
        try:
            who = await self.of_token(token, workspace)
        except Problem:
            return NOBODY
        return who if scope_allows(who.account.scopes, domain, action) else NOBODY

    def forget(self) -> None:
        """Look everybody up anew: rights have changed, and the change is committed."""
        self._changes += 1
        self._known.clear()
        # What they read may be older than the change, and those who come now want to know.
        self._asking.clear()


def token_of(request: web.Request) -> str | None:
    """Return the token of a request, wherever it is."""
    header = request.headers.get("Authorization", "")
    kind, _, token = header.partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return request.query.get("token") or cookie_of(request)


def cookie_of(request: web.Request) -> str | None:
    """Return the token that a browser keeps, unless another site's page makes it send a request.

    The cookie is no cross-site one; what another port or a neighbouring name serves is the same site, though.
    """
    if request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        return None
    return session_of(request)


def session_of(request: web.Request) -> str | None:
    """Return the token that a browser keeps, wherever the request is from: for what changes nothing."""
    return unquote(request.cookies.get("token", "")) or None


def _look_up(connection: Connection, token: str, workspace: str) -> Principal:
    if token.startswith("wm1."):
        return _of_job(connection, token, workspace)
    account = account_of_token(connection, token)
    if account is None:
        raise Problem(401, "unauthorized", "The token is unknown, or has expired.")
    note_use(connection, token)
    if not workspace:
        if account.workspace is not None:
            raise Problem(401, "unauthorized", "The token is good for one workspace only.")
        return Principal(account)
    if account.workspace not in {None, workspace}:
        raise Problem(403, "forbidden", f"The token is not good for workspace {workspace!r}.")
    return _in_workspace(connection, account, workspace)


def _in_workspace(
    connection: Connection, account: Account, workspace: str, job: str | None = None
) -> Principal:
    member = member_by_email(connection, workspace, account.email)
    if (member is None and not account.is_superadmin) or (member is not None and member.disabled):
        # Whether there is such a workspace is nobody else's business.
        raise Problem(403, "forbidden", f"{account.email} is no member of workspace {workspace!r}.")
    levels: dict[str, str] = {}
    if member is not None and member.role != "admin":
        names = {f"u/{member.username}", *(f"g/{group}" for group in member.groups)}
        levels = folder_levels(names, folder_rights(connection, workspace))
    return Principal(account, member, workspace, levels, job)


def _of_job(connection: Connection, token: str, workspace: str) -> Principal:
    try:
        place, runs_as, job = job_of_token(connection, token, time())
    except InvalidToken as error:
        raise Problem(401, "unauthorized", str(error)) from error
    if workspace not in {"", place}:
        raise Problem(403, "forbidden", f"The token is not good for workspace {workspace!r}.")
    username = runs_as.removeprefix("u/")
    member = member_by_username(connection, place, username)
    if member is None or member.disabled:
        raise Problem(403, "forbidden", f"{runs_as} is no member of workspace {place!r}.")
    account = Account(member.email, member.name, member.is_superadmin, place)
    return _in_workspace(connection, account, place, job)
