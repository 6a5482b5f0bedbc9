"""Whether jobs can run here at all: asked once at a node's start, so that no job has to find out."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from mill_actors.config import Config
from mill_actors.errors import ConfigError
from mill_actors.runtimes.code import CodeCache
from mill_actors.runtimes.language import InterpreterNotFound
from mill_actors.runtimes.languages import LANGUAGES

SECONDS = 20.0


def check_runtimes(config: Config) -> None:
    """Raise `ConfigError` with everything that keeps processes from starting.

    With a `job_user` each interpreter is started once as that user (20–50 ms each): the folder of
    the node's own Python may be closed to it.
    """
    node = config.node
    faults = []
    uid = gid = None
    if node.job_user is not None:
        if os.geteuid() != 0:
            raise ConfigError(["node.job_user: only a node that runs as root can run jobs as somebody else"])
        try:
            entry = pwd.getpwnam(node.job_user)
        except KeyError:
            raise ConfigError([f"node.job_user: there is no user {node.job_user!r}"]) from None
        uid, gid = entry.pw_uid, entry.pw_gid
    cache = CodeCache(Path(node.work_dir) / "code")
    cache.sweep()
    bootstrap = cache.bootstrap()
    for language in LANGUAGES.values():
        if language.tag not in config.worker.tags and not config.worker.dedicated:
            continue
        setting = "python" if language.name == "python3" else language.name
        try:
            program = language.find(getattr(node, setting))
        except InterpreterNotFound as error:
            faults.append(f"node.{setting}: {error}")
            continue
        if uid is None:
            continue
        fault = _fault(program, bootstrap, uid, gid)
        if fault is not None:
            faults.append(f"node.{setting}: {node.job_user} can't run {program}: {fault}")
    if faults:
        raise ConfigError(faults)


def _fault(program: str, bootstrap: Path, uid: int, gid: int | None) -> str | None:
    try:
        done = subprocess.run(
            [program, "--version"],
            cwd=bootstrap,
            user=uid,
            group=gid,
            extra_groups=(),
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except PermissionError:
        return "it, or the work folder, lies below a folder that is closed to it"
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode != 0:
        return done.stderr.decode(errors="replace").strip()[-300:] or f"it exits with {done.returncode}"
    return None
