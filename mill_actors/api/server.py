"""The server: routes on an aiohttp application, from start to drain.

Everything runs on one event loop. `serve` is the command; `ServerThread` is for programs that have other
things to do (`mill dev`, tests, benches).
"""

from __future__ import annotations

import asyncio
import logging
import resource
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
from mill_actors.api.cross_origin import from_anywhere, nothing, preflight
from mill_actors.api.dispatch import Gate, dispatcher
from mill_actors.api.openapi import document, page
from mill_actors.api.routes import ALL
from mill_actors.api.services import Services
from mill_actors.config import Config
from mill_actors.errors import CannotListen, MillError
from mill_actors.store.connection import Database

logger = logging.getLogger(__name__)

#: What aiohttp says of what is no HTTP.
_requests = logging.getLogger(f"{__name__}.requests")

PREFIX = "/api"
AT_ROOT = frozenset({"/health", "/ready", "/version"})
START_SECONDS = 30.0
#: Beside the connections of callers: the database's, logs, and those that are about to be refused.
SPARE_FILES = 1000
#: How long a connection may be without a request; proxies in front keep theirs for 60.
KEEPALIVE_SECONDS = 75.0
#: How long a connection may take nothing of what it is sent.
STALLED_SECONDS = 30.0
#: What is left to those who are sent home at the end of a drain, twice: to answer, and to clean up.
LAST_SECONDS = 1.0


def _without_words(record: logging.LogRecord) -> bool:
    """Let a log line pass without what was sent: there may be a token in it."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info = None
        record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}", ()
    return True


_requests.addFilter(_without_words)


def application(services: Services, gate: Gate) -> web.Application:
    """Return the application; `services` are entered."""
    app = web.Application(
        middlewares=[gate.middleware()],
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
    seen: set[str] = set()
    for route in ALL:
        handle = dispatcher(route, services, services.authenticator)
        runs = route.domain == "jobs" and route.action == "run"
        if runs:
            handle = from_anywhere(handle)
        # The second is where load balancers look.
        for path in (PREFIX + route.pattern, *([route.path] if route.path in AT_ROOT else [])):
            app.router.add_route(route.method, path, handle)
            if path in seen:
                continue
            seen.add(path)
            if runs:
                # To ask whether it is there must not run it.
                app.router.add_route("HEAD", path, nothing)
                app.router.add_route("OPTIONS", path, preflight)
            elif route.method == "GET" and route.form in {"json", "text"}:
                app.router.add_route("HEAD", path, handle)
    return app


class Serving:
    """A server that answers."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.gate = Gate(services.config.server.max_requests)
        self._hurry = asyncio.Event()
        self.url = ""

    def hurry(self) -> None:
        """Let the drain end now, or when it begins."""
        self._hurry.set()

    async def drain(self, _: web.Application) -> None:
        """Let requests end; who still waits for a result when the time is over is told so."""
        self.services.watcher.close()
        idle = asyncio.ensure_future(self.gate.is_idle())
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait(
            (idle, hurry),
            timeout=self.services.config.server.drain_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        idle.cancel()
        hurry.cancel()
        self.services.send_home()


@asynccontextmanager
async def serving(config: Config, database: Database) -> AsyncIterator[Serving]:
    """Serve; on leaving drain: requests under way end, within the grace. Raises `CannotListen`."""
    settings = config.server
    async with Services(config, database, settings.base_url or "") as services:
        server = Serving(services)
        app = application(services, server.gate)
        app.on_shutdown.append(server.drain)
        runner = web.AppRunner(
            app,
            handle_signals=False,
            # Whoever hangs up is not worked for.
            handler_cancellation=True,
            access_log=None,
            logger=_requests,
            auto_decompress=False,
            # It is also how long the head of a request may take.
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=LAST_SECONDS,
        )
        await runner.setup()
        watch = asyncio.create_task(cut_off_the_stalled(runner))
        try:
            try:
                await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
            except OSError as error:
                raise CannotListen(settings.host, settings.port, error.strerror or str(error)) from error
            host, port = runner.addresses[0][:2]
            server.url = f"http://{host}:{port}"
            if not services.base_url:
                services.base_url = server.url
            yield server
        finally:
            await runner.cleanup()
            watch.cancel()


async def cut_off_the_stalled(runner: web.AppRunner) -> None:
    """Cut off whoever does not read what he is sent: nothing else would end such an answer."""
    before: dict[asyncio.BaseTransport, tuple[int, int]] = {}
    while True:
        await asyncio.sleep(STALLED_SECONDS / 2)
        now: dict[asyncio.BaseTransport, tuple[int, int]] = {}
        for connection in runner.server.connections if runner.server is not None else ():
            transport = connection.transport
            if transport is None or not (left := transport.get_write_buffer_size()):
                continue
            size, times = before.get(transport, (0, 0))
            times = times + 1 if size == left else 0
            if times >= 2:  # seen three times, with all of the time in between
                transport.abort()
            else:
                now[transport] = (left, times)
        before = now


async def serve(config: Config, database: Database, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once. `started` gets the URL."""
    allow_connections(config.server.max_requests + SPARE_FILES)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with serving(config, database) as server:

        def on_signal() -> None:
            if stop.is_set():
                server.hurry()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        started(server.url)
        await stop.wait()
        logger.info("finishing what runs")


def allow_connections(wanted: int) -> None:
    """Raise the limit of open files, as far as one may: a shell's 1,024 are fewer than may wait."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        logger.debug("%d open files are allowed here, for up to %d requests: see ulimit -n", most, wanted)


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
        is_ready = self._ready.wait(START_SECONDS)
        if self._error is not None:
            raise self._error
        if not is_ready:
            message = f"The API did not start within {START_SECONDS:.0f} s."
            raise MillError(message)
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
        async with serving(self._config, self._database) as server:
            self.url = server.url
            self._ready.set()
            await self._stop.wait()
