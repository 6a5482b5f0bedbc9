"""The folders that all steps of a flow see as `./shared`: one for each flow that asks for it.

    <work_dir>/shared/<flow id>

They belong to the job's user and are closed to others; who may look for them can't list them, and a
flow's id is not guessed. Processes show them by a link (`docs/frames.md`).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Collection
from pathlib import Path

from mill_actors.runtimes.code import make_readable

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: A flow may have been submitted after the list of open ones was taken.
_NEW_SECONDS = 60.0


class SharedFolders:
    """Used by one node, or by several on one machine that have the same work folder.

    `owner` is a uid and a gid: the user that jobs run as, if not the node's own. Flow ids are UUIDs as
    Postgres writes them; anything else is a ValueError.
    """

    def __init__(self, work_dir: Path | str, owner: tuple[int, int] | None = None) -> None:
        self._root = Path(work_dir).absolute() / "shared"
        self._owner = owner

    def make(self, flow_id: str) -> Path:
        """Return the flow's folder, made unless it is there."""
        folder = self._folder(flow_id)
        if not self._root.is_dir():
            make_readable(self._root.parent)
            self._root.mkdir(0o700, exist_ok=True)
            self._root.chmod(0o711)  # entered by those who know an id, listed by nobody
        try:
            folder.mkdir(0o700)
        except FileExistsError:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise
            # The node that made it may have died before this, or be about to do it.
            if self._owner is not None and found.st_uid != self._owner[0]:
                os.chown(folder, *self._owner, follow_symlinks=False)
            return folder
        folder.chmod(0o700)  # whatever the umask is
        if self._owner is not None:
            os.chown(folder, *self._owner, follow_symlinks=False)
        return folder

    def exists(self, flow_id: str) -> bool:
        return self._folder(flow_id).is_dir()

    def remove(self, flow_id: str) -> None:
        """Remove a flow's folder with all in it; what can't be removed stays for `sweep`."""
        shutil.rmtree(self._folder(flow_id), ignore_errors=True)

    def sweep(self, alive: Collection[str]) -> int:
        """Remove the folders of flows that are not `alive`, whichever node they were on; return how many.

        What was changed within the last minute is left to the next sweep.
        """
        known = frozenset(alive)
        swept = 0
        for folder in self._root.glob("*"):
            if folder.name in known or _UUID.fullmatch(folder.name) is None:
                continue
            try:
                if time.time() - folder.stat().st_ctime < _NEW_SECONDS:
                    continue
            except OSError:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            swept += not folder.exists()
        return swept

    def _folder(self, flow_id: str) -> Path:
        if _UUID.fullmatch(flow_id) is None:
            raise ValueError(f"not a flow's id: {flow_id!r}")
        return self._root / flow_id
