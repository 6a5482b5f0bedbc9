"""`Port`: an OS process whose output frames arrive as messages at the actor that owns it.

The process speaks newline-terminated frames on its stdin and stdout. One I/O thread per
Port reads, and writes what did not fit at once. The owner gets `PortData` (one a read,
with all complete frames of it) and, after the last of them, exactly one `PortExit`. When
the owner ends, its Ports are killed.

The end, always in this order: the group gets SIGKILL (grandchildren too) → what is still
in the pipe is delivered → the reaper forgets the group → the process is reaped → the
descriptors are closed → `PortExit`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from supervisors.frames import Frames, FrameTooLong
from supervisors.outbox import Outbox
from supervisors.process_group import ProcessGroup
from supervisors.ref import inbox_depth, process_ref, unwatch, watch
from supervisors.registry import send
from supervisors.wake_pipe import WakePipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pykka import ActorRef

logger = logging.getLogger("supervisors")

PIPE_BYTES: Final = 1 << 20
READ_BYTES: Final = 256 * 1024

LAST_WORDS_SECONDS: Final = 0.1
"""How long a process that closed a pipe may take to exit by itself: mostly it is just
exiting, and then its return code should be its own."""

CALM_DEPTH: Final = 16
AHEAD_BYTES: Final = 64 << 20
"""Reading pauses when this much was delivered and the owner's inbox was never seen at
`CALM_DEPTH` messages or fewer: the pipe fills, and the process waits for its reader."""
PAUSE_SECONDS: Final = 0.005

EXITED: Final = "exited"
KILLED: Final = "killed"
STDIN_CLOSED: Final = "closed its stdin"
STDOUT_CLOSED: Final = "closed its stdout"
GRACE_OVER: Final = "did not end in time"
IO_FAILED: Final = "i/o failed"


@dataclass(frozen=True, slots=True)
class PortData:
    """Complete frames, in order, each with its newline."""

    port: Port
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PortExit:
    """The process is gone and reaped; the last message of its Port."""

    port: Port
    returncode: int | None
    """None when a signal ended it."""
    signal: int | None
    why: str
    """`EXITED` (by itself or by somebody else's signal), `KILLED`, `STDIN_CLOSED`,
    `STDOUT_CLOSED`, `GRACE_OVER`, `IO_FAILED`, or that a frame was too long."""


class Port:
    """A running OS process, made by `Port.open`.

    All methods may be called by any thread, but the order of what several threads `send`
    is theirs to settle.
    """

    @classmethod
    def open(
        cls,
        owner: ActorRef[Any],
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
        user: int | str | None = None,
        group: int | str | None = None,
        extra_groups: Iterable[int | str] | None = None,
        max_frame_bytes: int = 64 << 20,
        coalesce_seconds: float = 0.0,
    ) -> Port:
        """Start the process.

        `stderr` is a descriptor for its own, default /dev/null; those in `pass_fds` keep
        their numbers in it. Frames that follow within `coalesce_seconds` of each other
        wait as long for more: fewer, larger messages.

        Raises what `subprocess.Popen` raises (FileNotFoundError, PermissionError, …).
        """
        process_ref(owner)
        processes = ProcessGroup(
            argv,
            env=env,
            cwd=cwd,
            stderr=stderr,
            pass_fds=pass_fds,
            user=user,
            group=group,
            extra_groups=extra_groups,
        )
        return cls(owner, processes, max_frame_bytes, coalesce_seconds)

    def __init__(
        self,
        owner: ActorRef[Any],
        processes: ProcessGroup,
        max_frame_bytes: int,
        coalesce_seconds: float = 0.0,
    ) -> None:
        """Take over running processes; they are killed if this fails."""
        self.owner = owner
        self.pid = processes.pid
        self._processes = processes
        self._frames = Frames(max_frame_bytes)
        self._coalesce = coalesce_seconds
        self._read_at = 0.0
        self._stdout = processes.stdout.fileno()
        self._is_open = True  # its stdout
        self._ahead = 0
        self._why: str | None = None
        self._kill_at: float | None = None
        self._lock = threading.Lock()  # guards _kill_at
        self._poll = select.poll()
        self._polled: set[int] = set()
        with suppress(OSError):  # the user's quota of pipe pages is used up
            _widen(processes)
        os.set_blocking(self._stdout, False)
        wake: WakePipe | None = None
        try:
            self._wake = wake = WakePipe()
            self._outbox = Outbox(processes.stdin, wake.wake)
            self._thread = threading.Thread(target=self._run, name=f"port-{self.pid}", daemon=True)
            watch(owner, self, lambda _down: self.kill())
            self._thread.start()
        except BaseException:
            unwatch(owner, self)
            processes.signal(signal.SIGKILL)
            processes.reap()
            if wake is not None:
                wake.close()
            raise

    def __repr__(self) -> str:
        return f"<Port {self.pid}{', gone' if self._processes.is_reaped else ''}>"

    def send(self, data: bytes) -> None:
        """Write, now what fits and the rest in the background; never blocks.

        After the process has gone this does nothing: its `PortExit` is under way.

        Raises:
            PortClosed: after `close`.

        """
        self._outbox.send(data)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the process to read."""
        return self._outbox.unsent

    def close(self, grace: float | None = None) -> None:
        """End its stdin once everything is sent; kill it if it lives `grace` seconds on."""
        self._set_grace(grace)
        self._outbox.close()

    def terminate(self, grace: float = 5.0) -> None:
        """Send SIGTERM to the group, and SIGKILL if the process lives `grace` seconds on."""
        self._processes.signal(signal.SIGTERM)
        self._set_grace(grace)
        self._wake.wake()

    def kill(self) -> None:
        """Send SIGKILL to the group at once; idempotent, harmless after the end."""
        self._why = self._why or KILLED
        self._processes.signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the process is reaped and `PortExit` was sent; False if it was not.

        For an owner's `terminate`, which gets no messages any more.
        """
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _set_grace(self, grace: float | None) -> None:
        if grace is not None:
            at = time.monotonic() + grace
            with self._lock:
                self._kill_at = at if self._kill_at is None else min(at, self._kill_at)

    # -- the I/O thread ------------------------------------------------------------

    def _run(self) -> None:
        why = IO_FAILED
        try:
            why = self._serve()
        except FrameTooLong as error:
            why = self._too_long(error)
        except Exception:
            logger.exception("%r: its i/o failed", self)
        try:
            exit_ = self._end(why)
        except Exception:
            logger.exception("%r: its end failed", self)
            exit_ = PortExit(self, None, None, IO_FAILED)
        unwatch(self.owner, self)
        send(self.owner, exit_)

    def _serve(self) -> str:
        """Read and write until there is a reason to end."""
        why = None
        exit_fd, wake_fd = self._processes.exit_fileno(), self._wake.fileno()
        self._attend(exit_fd, select.POLLIN)
        self._attend(wake_fd, select.POLLIN)
        self._attend(self._stdout, select.POLLIN)
        buffer = bytearray(READ_BYTES)
        while self._kill_at is None or time.monotonic() < self._kill_at:
            for fd, _ in self._poll.poll(self._timeout()):
                if fd == exit_fd:
                    return EXITED
                if fd == wake_fd:
                    self._wake.heed()
                elif fd == self._stdout:
                    self._read(buffer)
                else:
                    self._outbox.write()
            is_calm = not self._is_too_far_ahead()
            self._attend(self._stdout, select.POLLIN if self._is_open and is_calm else 0)
            self._attend(self._outbox.fileno(), select.POLLOUT if self._outbox.unsent else 0)
            self._outbox.finish()
            if why is None and not (self._is_open and not self._outbox.is_broken):
                why = STDIN_CLOSED if self._is_open else STDOUT_CLOSED
                self._set_grace(LAST_WORDS_SECONDS)
        return why or GRACE_OVER

    def _attend(self, fd: int, events: int) -> None:
        if events and fd not in self._polled:
            self._poll.register(fd, events)
            self._polled.add(fd)
        elif not events and fd in self._polled:
            self._poll.unregister(fd)
            self._polled.discard(fd)

    def _timeout(self) -> float | None:
        """Tell `poll` how many ms to sleep at most; it rounds up, so it never spins."""
        if self._kill_at is not None:
            left = max(0.0, self._kill_at - time.monotonic())
            return min(left, PAUSE_SECONDS) * 1000 if self._ahead > AHEAD_BYTES else left * 1000
        return PAUSE_SECONDS * 1000 if self._ahead > AHEAD_BYTES else None

    def _read(self, buffer: bytearray) -> int:
        """Read once and deliver; how much it was."""
        try:
            size = os.readv(self._stdout, [buffer])
        except BlockingIOError:
            return 0
        if size:
            self._deliver(self._frames.feed(buffer, size))
            if self._coalesce:
                self._gather()
        else:
            self._is_open = False
        return size

    def _gather(self) -> None:
        """Let more come while frames come thick, as network cards do: the first is never late."""
        now = time.monotonic()
        if now - self._read_at < self._coalesce:
            time.sleep(self._coalesce)
            now = time.monotonic()
        self._read_at = now

    def _deliver(self, data: bytes) -> None:
        if not data:
            return
        if not send(self.owner, PortData(self, data)):
            self.kill()  # nobody reads any more
        self._ahead += len(data)
        self._is_too_far_ahead()

    def _is_too_far_ahead(self) -> bool:
        if self._ahead and inbox_depth(self.owner) <= CALM_DEPTH:
            self._ahead = 0
        return self._ahead > AHEAD_BYTES

    def _too_long(self, error: FrameTooLong) -> str:
        self._deliver(error.complete)
        self._is_open = False  # what follows is the rest of that frame
        return f"a frame was longer than {self._frames.max_frame_bytes} bytes"

    def _end(self, why: str) -> PortExit:
        processes = self._processes
        processes.signal(signal.SIGKILL)
        _wait_readable(processes.exit_fileno())
        try:
            self._read_rest()
        except FrameTooLong as error:
            why = self._too_long(error)
        self._outbox.shut()
        status = processes.reap()
        self._wake.close()
        number = -status if status < 0 else None
        if self._why == KILLED and number == signal.SIGKILL:
            why = KILLED
        return PortExit(self, status if number is None else None, number, why)

    def _read_rest(self) -> None:
        """Deliver what is in the pipe, at most what a pipe holds.

        A process that left the group may still hold the other end and write for ever.
        """
        buffer = bytearray(READ_BYTES)
        left = PIPE_BYTES
        while self._is_open and left > 0 and (size := self._read(buffer)):
            left -= size


def _widen(processes: ProcessGroup) -> None:
    if sys.platform == "linux":
        for pipe in (processes.stdin, processes.stdout):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _wait_readable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()
