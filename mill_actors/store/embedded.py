"""The embedded PostgreSQL: started with a directory's first command, stopped after its last.

Everything lives in `<root>/postgres/`: `data`, `log`, `password` (0600), and lock
files. `starting` is held while somebody starts the server, `users` (shared) by all
who use it, `keeper` by the process that keeps it (keeper.py), `leaving` for moments.

Guarantees: twenty commands at once share one server; it stops when its last user
has left or was killed, and not before; what power loss or kill -9 leave behind
does not hinder the next start. The server listens on a Unix socket only.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from mill_actors.errors import StoreUnavailable
from mill_actors.store.account import give, run_as
from mill_actors.store.cluster import ENVIRONMENT, USER, Cluster
from mill_actors.store.locks import FileLock, is_held
from mill_actors.store.postmaster import Postmaster, read_postmaster, remove_leftovers, socket_in

DATABASE = "mill"
# A recovery after power loss replays at most max_wal_size.
START_SECONDS = 120.0
STOP_SECONDS = 20.0

# Durability is PostgreSQL's default: fsync and synchronous_commit are on.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    # Taken from the machine page by page, as they are used.
    "shared_buffers": "256MB",
    "wal_compression": "on",
    # Statements here cost microseconds: neither pays for itself.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # The queue turns over completely within a minute: dead rows must go sooner.
    "autovacuum_naptime": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements hold arguments of jobs, which have no place in a log.
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}

# sun_path holds 104 bytes on macOS, 108 on Linux, with the zero at the end.
_SOCKET_PATH_BYTES = 103
_LOG_BYTES = 10 * 1024 * 1024
_KEEPER = Path(__file__).with_name("keeper.py")


class Embedded:
    """One use of the embedded server; made by `start`, over with `stop`."""

    def __init__(self, folder: Path, cluster: Cluster, users: FileLock, dsn: str) -> None:
        self.folder = folder
        self.cluster = cluster
        self.dsn = dsn
        self._users = users

    @classmethod
    def start(
        cls, root: Path, *, major: int | None = None, settings: Mapping[str, str] | None = None
    ) -> Self:
        """Use the server below `root`, the work directory (`.mill`), and start it if need be.

        `major` counts where there is no data yet, `settings` where the server
        does not run yet. Blocks until connections are accepted.
        """
        folder = root.absolute() / "postgres"
        try:
            _prepare(folder)
            return cls._start(folder, major, {**SETTINGS, **(settings or {})})
        except (OSError, subprocess.CalledProcessError, psycopg.Error) as error:
            message = f"The embedded PostgreSQL cannot be started in {folder}: {error}"
            raise StoreUnavailable(message) from error

    @classmethod
    def _start(cls, folder: Path, major: int | None, settings: Mapping[str, str]) -> Self:
        deadline = time.monotonic() + START_SECONDS
        with FileLock(folder / "starting") as starting:
            if not starting.wait(deadline):
                message = (
                    f"Another command has been starting PostgreSQL in {folder} for {START_SECONDS:.0f} s."
                )
                raise StoreUnavailable(message)
            users = FileLock(folder / "users")
            try:
                # Waits while the keeper, alone, is stopping the server.
                if not users.wait(deadline, shared=True):
                    message = f"PostgreSQL in {folder} has been stopping for {START_SECONDS:.0f} s."
                    raise StoreUnavailable(message)
                password = _password(folder)
                cluster = Cluster(folder / "data", password, major)
                running = _await(folder, cluster, settings, deadline)
                dsn = (
                    f"postgresql://{USER}:{quote(password)}@/{DATABASE}"
                    f"?host={quote(str(running.sockets), safe='')}&port={running.port}"
                )
                _ensure_database(dsn)
            except BaseException:
                users.close()
                raise
        return cls(folder, cluster, users, dsn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def program(self, name: str) -> Path:
        """Return the path of a program of the server's version, such as `pg_dump`."""
        return self.cluster.program(name)

    def stop(self) -> None:
        """Leave the server; the last to leave waits until it is down. May be called twice.

        Leaving by dying is as good, except that nobody waits.
        """
        self._users.close()
        deadline = time.monotonic() + STOP_SECONDS
        while is_held(self.folder / "keeper") and time.monotonic() < deadline:
            if self._is_used(deadline):
                return
            time.sleep(0.01)

    def _is_used(self, deadline: float) -> bool:
        """Say whether others use the server; False also while the keeper stops it."""
        # One at a time, or those who leave together would take each other for users.
        with FileLock(self.folder / "leaving") as alone, FileLock(self.folder / "users") as users:
            # The keeper on its way out refuses both kinds, a user only the first.
            return alone.wait(deadline) and not users.take() and users.take(shared=True)


