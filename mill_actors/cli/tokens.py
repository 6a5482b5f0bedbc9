"""`mill token`: tokens of the API, made where the database is at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mill_actors.cli.output import say
from mill_actors.cli.settings import DATABASE, Settings, with_settings

if TYPE_CHECKING:
    from mill_actors.config import Config
    from mill_actors.store.connection import Database

token = typer.Typer(help="Tokens of the HTTP API.", no_args_is_help=True, rich_markup_mode=None)

ADMIN = "admin@localhost"


@token.command("create")
@with_settings(*DATABASE)
def create(
    settings: Settings,
    email: Annotated[str, typer.Option("--email", help="Whose it is.")] = ADMIN,
    label: Annotated[str | None, typer.Option("--label", help="What it is for.")] = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="What it allows, as jobs:run:flows:f/billing/*; may be repeated."),
    ] = None,
    days: Annotated[float | None, typer.Option("--days", min=0, help="How long it is good.")] = None,
) -> None:
    """Make a token, and print it. It is kept nowhere: what is lost is made anew.

    \b
    Example:
      mill token create
      mill token create --label ci --scope 'jobs:run:scripts:f/ci/*' --days 90
    """
    from datetime import UTC, datetime, timedelta

    from mill_actors.cli.database import open_database
    from mill_actors.errors import InvalidArgs
    from mill_actors.store.access import account_by_email, new_token

    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with open_database(settings.load()) as database, database.connect() as connection:
        if account_by_email(connection, email) is None:
            raise InvalidArgs("--email", f"there is no account {email}")
        told = new_token(connection, email, label=label, scopes=scopes, expires_at=expires_at)
    typer.echo(told)
    say("mill: send it as `Authorization: Bearer TOKEN`")


def local_token(config: Config, database: Database) -> str:
    """Return the admin's token of this folder, the one that was there if it is still good."""
    from mill_actors.store.access import account_of_token, new_token

    path = Path(config.node.work_dir) / "token"
    with database.connect() as connection:
        try:
            told = path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            told = ""
        if told and account_of_token(connection, told) is not None:
            return told
        told = new_token(connection, ADMIN, label=f"mill dev in {path.parent.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made readable for us alone before anything is in it.
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(told + "\n")
    return told
