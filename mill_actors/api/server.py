"""The server: routes on an aiohttp application, from start to drain.

Everything runs on one event loop. `serve` is the command; `ServerThread` is for programs that have other
things to do (`mill dev`, tests, benches).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from mill_actors.api import approval_page
from mill_actors.api.answers import raw_answer
from mill_actors.api.approval_page import ApprovalPage
from mill_actors.api.dispatch import Gate, dispatcher
from mill_actors.api.openapi import document, page
from mill_actors.api.routes import ALL
from mill_actors.api.services import Services
from mill_actors.config import Config
from mill_actors.store.connection import Database

logger = logging.getLogger(__name__)

#: What aiohttp says of what is no HTTP.
_requests = logging.getLogger(f"{__name__}.requests")

PREFIX = "/api"
AT_ROOT = frozenset({"/health", "/ready", "/version"})
START_SECONDS = 30.0


def _without_words(record: logging.LogRecord) -> bool:
    """Let a log line pass without what was sent: there may be a token in it."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info = None
        record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}", ()
    return True


_requests.addFilter(_without_words)


def application(services: Services) -> web.Application:
    """Return the application; `services` are entered."""
    app = web.Application(
        middlewares=[Gate(services.config.server.max_requests).middleware()],
        client_max_size=services.config.server.max_body_bytes,
    )

    async def openapi(_: web.Request) -> web.Response:
        # Where we listen is known only now.
        return raw_answer(document(ALL, services.base_url))

    async def docs(_: web.Request) -> web.Response:
        # Not below /api: there Windmill's command line takes HTML for a gateway in between.
        return web.Response(text=page(), content_type="text/html")

    app.router.add_get(f"{PREFIX}/openapi.json", openapi)
    approval = ApprovalPage(services)
    app.router.add_get(approval_page.PATH, approval.show)
    app.router.add_post(approval_page.PATH, approval.take)
    app.router.add_get("/docs", docs)
    app.router.add_get("/", docs)
    for route in ALL:
        if route.path in AT_ROOT:
            # Where load balancers look.
            app.router.add_route(
                route.method, route.pattern, dispatcher(route, services, services.authenticator)
            )
        app.router.add_route(
            route.method, PREFIX + route.pattern, dispatcher(route, services, services.authenticator)
        )

    async def send_home(_: web.Application) -> None:
        # Streams and held answers would be waited for.
        services.watcher.close()

    app.on_shutdown.append(send_home)
    return app


@asynccontextmanager
async def serving(config: Config, database: Database) -> AsyncIterator[str]:
    """Serve, and lend the URL; on leaving drain: requests under way end, within the grace."""
    settings = config.server
    async with Services(config, database, settings.base_url or "") as services:
        runner = web.AppRunner(
            application(services),
            handle_signals=False,
            # Whoever hangs up is not worked for.
            handler_cancellation=True,
            access_log=None,
            logger=_requests,
            auto_decompress=False,
            keepalive_timeout=75.0,
            shutdown_timeout=settings.drain_seconds,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
            await site.start()
            host, port = runner.addresses[0][:2]
            url = f"http://{host}:{port}"
            if not services.base_url:
                services.base_url = url
            yield url
        finally:
            await runner.cleanup()


async def serve(config: Config, database: Database, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `started` gets the URL."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(config, database) as url:
        started(url)
        await stop.wait()
        logger.info("finishing what runs")


class ServerThread:
    """A server in a thread of its own: entered when it answers, left when it has drained."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._database = database
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="mill-server", daemon=True)
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(START_SECONDS)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(self._config.server.drain_seconds + START_SECONDS)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  raised where it was entered
            self._error = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with serving(self._config, self._database) as self.url:
            self._ready.set()
            await self._stop.wait()
