"""From a request to a handler's call: who, where, and whether it fits the route's types."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from mill_actors.api.authentication import Authenticator, token_of
from mill_actors.api.permissions import NOBODY, Principal, as_told, scope_allows
from mill_actors.api.problems import Problem, invalid, problem_of
from mill_actors.api.routing import Call, NoQuery, Route
from mill_actors.api.services import Services
from mill_actors.errors import FlowNotFound, ScriptNotFound

#: How long a body may take to arrive.
BODY_SECONDS = 60.0

_FULL = Problem(503, "busy", "This server has as many requests as it takes. Come again.")
#: A few bytes may be gigabytes, and take a minute of this loop to be found too large.
_COMPRESSED = Problem(415, "unsupported_media_type", "Bodies are not compressed here: send it as it is.")

AioHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def dispatcher(route: Route, services: Services, authenticator: Authenticator) -> AioHandler:
    """Return the route's handler as aiohttp calls it."""
    decoder = None if route.body in {None, bytes} else msgspec.json.Decoder(route.body)

    async def handle(request: web.Request) -> web.StreamResponse:
        names = dict(request.match_info)
        workspace = names.get("workspace", "")
        _check_text(names.values(), "path")
        _check_text(request.query.values(), "query")
        who = await _who(route, request, authenticator, workspace)
        if not route.is_public and not scope_allows(who.account.scopes, route.domain, route.action):
            # Those that are about one path are checked again where the path is known.
            place = names.get("path", "")
            if not scope_allows(who.account.scopes, route.domain, route.action, place):
                raise Problem(403, "forbidden", f"The token's scopes lack {route.domain}:{route.action}.")
        if route.action == "write" and who.is_operator:
            raise Problem(403, "forbidden", "Operators run and read, and change nothing.")
        query = _query(route, request)
        body: Any = None
        if route.body is not None:
            body = await _body(request)
            if decoder is not None:
                try:
                    body = decoder.decode(body or b"null")
                except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                    raise invalid(error, "body") from error
        try:
            return await route.handler(Call(services, request, who, workspace, names, query, body))
        except (ScriptNotFound, FlowNotFound) as error:
            raise as_told(error, who) from None

    return handle


async def _who(route: Route, request: web.Request, authenticator: Authenticator, workspace: str) -> Principal:
    if not route.is_public:
        return await authenticator.principal(request, workspace)
    if not route.looks_at_token:
        return NOBODY
    return await authenticator.anybody(token_of(request), workspace, route.domain, route.action)


class Gate:
    """The middleware around every handler: not too many at once, and every error in one shape."""

    def __init__(self, max_requests: int) -> None:
        self._most = self._free = max_requests
        self._waits: asyncio.Future[None] | None = None

    @property
    def under_way(self) -> int:
        """How many requests are under way."""
        return self._most - self._free

    async def is_idle(self) -> None:
        """Wait until no request is under way. For one caller."""
        if self.under_way:
            self._waits = asyncio.get_running_loop().create_future()
            await self._waits

    def middleware(self) -> Middleware:
        """Return it as aiohttp wants it."""

        @web.middleware
        async def gate(request: web.Request, handler: AioHandler) -> web.StreamResponse:
            if self._free <= 0:
                return _FULL.answer()
            if request.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
                return _COMPRESSED.answer()
            self._free -= 1
            answer: web.StreamResponse = web.Response()
            try:
                try:
                    answer = await handler(request)
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # noqa: BLE001  each has its answer
                    if request.transport is None:
                        # Nobody is there to be told: not of what his own going has broken, either.
                        return answer
                    problem = problem_of(error)
                    if request.writer.output_size:
                        # Half of an answer is out: nothing but its end tells that it is not whole.
                        request.transport.abort()
                        return answer
                    answer = problem.answer()
                # A request is under way until its answer is sent.
                await answer.prepare(request)
                await answer.write_eof()
            except ConnectionError:
                return answer  # aiohttp finds the same, and says nothing
            else:
                return answer
            finally:
                self._free += 1
                if self._waits is not None and not self.under_way and not self._waits.done():
                    self._waits.set_result(None)

        return gate


def _query(route: Route, request: web.Request) -> Any:
    if route.query is NoQuery:
        return NoQuery()
    # An empty one is as good as none: Windmill's client sends `approver=`.
    given = {name: text for name, text in request.query.items() if text}
    try:
        told: Any = msgspec.convert(given, route.query, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise invalid(error, "query") from error
    for name, text in given.items():
        # To msgspec the word null is null, where there may be none.
        if getattr(told, name, ...) is None:
            raise Problem(400, "invalid_query", f"{name}={text} is none.", f"$.{name}")
    return told


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise Problem(408, "timeout", f"The body did not arrive within {BODY_SECONDS:.0f} s.") from None


def _check_text(texts: Any, where: str) -> None:
    for text in texts:
        if "\0" in text:
            raise Problem(400, f"invalid_{where}", "NUL is no letter.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Problem(400, f"invalid_{where}", "It has half a character.") from None
