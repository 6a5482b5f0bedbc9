"""A language process under test: frames by hand, every wait with a deadline."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mill_actors.runtimes.capture import Capture
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

CLAIM = "c-1"
SECONDS = 20.0


class Warm:
    """One process, started from a script's file; closed at the end of a `with`."""

    def __init__(
        self,
        language: Language,
        script: Path,
        cwd: Path,
        *,
        interpreter: str | None = None,
        environment: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        memory_mb: int | None = None,
        **options: Any,
    ) -> None:
        self.capture = Capture()
        self.permits = Permits()
        self.seen = 0
        self._count = 0
        self._rest = b""
        self._replies: list[Reply] = []
        self.process = subprocess.Popen(
            language.command(permits=self.permits.fd, interpreter=interpreter, memory_mb=memory_mb),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.capture.fd,
            cwd=cwd,
            env=dict(environment or {"PATH": os.environ["PATH"]}),
            start_new_session=True,
            pass_fds=(self.permits.fd,),
        )
        self.write(encode_init(Init(script=str(script), path="f/demo/script", env=dict(variables or {}), **options)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait(SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        self.capture.close()
        self.permits.close()

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
            block, newline, self._rest = (self._rest + data).rpartition(b"\n")
            self._replies = decode(block + newline)
        return self._replies.pop(0)

    def ready(self) -> int:
        reply = self.reply()
        assert isinstance(reply, Ready), reply
        self.seen = reply.out
        return reply.pid

    def broken(self) -> dict[str, Any]:
        reply = self.reply()
        assert isinstance(reply, Broken), reply
        return error_of(reply)

    def context(self, **variables: str) -> None:
        self.write(encode_context(variables))

    def send(self, args: Any = None, *, job: str | None = None, token: str = "t", raw: bytes | None = None) -> str:
        number, self._count = self._count, self._count + 1
        job = job or f"j-{number}"
        data = raw if raw is not None else json.dumps({} if args is None else args).encode()
        self.permits.grant(number, 1)
        self.write(encode_run(number, job, CLAIM, data, token))
        return job

    def run(self, args: Any = None, **options: Any) -> Done | Fail:
        job = self.send(args, **options)
        reply = self.reply()
        assert isinstance(reply, Done | Fail), reply
        assert (reply.job_id, reply.claim) == (job, CLAIM)
        return reply

    def result(self, args: Any = None, **options: Any) -> Any:
        reply = self.run(args, **options)
        assert isinstance(reply, Done), reply
        return json.loads(bytes(reply.result))

    def error(self, args: Any = None, **options: Any) -> dict[str, Any]:
        return error_of(self.run(args, **options))

    def log(self, reply: Done | Fail) -> bytes:
        """What the job printed: everything since the answer before."""
        start, self.seen = self.seen, reply.out
        return self.capture.read(start, reply.out, 1 << 30)

    def everything(self) -> str:
        return self.capture.read(0, self.capture.size(), 1 << 20).decode(errors="replace")

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> int:
        return self.process.wait(SECONDS)


def error_of(reply: Reply) -> dict[str, Any]:
    assert isinstance(reply, Fail | Broken), reply
    error = json.loads(bytes(reply.error))
    assert isinstance(error, dict)
    return error
