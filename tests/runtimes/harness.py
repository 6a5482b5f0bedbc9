"""A language process under test: frames by hand, every wait with a deadline."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from mill_actors.runtimes.capture import Capture
from mill_actors.runtimes.environment import clean_environment
from mill_actors.runtimes.frames import (
    Broken,
    Done,
    Fail,
    Init,
    Ready,
    Reply,
    decode,
    encode_context,
    encode_init,
    encode_run,
)
from mill_actors.runtimes.language import Language
from mill_actors.runtimes.permits import Permits

CLAIM = "claim-1"
SECONDS = 20.0


class Warm:
    """One process, started from a script's file; killed at the end of a `with`."""

    def __init__(
        self,
        language: Language,
        script: Path,
        work: Path,
        *,
        interpreter: str | None = None,
        bootstrap: Path | None = None,
        environment: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        memory_mb: int | None = None,
        user: str | None = None,
        **init: Any,
    ) -> None:
        self.capture = Capture()
        self.permits = Permits()
        self.script = script
        self.work = work
        self._printed_to = 0
        self._printed_from: dict[str, int] = {}
        self._count = 0
        self._rest = bytearray()
        self._replies: list[Reply] = []
        where = {} if bootstrap is None else {"bootstrap": bootstrap}
        self.process = subprocess.Popen(
            language.command(permits=self.permits.fd, interpreter=interpreter, memory_mb=memory_mb, **where),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.capture.fd,
            cwd=work,
            env=clean_environment(os.environ) | dict(environment or {}),
            pass_fds=(self.permits.fd,),
            user=user,
            start_new_session=True,
        )
        self.write(encode_init(Init(script=str(script), path="f/demo/script", env=dict(env or {}), **init)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self.capture.close()
        self.permits.close()

    # -- frames

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def reply(self, seconds: float = SECONDS) -> Reply:
        """The next answer, whichever it is; EOFError when there will be none."""
        deadline = time.monotonic() + seconds
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        while not self._replies:
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(self.everything())
            data = os.read(fd, 1 << 20)
            if not data:
                raise EOFError(self.everything())
            self._rest += data
            if b"\n" in data:
                end = self._rest.rindex(b"\n") + 1
                self._replies = decode(bytes(self._rest[:end]))
                del self._rest[:end]
        return self._replies.pop(0)

    def ready(self) -> Ready:
        reply = self.reply()
        assert isinstance(reply, Ready), reply if not isinstance(reply, Broken) else error_of(reply)
        self._printed_to = reply.out
        return reply

    def broken(self) -> dict[str, Any]:
        reply = self.reply()
        assert isinstance(reply, Broken), reply
        return error_of(reply)

    def context(self, **variables: str) -> None:
        self.write(encode_context(variables))

    def send(
        self,
        args: Any = None,
        *,
        job: str | None = None,
        token: str = "t",
        raw: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """Send a run with its permit; return the job's id."""
        number = self.next_number()
        self.permits.grant(number, 1)
        return self.send_unpermitted(number, args, job=job, token=token, raw=raw, variables=variables)

    def next_number(self) -> int:
        self._count += 1
        return self._count - 1

    def send_unpermitted(
        self,
        number: int,
        args: Any = None,
        *,
        job: str | None = None,
        token: str = "t",
        raw: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        job = job or f"job-{number}"
        text = raw if raw is not None else json.dumps({} if args is None else args)
        self.write(encode_run(number, job, CLAIM, text, token, variables))
        return job

    def answer(self) -> Done | Fail:
        reply = self.reply()
        assert isinstance(reply, Done | Fail), reply
        assert reply.claim == CLAIM
        self._printed_from[reply.job_id], self._printed_to = self._printed_to, reply.out
        return reply

    def run(self, args: Any = None, **options: Any) -> Done | Fail:
        job = self.send(args, **options)
        reply = self.answer()
        assert reply.job_id == job
        return reply

    def result(self, args: Any = None, **options: Any) -> Any:
        return result_of(self.run(args, **options))

    def error(self, args: Any = None, **options: Any) -> dict[str, Any]:
        return error_of(self.run(args, **options))

    # -- what was printed

    def log(self, reply: Done | Fail) -> str:
        """What the job printed: everything since the answer before its own."""
        return self.capture.read(self._printed_from[reply.job_id], reply.out, 1 << 30).decode()

    def printed(self, args: Any = None, **options: Any) -> str:
        return self.log(self.run(args, **options))

    def everything(self) -> str:
        return self.capture.read(0, self.capture.size(), 1 << 20).decode(errors="replace")

    # -- the end

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> int:
        return self.process.wait(SECONDS)

    def death(self) -> int:
        """The return code of a process that dies without another answer."""
        try:
            reply = self.reply()
        except EOFError:
            return self.wait()
        raise AssertionError(reply)


def result_of(reply: Reply) -> Any:
    assert isinstance(reply, Done), error_of(reply)
    return json.loads(bytes(reply.result))


def error_of(reply: Reply) -> dict[str, Any]:
    assert isinstance(reply, Fail | Broken), reply
    error = json.loads(bytes(reply.error))
    assert isinstance(error, dict)
    return error


def until(condition: Any, seconds: float = SECONDS) -> None:
    """Wait for what sends no signal, such as a file that another process writes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.002)


def is_gone(process: psutil.Process) -> bool:
    """Whether a process that is not our child has ended; who adopted it may be slow to reap it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
