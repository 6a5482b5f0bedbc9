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
def open_dsn(config: Config, *, makes: bool = False) -> Iterator[str]:
    """Lend the direct address of the database; the embedded one is started if nobody uses it yet.

    With `makes` an embedded database is made where there is none: a reading command in the wrong
    folder shall not leave one behind.
    """
    configured = config.direct_database_url or config.database_url
    if configured is not None:
        yield configured
        return
    root = Path(config.node.work_dir)
    if not (root / "postgres" / "data").exists():
        if not makes:
            message = (
                f"There is no database: no database_url is set, and there is none in {root}. "
                "Start `mill dev` in this folder, or set DATABASE_URL."
            )
            raise StoreUnavailable(message)
        say(f"mill: making a PostgreSQL database in {root}")
    from mill_actors.store.embedded import Embedded

    with Embedded.start(root) as server:
        yield server.dsn


@contextmanager
def open_database(config: Config, *, makes: bool = False, migrates: bool = False) -> Iterator[Database]:
    """Lend the database with a schema that fits.

    With `migrates` what is missing is applied; else it is refused. The embedded database is ours
    and is always brought up to date.
    """
    from mill_actors.store.connection import Database
    from mill_actors.store.migrate import migrate, verify

    with open_dsn(config, makes=makes) as direct:
        if migrates or config.database_url is None:
            migrate(direct)
        elif missing := verify(direct):
            names = ", ".join(str(migration) for migration in missing)
            message = f"The database lacks {names}: run `mill migrate` first."
            raise SchemaMismatch(missing[0].version - 1, missing[-1].version, message)
        yield Database(config.database_url or direct, config.direct_database_url, config.prepare)


@contextmanager
def open_client(config: Config) -> Iterator[Client]:
    """Lend a client of the database."""
    from mill_actors.store.client import Client

    with open_database(config) as database, Client(database, config.workspace) as client:
        yield client
