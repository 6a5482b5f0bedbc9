"""If this program is killed with SIGKILL, the process groups of its Ports die too.

One helper per program, started with the first Port: a POSIX `sh` that reads `add PGID`
and `del PGID` from a pipe of which only we hold the other end. When the pipe ends,
however we ended, it kills every group still listed and goes.

`forget` must be called *before* the group's leader is reaped: from then on the pid may
belong to somebody else. The helper reads the whole pipe before it acts, so a line we
wrote counts even if we die right after. What is not covered: the instant between the
start of a process and its `add`, and processes that left their group.
"""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import threading
from contextlib import suppress
from typing import Final

logger = logging.getLogger("supervisors")

NAME: Final = "supervisors-reaper"

SCRIPT: Final = """\
trap '' HUP INT QUIT TERM PIPE TSTP TTIN TTOU USR1 USR2 ALRM
live=' '
while read -r verb group; do
  case $verb in
    add) live="$live$group " ;;
    del) case $live in *" $group "*) live="${live%%" $group "*} ${live#*" $group "}" ;; esac ;;
  esac
done
for group in $live; do kill -s KILL -- "-$group"; done
"""


class Reaper:
    """The helper and what it was told; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._helper: subprocess.Popen[bytes] | None = None
        self._is_over = False

    def remember(self, group: int) -> None:
        """Have this process group killed when we end; raises OSError if no helper starts."""
        with self._lock:
            self._groups.add(group)
            try:
                self._write(f"add {group}\n")
            except BaseException:
                self._groups.discard(group)
                raise

    def forget(self, group: int) -> None:
        """Take it off the list; call this before its leader is reaped."""
        with self._lock:
            if group in self._groups:
                self._groups.discard(group)
                try:
                    self._write(f"del {group}\n")
                except OSError:  # the old helper is dead, so it will do no harm
                    logger.exception("the reaper could not be started again")

    def close(self) -> None:
        """End the helper, and with it every group still listed; runs at exit."""
        with self._lock:
            self._is_over = True
            self._end_helper()

    @property
    def pid(self) -> int | None:
        """The helper's pid; None while there is none."""
        helper = self._helper
        return None if helper is None else helper.pid

    def _write(self, line: str) -> None:
        if self._is_over:
            return
        try:
            if self._helper is not None:
                self._send(self._helper, line)
                return
        except OSError:  # somebody killed it, or stopped it until its pipe was full
            assert self._helper is not None
            self._helper.kill()  # not by the end of its pipe: it would kill the groups
            self._end_helper()
        self._helper = helper = _start()
        with suppress(OSError):
            self._send(helper, "".join(f"add {group}\n" for group in self._groups))

    @staticmethod
    def _send(helper: subprocess.Popen[bytes], text: str) -> None:
        assert helper.stdin is not None
        data = text.encode()
        while data:
            data = data[os.write(helper.stdin.fileno(), data) :]

    def _end_helper(self) -> None:
        helper, self._helper = self._helper, None
        if helper is None:
            return
        assert helper.stdin is not None
        helper.stdin.close()
        try:
            helper.wait(2.0)
        except subprocess.TimeoutExpired:
            helper.kill()
            helper.wait()


def _start() -> subprocess.Popen[bytes]:
    helper = subprocess.Popen(
        ["/bin/sh", "-c", SCRIPT, NAME],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},  # none of our secrets
        start_new_session=True,  # out of reach of our terminal's signals
        close_fds=True,
    )
    assert helper.stdin is not None
    os.set_blocking(helper.stdin.fileno(), False)
    return helper


reaper: Final = Reaper()
atexit.register(reaper.close)
