"""Callers in browsers: pages of any origin may run things, as Windmill lets them.

It gives nobody a right: such a request carries no cookie of ours, and needs a token as any other does.
"""

from __future__ import annotations

from aiohttp import web

from mill_actors.api.dispatch import AioHandler
from mill_actors.api.problems import problem_of

_ANY = {"Access-Control-Allow-Origin": "*"}
_MAY = {
    **_ANY,
    "Access-Control-Allow-Methods": "GET, POST, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type, idempotency-key",
    "Access-Control-Max-Age": "3600",
}


async def nothing(_: web.Request) -> web.Response:
    """Answer a HEAD."""
    return web.Response()


async def preflight(_: web.Request) -> web.Response:
    """Answer what a browser asks before it sends."""
    return web.Response(status=204, headers=_MAY)


def from_anywhere(handle: AioHandler) -> AioHandler:
    """Return a handler whose answers a page may read, errors among them."""

    async def handle_all(request: web.Request) -> web.StreamResponse:
        if "Origin" not in request.headers:
            return await handle(request)
        try:
            answer = await handle(request)
        except Exception as error:  # noqa: BLE001  each has its answer
            answer = problem_of(error).answer()
        if not answer.prepared:
            answer.headers.update(_ANY)
        return answer

    return handle_all
