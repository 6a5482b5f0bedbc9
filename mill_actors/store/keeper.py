"""The keeper: a process that runs the embedded PostgreSQL while somebody uses it.

Started by embedded.py as a program of its own (`python -I -S keeper.py JSON`),
so it imports nothing but the standard library and costs about 10 MB.

Whoever uses the server holds a shared lock on the file `users`. The keeper waits
for the exclusive one: the kernel gives it when the last user has left or was
killed, so the server neither outlives its users nor dies under them. Until then
a server that crashes is started again. The lock on the file `keeper` is held as
long as this process lives.

States: KEEPING (waits for `users`), STOPPING (has it, or got SIGTERM), gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

# One that has lived for this long can start: if it then does not, there is a reason
# that passes, such as what a crash left behind or a full disk.
_STEADY_SECONDS = 0.5
_FAILED_STARTS = 5
_FAILED_RESTARTS = 60
_STOP_SECONDS = 60.0


class Keeper:
    """One server, one thread that keeps it running, and the wait for its users."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.command: list[str] = plan["command"]
        self.log = Path(plan["log"])
        self.data = Path(plan["data"])
        self.socket = Path(plan["socket"])
        self.user: dict[str, Any] = plan["user"]
        self.adopts: bool = plan["adopts"]
        self.stopping = threading.Event()
        self._starting = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None

    def keep_running(self) -> None:
        """Start the server again whenever it dies by itself; the thread's whole work."""
        # Another keeper was killed and its server lives on: it is nobody's child
        # now, so only its socket tells when it goes.
        while self.adopts and not self.stopping.is_set() and _answers(self.socket):
            time.sleep(1.0)
        failures, allowed = 0, _FAILED_RESTARTS if self.adopts else _FAILED_STARTS
        while failures < allowed:
            with self._starting:
                if self.stopping.is_set():
                    return
                _remove_zombie(self.data, self.socket)
                self._server = self._start()
            started = time.monotonic()
            status = self._server.wait()
            if status == 0 or self.stopping.is_set():
                break  # somebody stopped it on purpose
            if time.monotonic() - started > _STEADY_SECONDS:
                failures, allowed = 0, _FAILED_RESTARTS
            # After a kill -9 its backends hold the shared memory for a moment.
            self.stopping.wait(min(0.05 * 2**failures, 1.0))
            failures += 1
        if not self.stopping.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **self.user,
            )

    def stop(self) -> None:
        """Stop the server: fast, and after a minute at once, which costs a recovery."""
        self.stopping.set()
        with self._starting:
            server = self._server
        if server is None:
            _signal_adopted(self.data, self.socket)
        elif server.poll() is None:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGQUIT)
                server.wait()
        if self.socket.parent != self.data:
            shutil.rmtree(self.socket.parent, ignore_errors=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _remove_zombie(data: Path, path: Path) -> None:
    """Remove what an adopted server left that died and that nobody waited for.

    Its process id is taken until somebody does, which in a container may be never,
    and PostgreSQL sees nothing but that.
    """
    with contextlib.suppress(OSError, IndexError):
        postmaster = (data / "postmaster.pid").read_text().split("\n", 1)[0]
        state = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            (data / "postmaster.pid").unlink()
            path.with_name(f"{path.name}.lock").unlink()


def _signal_adopted(data: Path, path: Path) -> None:
    try:
        postmaster = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + _STOP_SECONDS
    if _answers(path):
        os.kill(postmaster, signal.SIGINT)
    while (data / "postmaster.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def _leave(number: int, _frame: FrameType | None) -> None:
    # A second one must not interrupt the stopping.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def main() -> None:
    """Detach, keep the server, stop it."""
    plan: dict[str, Any] = json.loads(sys.argv[1])
    alive = os.open(plan["keeper_lock"], os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Forked here and not by who starts it: nobody is left a child to wait for,
    # and the lock is already held when the parent returns.
    if os.fork():
        os._exit(0)
    os.setsid()
    keeper = Keeper(plan)
    try:
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGINT, _leave)
        threading.Thread(target=keeper.keep_running, daemon=True).start()
        users = os.open(plan["users_lock"], os.O_RDWR)
        fcntl.flock(users, fcntl.LOCK_EX)
    finally:
        keeper.stop()


if __name__ == "__main__":
    main()