@contextmanager
def temporary_server(
    *, major: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Embedded]:
    """Run a server of one's own in a folder that goes with it: for tests and `make schema`."""
    with tempfile.TemporaryDirectory(prefix="mill-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's user passes through
        with Embedded.start(Path(folder), major=major, settings=settings) as server:
            yield server


def _prepare(folder: Path) -> None:
    # 0711: the users of the server and of jobs pass through to what is theirs.
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    ignore = folder.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def _password(folder: Path) -> str:
    path = folder / "password"
    if not path.exists():
        if (folder / "data").exists():
            message = (
                f"{path} is missing, and with it the way into {folder / 'data'}: restore it, or remove both."
            )
            raise StoreUnavailable(message)
        new = folder / "password.new"
        new.touch(mode=0o600)
        new.write_text(secrets.token_urlsafe(32))
        new.rename(path)
    return path.read_text()


def _await(folder: Path, cluster: Cluster, settings: Mapping[str, str], deadline: float) -> Postmaster:
    """Wait until the server accepts connections, starting a keeper where there is none."""
    launched = False
    while True:
        if not is_held(folder / "keeper"):
            if launched:
                message = f"PostgreSQL did not start; the end of {folder / 'log'}:\n{_tail(folder / 'log')}"
                raise StoreUnavailable(message)
            _launch(folder, cluster, settings)
            launched = True
        running = read_postmaster(cluster.data)
        if running is not None and running.accepts():
            return running
        if time.monotonic() > deadline:
            message = f"PostgreSQL did not get ready; the end of {folder / 'log'}:\n{_tail(folder / 'log')}"
            raise StoreUnavailable(message)
        time.sleep(0.005)


def _launch(folder: Path, cluster: Cluster, settings: Mapping[str, str]) -> None:
    log = folder / "log"
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.rename(folder / "log.old")
    running = read_postmaster(cluster.data)
    # A keeper was killed and its server lives on, under others.
    adopts = running is not None and running.is_alive()
    if running is not None and adopts:
        sockets, port = running.sockets, running.port
    else:
        remove_leftovers(cluster.data)
        port = settings["port"]
        sockets = _socket_folder(cluster, port)
    options = [f"--{name}={value}" for name, value in settings.items()]
    plan = {
        "command": [str(cluster.program("postgres")), "-D", str(cluster.data), "-k", str(sockets), *options],
        "data": str(cluster.data),
        "socket": str(socket_in(sockets, port)),
        "log": str(log),
        "user": run_as(cluster.account),
        "adopts": adopts,
        "keeper_lock": str(folder / "keeper"),
        "users_lock": str(folder / "users"),
    }
    # Returns once the keeper has its lock and has gone into the background.
    subprocess.run(
        [sys.executable, "-I", "-S", str(_KEEPER), json.dumps(plan)],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=ENVIRONMENT,
    )


def _socket_folder(cluster: Cluster, port: str) -> Path:
    if len(bytes(socket_in(cluster.data, port))) <= _SOCKET_PATH_BYTES:
        return cluster.data
    folder = Path(tempfile.mkdtemp(prefix="mill-", dir="/tmp"))
    give(folder, cluster.account)
    return folder


def _ensure_database(dsn: str) -> None:
    """Make the database, unless it is there: initdb makes none of that name."""
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as connection:
        known = connection.execute("select 1 from pg_database where datname = %s", [DATABASE])
        if known.fetchone() is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))


def _tail(log: Path, lines: int = 12) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(there is no log)"
