"""Scripts of flows that are rehearsed: warm processes like a node's, and no database.

`Troupe` is for one thread of the caller's: it starts a process a script version, gives each one job at
a time, and hands back how they ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from time import monotonic
from types import TracebackType
from typing import Literal, Self

from msgspec import Struct

from mill_actors.config import Config
from mill_actors.errors import MillError
from mill_actors.jobs.outcome import error_result
from mill_actors.jobs.script import Script
from mill_actors.runtimes.environment import job_variables, step_variables
from mill_actors.runtimes.frames import BadFrame, Broken, Done, Fail, decode, encode_context, encode_run
from mill_actors.runtimes.warm import WarmProcess, start_process
from supervisors import PortData, PortExit, Process, ProcessRef, Reason, stop

logger = logging.getLogger(__name__)

#: How often it is looked after processes that say nothing.
LOOK_SECONDS = 0.5
#: What a rehearsal's jobs run as.
USER = "u/admin"


class Play(Struct, frozen=True):
    """Run one job. `variables` are its own."""

    job: str
    args: bytes
    variables: Mapping[str, str]


class Condemn(Struct, frozen=True):
    """Kill the process: this is why."""

    result: bytes


class Played(Struct, frozen=True):
    """A job has ended."""

    job: str
    status: Literal["success", "failure"]
    result: bytes
    duration_us: int
    log: str
    #: the process ends with it
    is_last: bool = False


class RehearsalRunner(Process):
    """Owns one process, and has one job at a time."""

    def init(self, script: Script, config: Config, hear: Callable[[Played], object]) -> None:
        self._hear_end = hear
        self._job: str | None = None
        self._number = 0
        self._printed = 0
        self._why = b""
        self._process: WarmProcess = start_process(self.actor_ref, script, config)
        self._process.send(encode_context(job_variables(created_by="admin", permissioned_as=USER)))

    def handle(self, message: Play | Condemn | PortData | PortExit) -> object:
        match message:
            case Play(job, args, variables):
                self._job = job
                self._process.permits.grant(self._number, 1)
                self._process.send(encode_run(self._number, job, "rehearsal", args, "", variables))
                self._number += 1
            case Condemn(result):
                self._why = result
                self._process.kill()
            case PortData(_, data):
                self._hear(data)
            case PortExit():
                self._bury()
        return None

    def terminate(self, reason: Reason) -> None:
        self._process.kill()
        self._process.wait(5.0)
        self._process.close()

    def _hear(self, data: bytes) -> None:
        try:
            replies = decode(data)
        except BadFrame as bad:
            self._why = error_result("ProtocolBroken", str(bad))
            self._process.kill()
            return
        for reply in replies:
            match reply:
                case Broken(error):
                    self._why = b'{"error":%b}' % bytes(error)
                case Done(job, _, out, duration, result) if job == self._job:
                    self._end("success", bytes(result), duration, out)
                case Fail(job, _, out, duration, error) if job == self._job:
                    self._end("failure", b'{"error":%b}' % bytes(error), duration, out)
                case Done() | Fail():
                    pass
                case _:
                    self._printed = reply.out

    def _end(
        self,
        status: Literal["success", "failure"],
        result: bytes,
        duration_us: int,
        out: int,
        *,
        is_last: bool = False,
    ) -> None:
        assert self._job is not None
        log = self._process.capture.read(self._printed, out, max(out, 1)).decode(errors="replace")
        job, self._job, self._printed = self._job, None, out
        self._hear_end(Played(job, status, result, duration_us, log, is_last))

    def _bury(self) -> None:
        if self._job is not None:
            why = self._why or error_result("ProcessDied", "the process ended while the job ran")
            self._end("failure", why, 0, self._process.capture.size(), is_last=True)
        self.exit()


class _Member(Struct):
    """A process, and what it is doing."""

    script: str
    ref: ProcessRef[RehearsalRunner]
    job: str | None = None
    deadline: float | None = None


class Troupe:
    """As many processes as the configuration says; the one idle longest gives way to another script."""

    def __init__(self, config: Config, *, shares: bool = False) -> None:
        """`shares`: all processes see one folder as `./shared`, as those of a same_worker flow."""
        self._config = config
        self._folder = TemporaryDirectory(prefix="mill-shared-") if shares else None
        self._members: list[_Member] = []
        self._ends: SimpleQueue[Played] = SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._members:
            stop(member.ref)
        self._members.clear()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def playing(self) -> int:
        """How many jobs run."""
        return sum(member.job is not None for member in self._members)

    @property
    def has_room(self) -> bool:
        """Whether another job may start beside those that run."""
        return self.playing < self._config.worker.processes

    def play(
        self,
        job: str,
        script: Script,
        args: bytes,
        *,
        timeout_seconds: float | None = None,
        flow: str = "",
        step: str | None = None,
    ) -> None:
        """Start a job; there has to be room. That its process cannot be started is the job's failure."""
        try:
            member = self._member(script)
        except (MillError, OSError) as error:
            self._ends.put(Played(job, "failure", error_result(type(error).__name__, str(error)), 0, ""))
            return
        limit = timeout_seconds or script.options.timeout_seconds
        limit = limit or self._config.worker.default_timeout_seconds
        member.job = job
        member.deadline = None if limit is None else monotonic() + limit
        shared = None if self._folder is None else self._folder.name
        variables = step_variables(flow_job_id=flow, root_flow_job_id=flow, step_id=step, shared=shared)
        member.ref.tell(Play(job, args, variables))

    def next_end(self) -> Played:
        """Wait until a job has ended; what takes too long is killed."""
        while True:
            deadlines = [m.deadline for m in self._members if m.deadline is not None]
            wait = min([*(deadline - monotonic() for deadline in deadlines), LOOK_SECONDS])
            try:
                played = self._ends.get(timeout=max(wait, 0.0))
            except Empty:
                self._condemn()
                continue
            for member in list(self._members):
                if member.job == played.job:
                    member.job = member.deadline = None
                    if played.is_last:
                        self._members.remove(member)
            return played

    def _condemn(self) -> None:
        now = monotonic()
        for member in self._members:
            if member.deadline is not None and member.deadline <= now:
                member.deadline = None
                why = error_result("Timeout", "the job did not end within its time")
                member.ref.tell(Condemn(why))
            elif member.job is not None and member.ref.exited.is_set() and self._ends.empty():
                # It died while it was idle, just before the job was given to it.
                why = error_result("ProcessDied", "the process ended before the job began")
                self._ends.put(Played(member.job, "failure", why, 0, "", is_last=True))

    def _member(self, script: Script) -> _Member:
        self._members = [member for member in self._members if not member.ref.exited.is_set()]
        idle = [member for member in self._members if member.job is None]
        for member in idle:
            if member.script == script.hash:
                # Last among those that may give way.
                self._members.remove(member)
                self._members.append(member)
                return member
        if len(self._members) >= self._config.worker.processes and idle:
            stop(idle[0].ref)
            self._members.remove(idle[0])
        ref = RehearsalRunner.spawn(script, self._config, self._ends.put)
        self._members.append(_Member(script.hash, ref))
        return self._members[-1]
