"""A door in front of PostgreSQL that a test opens and shuts, and a thief of replies.

It listens on a Unix socket. Connections are known by their application_name, which is the name
their actor gave them: `mill completer`, `mill puller`, …
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PORT = "5432"


class Trap:
    """Waits for a request, lets it through, and swallows its reply and the connection."""

    def __init__(self, application: str, containing: bytes) -> None:
        self.application = application.encode()
        self.containing = containing
        self.has_sprung = threading.Event()


class Line:
    """One connection through the proxy, with a thread of its own."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.application = b""
        self._proxy = proxy
        self._client = client
        self._server = proxy.connect()
        self._is_ready = False
        self._trap: Trap | None = None
        self._swallowed = b""
        self.thread = threading.Thread(target=self._carry, name="proxy line", daemon=True)
        self.thread.start()

    def cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _carry(self) -> None:
        with self._client, self._server, suppress(OSError):
            while True:
                ready, _, _ = select.select([self._client, self._server], [], [])
                self._proxy.goes_on.wait()
                for end in ready:
                    data = end.recv(1 << 16)
                    if not data or not (self._up(data) if end is self._client else self._down(data)):
                        return
        self._proxy.forget(self)

    def _up(self, data: bytes) -> bool:
        if not self.application:
            _, _, after = data.partition(b"application_name\0")
            self.application = after.partition(b"\0")[0] or b"?"
        if self._trap is None and self._is_ready:
            self._trap = self._proxy.sprung_by(self.application, data)
        self._server.sendall(data)
        return True

    def _down(self, data: bytes) -> bool:
        if self._trap is None:
            # Before the first ReadyForQuery it is still the greeting.
            self._is_ready = self._is_ready or b"Z\0\0\0\5" in data
            self._client.sendall(data)
            return True
        self._swallowed += data
        if self._is_complete():
            self._trap.has_sprung.set()
            return False  # the server has done it, and the client will never know
        return True

    def _is_complete(self) -> bool:
        """Whether ReadyForQuery is among what was swallowed."""
        at = 0
        while at + 5 <= len(self._swallowed):
            if self._swallowed[at : at + 1] == b"Z":
                return True
            at += 1 + int.from_bytes(self._swallowed[at + 1 : at + 5], "big")
        return False


class Proxy:
    """Use it in a `with`; `dsn` leads through it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._target = conninfo_to_dict(dsn)
        self._path = folder / f".s.PGSQL.{PORT}"
        self.dsn = make_conninfo(dsn, host=str(folder), port=PORT)
        self._lines: set[Line] = set()
        self._traps: list[Trap] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._lock = threading.Lock()
        self._door: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()

    # -- what tests do -------------------------------------------------------------

    def open(self) -> None:
        """Let connections in."""
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(self._path))
        self._door.listen(64)
        self._thread = threading.Thread(target=self._answer, args=(self._door,), name="proxy", daemon=True)
        self._thread.start()

    def shut(self) -> None:
        """Be away: cut everybody off, and refuse whoever comes."""
        self.go_on()
        if self._door is None or self._thread is None:
            return
        self._path.unlink()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._thread.join(5.0)
        self._door.close()
        self._door = None
        self.cut()

    def cut(self, application: str | None = None) -> int:
        """Cut connections off, all or one actor's; how many."""
        with self._lock:
            lines = [
                ln for ln in self._lines if application is None or ln.application == application.encode()
            ]
        for line in lines:
            line.cut()
        for line in lines:
            line.thread.join(5.0)
        return len(lines)

    def stall(self) -> None:
        """Carry nothing any more, and say nothing: connections stay, and new ones are taken."""
        self.goes_on.clear()

    def go_on(self) -> None:
        """Carry all that has come meanwhile."""
        self.goes_on.set()

    def lose_reply(self, application: str, containing: bytes = b"") -> threading.Event:
        """Lose the reply to that actor's next request that contains these bytes."""
        trap = Trap(application, containing)
        with self._lock:
            self._traps.append(trap)
        return trap.has_sprung

    # -- for its own threads -------------------------------------------------------

    def connect(self) -> socket.socket:
        host, port = str(self._target["host"]), str(self._target.get("port", PORT))
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host, int(port)))

    def sprung_by(self, application: bytes, data: bytes) -> Trap | None:
        with self._lock:
            for trap in self._traps:
                if trap.application == application and trap.containing in data:
                    self._traps.remove(trap)
                    return trap
        return None

    def forget(self, line: Line) -> None:
        with self._lock:
            self._lines.discard(line)

    def _answer(self, door: socket.socket) -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            try:
                line = Line(self, client)
            except OSError:  # the server itself is away
                client.close()
                continue
            with self._lock:
                self._lines.add(line)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Look again and again, for what sends no signal."""
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"not within {seconds:g} s: {what}"
            raise AssertionError(message)
        time.sleep(0.005)
