"""The system user that runs the embedded PostgreSQL, which refuses to run as root.

Root hands it to the owner of its data where there is one, else to `postgres`,
else to a user made for it. Everybody else runs it as themselves.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mill_actors.errors import StoreUnavailable

_NAMES = ("postgres", "_postgres", "mill-postgres")
# useradd where there is one, then the adduser of busybox.
_MAKE_USER = (
    ("useradd", "--system", "--no-create-home", "--shell", "/bin/false", "mill-postgres"),
    ("adduser", "-S", "-D", "-H", "-s", "/bin/false", "mill-postgres"),
)


@dataclass(frozen=True)
class Account:
    """Another user that programs run as; `None` in its place means the caller."""

    name: str
    uid: int
    gid: int


def account_for(data: Path) -> Account | None:
    """Return who runs the server over this data directory, which need not exist yet."""
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid if data.exists() else 0
    if owner != 0:
        return _account(pwd.getpwuid(owner))
    for name in _NAMES:
        if found := _find(name):
            return found
    for command in _MAKE_USER:
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        if found := _find(command[-1]):
            return found
    message = (
        "PostgreSQL does not run as root, and no user could be made for it: run mill as another "
        "user, add a system user named postgres, or set DATABASE_URL to a server of your own."
    )
    raise StoreUnavailable(message)


def run_as(account: Account | None) -> dict[str, Any]:
    """Return the arguments by which subprocess runs a program as that user."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def give(path: Path, account: Account | None) -> None:
    """Make a file or folder that user's own."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def succeeds(command: list[str], account: Account | None) -> bool:
    """Try a command as that user: what may be reached is known only by trying."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, cwd="/", **run_as(account))
    except PermissionError:
        return False
    return done.returncode == 0


def _find(name: str) -> Account | None:
    try:
        return _account(pwd.getpwnam(name))
    except KeyError:
        return None


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
