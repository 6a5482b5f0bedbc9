"""`mill dev` and `mill worker`: a node, until it is told to stop; `mill dev` serves the API too."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import typer
from msgspec.structs import replace

from mill_actors.cli.log_lines import Level, LogJson, LogLevel, set_up
from mill_actors.cli.output import Json, say, show_json
from mill_actors.cli.settings import ALL, WORKER, Settings, with_settings

if TYPE_CHECKING:
    from mill_actors.actors.life import Node
    from mill_actors.config import Config


@with_settings(*ALL)
def dev(
    settings: Settings,
    json: Json = False,
    log_level: LogLevel = Level.WARNING,
    log_json: LogJson = False,
) -> None:
    """Run everything in this folder: database, migrations, a node, the HTTP API.

    Without a database_url the embedded PostgreSQL below .mill is started (and made the first
    time); commands in other terminals find it from the same folder. Every script that is marked
    dedicated is served. The API's token is an admin's, and stays in .mill/token. Ctrl-C finishes
    what runs, a second one gives running jobs back.

    \b
    Example:
      mill dev
      mill dev --processes 4 --log-level info
    """
    config = settings.load()
    if not config.worker.dedicated:
        config = replace(config, worker=replace(config.worker, dedicated=("*",)))
    _run(config, log_level, is_dev=True, json=json, log_json=log_json)


@with_settings(*WORKER)
def worker(
    settings: Settings,
    json: Json = False,
    log_level: LogLevel = Level.INFO,
    log_json: LogJson = False,
) -> None:
    """Run a node: a worker that takes jobs and runs them.

    The database must be migrated (`mill migrate`). SIGTERM or Ctrl-C finishes what runs and gives
    the rest back, a second one gives running jobs back, a third one leaves at once. SIGUSR1 logs
    the stack of every thread.

    \b
    Example:
      mill worker --database-url postgresql://mill@db/mill --dedicated f/billing/charge
      mill worker --tags python3,gpu --processes 8 --log-json
    """
    _run(settings.load(), log_level, is_dev=False, json=json, log_json=log_json)


def _run(config: Config, level: Level, *, is_dev: bool, json: bool, log_json: bool) -> None:
    from contextlib import ExitStack

    from mill_actors.actors.life import run_node
    from mill_actors.cli.database import open_database
    from mill_actors.cli.own_process import become_node

    set_up(level, as_json=log_json)
    become_node(config.node.name)
    with open_database(config, makes=True, migrates=is_dev) as database, ExitStack() as stack:
        api: dict[str, str] = {}
        if is_dev:
            from mill_actors.api.server import ServerThread
            from mill_actors.cli.tokens import local_token

            token = local_token(config, database)
            api = {"url": stack.enter_context(ServerThread(config, database)).url, "token": token}
            if config.server.base_url is None:
                # Jobs find the API where it listens.
                config = replace(config, server=replace(config.server, base_url=api["url"]))

        def announce(node: Node) -> None:
            if json:
                _show(config, node, api)
            else:
                _say(config, api)
            # What a signal sets going is worth a line to whoever sent it, and may take a while.
            logging.getLogger("mill_actors.actors.life").setLevel(logging.INFO)

        code = run_node(config, database, started=announce)
        if code:
            # The tree gave up, or somebody insisted on leaving: threads may wait for ever. The
            # language processes die with us, the embedded server notices, the jobs are rescued.
            os._exit(code)
    raise typer.Exit(code)


def _say(config: Config, api: dict[str, str]) -> None:
    limits = config.worker
    served = list(limits.tags)
    if "*" in limits.dedicated:
        served.append("every dedicated script")
    else:
        served += limits.dedicated
    where = "your PostgreSQL" if config.database_url else f"its PostgreSQL in {config.node.work_dir}"
    if api:
        say(f"mill: the API is at {api['url']}/api, with the token {api['token']}")
    say(
        f"mill: node {config.node.name} runs on {where}: {limits.processes} processes for "
        f"{', '.join(served)} (Ctrl-C stops it)\n"
        "mill: `mill deploy FOLDER` scripts, `mill run f/folder/name --arg k=v`, `mill tree` shows what runs"
    )


def _show(config: Config, node: Node, api: dict[str, str]) -> None:
    show_json(
        {
            "node": node.id,
            "name": config.node.name,
            "pid": os.getpid(),
            "embedded": config.database_url is None,
            "work_dir": config.node.work_dir,
            "tags": config.worker.tags,
            "dedicated": config.worker.dedicated,
            "processes": config.worker.processes,
            **api,
        }
    )
