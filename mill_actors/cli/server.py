"""`mill server`: the HTTP API."""

from __future__ import annotations

import typer

from mill_actors.cli.log_lines import Level, LogJson, LogLevel, set_up
from mill_actors.cli.output import Json, say, show_json
from mill_actors.cli.settings import SERVER, Settings, with_settings


@with_settings(*SERVER)
def server(
    settings: Settings,
    json: Json = False,
    log_level: LogLevel = Level.INFO,
    log_json: LogJson = False,
) -> None:
    """Serve the HTTP API: submit, wait, look, deploy. Any number may run beside each other.

    Servers and workers meet only in the database, which must be migrated (`mill migrate`). Make a token
    with `mill token create`. SIGTERM or Ctrl-C lets requests end, and exits.

    \b
    Example:
      mill server --database-url postgresql://mill@db/mill --port 8000
      mill server --base-url https://mill.example.com --host 0.0.0.0
    """
    import asyncio

    from mill_actors.api.server import serve
    from mill_actors.cli.database import open_database

    config = settings.load()
    set_up(log_level, as_json=log_json)
    with open_database(config, makes=True) as database:

        def started(url: str) -> None:
            if json:
                show_json({"url": url})
            else:
                say(f"mill: the API is at {url}/api (Ctrl-C stops it)")

        asyncio.run(serve(config, database, started))
    raise typer.Exit
