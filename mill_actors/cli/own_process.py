"""What `mill` does to its own process: titles, secrets, signals."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_SECRET = ("--database-url", "--direct-database-url")


def hide_passwords(command: Sequence[str]) -> None:
    """Show `***` for database URLs where `ps` shows the command line.

    Between the start of the process and this call the URL is there to be read: on a machine with
    other users, DATABASE_URL or mill.toml are the better places.
    """
    told = _without_secrets(command[1:])
    if told != list(command[1:]):
        from setproctitle import setproctitle

        setproctitle(" ".join(["mill", *told]))


def become_node(name: str) -> None:
    """Set the title of a node, and keep its memory from processes of the same user."""
    from setproctitle import setproctitle

    setproctitle(f"mill node {name}")
    if sys.platform == "linux":
        import ctypes

        # User code runs as the same user unless `job_user` says otherwise. A process that is not
        # dumpable cannot be attached to with ptrace, and its /proc/PID/{mem,environ,fd,maps} belong
        # to root: the database's password and the keys that sign WM_TOKEN are in this memory. It
        # also writes no core file, which would hold both. The language processes are not affected:
        # an exec makes a process dumpable again.
        pr_set_dumpable = 4
        ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    told = []
    hide_next = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hide_next:
            told.append("***")
        elif equals and name in _SECRET:
            told.append(f"{name}=***")
        else:
            told.append(argument)
        hide_next = argument in _SECRET
    return told
