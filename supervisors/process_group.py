"""An OS process in a group of its own, and the right to signal that group.

The group's id is the leader's pid. It stays ours until the leader is reaped, and from
then on may be anybody's; so signals and the reaping exclude each other, and the reaper
is told before. The process inherits descriptors 0, 1 and 2 and nothing else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from supervisors.exit_watch import open_exit_watch
from supervisors.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class ProcessGroup:
    """A leader, whatever it started, and the pipes to the leader's stdin and stdout."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stderr: int | None,
        pass_fds: Sequence[int] = (),
        user: int | str | None,
        group: int | str | None,
        extra_groups: Iterable[int | str] | None,
    ) -> None:
        self._popen = subprocess.Popen(
            list(argv),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if stderr is None else stderr,
            env=dict(env),
            cwd=cwd,
            close_fds=True,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if extra_groups is None else list(extra_groups),
        )
        self.pid = self._popen.pid
        self._lock = threading.Lock()
        self._is_reaped = False
        try:
            reaper.remember(self.pid)
            self._watch = open_exit_watch(self.pid)
        except BaseException:
            self.signal(signal.SIGKILL)
            self._reap()
            raise

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe to the leader."""
        assert self._popen.stdin is not None
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe from the leader."""
        assert self._popen.stdout is not None
        return self._popen.stdout

    @property
    def is_reaped(self) -> bool:
        """Whether the pid may be somebody else's by now."""
        return self._is_reaped

    def exit_fileno(self) -> int:
        """Give the descriptor that is readable once the leader has ended."""
        return self._watch.fileno()

    def signal(self, number: int) -> None:
        """Signal the leader and all its descendants that stayed in the group."""
        with self._lock:
            if not self._is_reaped:
                # PermissionError: how macOS says that only zombies are left.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, number)

    def reap(self) -> int:
        """Wait for the leader, release everything, give Popen's returncode.

        The pipes are closed too. Whoever is left in the group should be dead by now.
        """
        returncode = self._reap()
        self._watch.close()
        return returncode

    def _reap(self) -> int:
        reaper.forget(self.pid)
        with self._lock:
            self._is_reaped = True
        returncode = self._popen.wait()
        self.stdin.close()
        self.stdout.close()
        return returncode
