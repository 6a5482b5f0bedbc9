"""What a figure depends on: the machine, Python, PostgreSQL and its settings, the commit."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import psutil

from bench.server import ROOT, Link
from mill_actors.config import WorkerConfig

#: What moves the figures of a queue in PostgreSQL.
SETTINGS = (
    "fsync", "synchronous_commit", "full_page_writes", "wal_level", "wal_compression", "wal_sync_method",
    "shared_buffers", "max_wal_size", "checkpoint_timeout", "commit_delay", "autovacuum",
    "autovacuum_naptime", "jit", "max_connections", "io_method",
)  # fmt: skip


def describe(link: Link) -> dict[str, object]:
    """Return machine, versions and settings; raise if what is acknowledged would not be durable."""
    rows = link.execute(
        "select name, current_setting(name) from pg_settings where name = any (%s)", [list(SETTINGS)]
    ).fetchall()
    found = dict(rows)
    settings = {name: found[name] for name in SETTINGS if name in found}
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert settings[name] == "on", f"{name} is {settings[name]}: nothing here would be durable"
    return {
        "cpu": _cpu_model(),
        "cores": WorkerConfig().processes,  # those this process may use
        "memory_mb": psutil.virtual_memory().total >> 20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgres": str(link.scalar("select current_setting('server_version')")),
        "settings": settings,
    }


def commit() -> str:
    """Return the commit, with `-dirty` behind it if the tree differs; `unknown` outside of git."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", "mill_actors", "supervisors", "migrations", "bench")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changed else head


def _git(*arguments: str) -> str:
    # Without optional locks, a look changes nothing: others may work in the same checkout.
    done = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return models[0] if models else platform.machine()
