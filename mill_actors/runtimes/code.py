"""Where code lies on disk: script versions and the bootstraps, as files a job's user can read.

    <root>/bootstrap/<digest>/            a copy of the programs inside processes
    <root>/<workspace>/<hash>/<name>.py   a script version, named after its path's last part
    <root>/scratch/<random>/              the working directory of one process

Files appear atomically and never change: a version is named by its content's hash. Nothing
here is secret, so everything is readable by all; scratch folders belong to the job's user.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import py_compile
import re
import shutil
import tempfile
import time
from pathlib import Path

from mill_actors.runtimes.language import BOOTSTRAP, Language

_UNSAFE = re.compile(r"[^0-9A-Za-z_]")
_SUFFIXES = {".py", ".ts"}
_NEW_SECONDS = 60.0
_locks: dict[Path, int] = {}


class CodeCache:
    """A folder of code, shared by all processes of a node, and by nodes on one machine."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        make_readable(self._root)

    def script(self, workspace: str, script_hash: str, path: str, language: Language, content: str) -> Path:
        """Write a script version unless it is there; return its file.

        The name is the path's last part, as a module may be called: so tracebacks say it.
        """
        folder = self._root / _segment(workspace) / _segment(script_hash)
        last = path.rsplit("/", 1)[-1]
        suffix = next((end for end in language.suffixes if last.endswith(end)), language.suffixes[0])
        stem = _UNSAFE.sub("_", last.removesuffix(suffix)) or "script"
        file = folder / f"{'_' if stem[0].isdigit() else ''}{stem}{suffix}"
        if not file.exists():
            make_readable(folder)
            _write(file, content.encode())
        return file

    def bootstrap(self) -> Path:
        """Copy the bootstraps below the root; return their folder.

        A job's user may not be able to read where mill itself is installed.
        """
        files = sorted(file for file in BOOTSTRAP.glob("*/*") if file.suffix in _SUFFIXES)
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.relative_to(BOOTSTRAP)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
        target = self._root / "bootstrap" / digest.hexdigest()[:16]
        for file in files:
            copy = target / file.relative_to(BOOTSTRAP)
            if not copy.exists():
                make_readable(copy.parent)
                _write(copy, file.read_bytes())
                if copy.suffix == ".py":
                    _compile(copy)
        return target

    def scratch(self, owner: tuple[int, int] | None = None) -> Path:
        """Make an empty folder for one process to work in; `owner` is a uid and a gid."""
        parent = self._root / "scratch"
        make_readable(parent)
        folder = Path(tempfile.mkdtemp(dir=parent))
        # The kernel lets the lock go when this node dies, however it dies: `sweep` sees that.
        _locks[folder] = os.open(folder, os.O_RDONLY)
        fcntl.flock(_locks[folder], fcntl.LOCK_EX)
        if owner is not None:
            os.chown(folder, *owner)
        return folder

    @staticmethod
    def remove_scratch(folder: Path) -> None:
        """Remove a process's folder with all in it; what can't be removed stays."""
        shutil.rmtree(folder, ignore_errors=True)
        lock = _locks.pop(folder, None)
        if lock is not None:
            os.close(lock)

    def sweep(self) -> int:
        """Remove the scratch folders of nodes that were killed; return how many."""
        swept = 0
        for folder in (self._root / "scratch").glob("*"):
            try:
                # A new one may not be locked yet.
                if time.time() - folder.stat().st_ctime < _NEW_SECONDS:
                    continue
                lock = os.open(folder, os.O_RDONLY)
            except OSError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
            except BlockingIOError:
                continue
            finally:
                os.close(lock)
        return swept


def _segment(name: str) -> str:
    """Return a name as one folder: nothing a workspace is called can lead out of the root."""
    safe = name.replace("/", "_").replace("\0", "_")
    return f"_{safe}" if safe in {"", ".", "..", "bootstrap", "scratch"} else safe


def make_readable(folder: Path) -> None:
    """Make a folder, and those above it, that all can read, whatever the umask is."""
    if folder.is_dir():
        return
    make_readable(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def _compile(file: Path) -> None:
    """Compile for our own Python, since a job's user can't: 10 ms less for each start."""
    make_readable(file.parent / "__pycache__")
    compiled = py_compile.compile(str(file), doraise=True)
    Path(str(compiled)).chmod(0o644)


def _write(file: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".")
    with os.fdopen(descriptor, "wb") as written:
        written.write(content)
        os.fchmod(written.fileno(), 0o644)
    Path(temporary).replace(file)
