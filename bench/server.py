"""The database of a bench: a server of its own with the product's settings, a fresh database a run.

With DATABASE_URL, fresh databases are made in that server, and dropped again.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psutil
import psycopg
from psycopg import conninfo, sql

from mill_actors.store.embedded import Embedded
from mill_actors.store.migrate import migrate

ROOT = Path(__file__).resolve().parent.parent

_Connection = psycopg.Connection[tuple[Any, ...]]


class Link:
    """The measuring connection: its own statements are few, and counted out where they would show."""

    def __init__(self, dsn: str, name: str = "mill bench") -> None:
        self._connection: _Connection = psycopg.connect(dsn, autocommit=True, application_name=name)
        self.pid = self._connection.info.backend_pid

    def execute(
        self, query: LiteralString | sql.Composed, values: Any = None
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection.execute(query, values)

    def scalar(self, query: LiteralString, values: Any = None) -> Any:
        row = self._connection.execute(query, values).fetchone()
        assert row is not None
        return row[0]

    def close(self) -> None:
        self._connection.close()


class Server:
    """Where the databases are made; `postmaster` is None where the server is on another machine."""

    def __init__(self, dsn: str, *, is_ours: bool) -> None:
        self.dsn = dsn
        self._is_ours = is_ours
        self.link = Link(dsn)
        self.postmaster = _postmaster(self.link)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make a database with the product's schema; drop it behind."""
        name = f"mill_bench_{secrets.token_hex(4)}"
        self.link.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        dsn = _in_database(self.dsn, name)
        try:
            migrate(dsn)
            yield dsn
        finally:
            self.link.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def let_autovacuum(self, *, rest: bool) -> None:
        """Have autovacuum rest, or go on; only in a server of our own, others may need theirs."""
        if not self._is_ours:
            return
        if rest:
            self.link.execute("alter system set autovacuum = off")
        else:
            self.link.execute("alter system reset autovacuum")
        self.link.execute("select pg_reload_conf()")


@contextmanager
def bench_server() -> Iterator[Server]:
    """Yield the server of DATABASE_URL, or start one that goes with the bench."""
    given = os.environ.get("DATABASE_URL")
    if given:
        server = Server(given, is_ours=False)
        try:
            yield server
        finally:
            server.link.close()
        return
    with work_folder("server") as folder, Embedded.start(folder) as embedded:
        server = Server(embedded.dsn, is_ours=True)
        try:
            _refuse_memory_disk(Path(server.link.scalar("show data_directory")))
            yield server
        finally:
            server.link.close()


@contextmanager
def work_folder(name: str) -> Iterator[Path]:
    """Make a folder below `.mill/bench`, and remove it with all that was put elsewhere for it."""
    folder = ROOT / ".mill" / "bench" / f"{name}-{os.getpid()}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    folder.chmod(0o711)  # PostgreSQL's user passes through
    try:
        yield folder
    finally:
        data = folder / "postgres" / "data"
        if data.is_symlink():
            shutil.rmtree(data.resolve().parent, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _in_database(dsn: str, name: str) -> str:
    told = conninfo.conninfo_to_dict(dsn, dbname=name)
    place = {key: str(value) for key, value in told.items() if value is not None}
    user, host = place.pop("user", ""), place.pop("host", "")
    password, port = place.pop("password", ""), place.pop("port", "")
    place.pop("dbname")
    # A URL, because that is what DATABASE_URL is; everything but the name as a parameter, because
    # there a socket's folder needs no special case.
    parameters = {"user": user, "password": password, "host": host, "port": port, **place}
    text = "&".join(f"{key}={quote(value, safe='')}" for key, value in parameters.items() if value)
    return f"postgresql:///{name}?{text}"


def _postmaster(link: Link) -> psutil.Process | None:
    """Return the server's first process, if our own backend is a process of this machine."""
    try:
        backend = psutil.Process(link.pid)
        parent = backend.parent()
    except psutil.Error:
        return None
    if parent is None or "postgres" not in parent.name():
        return None
    return parent


def _refuse_memory_disk(data: Path) -> None:
    """A commit on a memory disk costs nothing: such a figure would be no figure."""
    best = ""
    kind = ""
    for part in psutil.disk_partitions(all=True):
        if data.is_relative_to(part.mountpoint) and len(part.mountpoint) >= len(best):
            best, kind = part.mountpoint, part.fstype
    assert kind not in {"tmpfs", "ramfs"}, f"{data} is on a memory disk ({kind})"
