"""Which database a command speaks to, and that its schema fits before it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mill_actors.cli.output import say
from mill_actors.errors import SchemaMismatch, StoreUnavailable

if TYPE_CHECKING:
    from mill_actors.config import Config
    from mill_actors.store.client import Client
    from mill_actors.store.connection import Database


@contextmanager
def open_database(config: Config, *, makes: bool = False, migrates: bool = False) -> Iterator[Database]:
    """Lend the database; the embedded one is started if nobody uses it yet.

    With `makes` an embedded database is made where there is none: a reading command in the wrong
    folder shall not leave one behind. With `migrates` what is missing is applied; the embedded
    database is ours and is always kept up to date.
    """
    from mill_actors.store.connection import Database

    if config.database_url is not None:
        direct = config.direct_database_url
        _fit(direct or config.database_url, migrates=migrates)
        yield Database(config.database_url, direct, config.prepare)
        return
    root = Path(config.node.work_dir)
    if not (root / "postgres" / "data").exists():
        if not makes:
            message = (
                f"There is no database: no database_url is set, and there is none in {root}. "
                "Start `mill dev` in this folder, or set DATABASE_URL."
            )
            raise StoreUnavailable(message)
        say(f"making a PostgreSQL database in {root}")
    from mill_actors.store.embedded import Embedded

    with Embedded.start(root) as server:
        _fit(server.dsn, migrates=True)
        yield Database(server.dsn)


@contextmanager
def open_client(config: Config, *, user: str | None = None) -> Iterator[Client]:
    """Lend a client of the database."""
    from mill_actors.store.client import Client

    with (
        open_database(config) as database,
        Client(database, config.workspace, **({} if user is None else {"user": user})) as client,
    ):
        yield client


def _fit(dsn: str, *, migrates: bool) -> None:
    from mill_actors.store.migrate import migrate, verify

    if migrates:
        migrate(dsn)
        return
    missing = verify(dsn)
    if missing:
        names = ", ".join(str(migration) for migration in missing)
        found, wanted = missing[0].version - 1, missing[-1].version
        message = f"The database lacks {names}: run `mill migrate` first."
        raise SchemaMismatch(found, wanted, message)
