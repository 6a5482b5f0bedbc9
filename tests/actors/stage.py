"""A Runner on a stage: everything around it is the test's, so that every message is.

`Puppet` takes the place of the warm process, with real permits and a real capture file: the
test says when it takes a permit, prints, answers and dies. Probes take the places of the
Completer, the LogWriter and the Puller.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec.structs import replace
from pykka import ActorRef

from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import (
    Holding,
    Outcomes,
    Printed,
    Progress,
    Release,
    Returned,
    Run,
    Tick,
)
from mill_actors.actors.runner import Runner
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome
from mill_actors.jobs.script import Script, ScriptOptions, make_script
from mill_actors.runtimes.capture import Capture
from mill_actors.runtimes.permits import PERMIT_BYTES, Permits
from mill_actors.runtimes.warm import WarmProcess
from supervisors import PortData, PortExit, ProcessRef
from supervisors.port import EXITED
from supervisors.testing import Probe, Signals

T = TypeVar("T")
_numbers = itertools.count(1)


def make_job(**fields: Any) -> ClaimedJob:
    """A claimed job; what the test does not say is of no importance to it."""
    number = next(_numbers)
    usual: dict[str, Any] = {
        "id": f"00000000-0000-7000-8000-{number:012x}",
        "workspace": "default",
        "path": "f/test/script",
        "script": "0" * 16,
        "tag": "python3",
        "args": "{}",
        "args_bytes": 2,
        "created_by": "u/admin",
        "priority": 0,
        "attempt": 1,
        "rescues": 0,
        "timeout_seconds": None,
        "retry": None,
        "concurrency_key": None,
        "due": float(number),
        "claim": f"00000000-0000-7000-9000-{number:012x}",
    }
    return ClaimedJob(**(usual | fields))


def make_jobs(count: int, **fields: Any) -> list[ClaimedJob]:
    return [make_job(**fields) for _ in range(count)]


def a_script(options: ScriptOptions = ScriptOptions()) -> Script:
    return make_script("default", "f/test/script", "python3", "def main(): ...", options)


class Puppet:
    """A process whose strings the test holds."""

    identity = staticmethod(WarmProcess.identity)
    variables = staticmethod(WarmProcess.variables)

    def __init__(self, owner: ActorRef[Any]) -> None:
        self.owner = owner
        self.pid = 0
        self.permits = Permits()
        self.capture = Capture()
        self.kills = 0
        self.is_closed = False
        self.used_mb = 0
        self.frames: list[list[Any]] = []

    # -- what a Runner calls -------------------------------------------------------

    def send(self, data: bytes) -> None:
        self.frames += [json.loads(line) for line in data.splitlines()]

    def kill(self) -> None:
        self.kills += 1

    def wait(self, timeout: float | None = None) -> bool:
        return True

    def memory_bytes(self) -> int:
        return self.used_mb * 2**20

    def close(self) -> None:
        self.is_closed = True
        self.permits.close()
        self.capture.close()

    # -- what the process does -----------------------------------------------------

    def take_permits(self, count: int = 1) -> list[int]:
        """Take permits as the process does, and return their numbers."""
        data = b""
        for _ in range(count):
            try:
                data += os.read(self.permits.fd, PERMIT_BYTES)
            except BlockingIOError:
                break
        return [
            int.from_bytes(data[at : at + PERMIT_BYTES], "little") for at in range(0, len(data), PERMIT_BYTES)
        ]

    def print(self, text: str | bytes) -> int:
        """Print, and return the size of the capture file."""
        os.write(self.capture.fd, text.encode() if isinstance(text, str) else text)
        return self.capture.size()

    def say(self, *lines: bytes) -> None:
        """Answer with these lines, in one block."""
        self.owner.tell(PortData(None, b"".join(line + b"\n" for line in lines)))  # type: ignore[arg-type]  # no Port

    def ready(self) -> bytes:
        return b'["ready",0,%d]' % self.capture.size()

    def done(
        self, job: ClaimedJob, result: bytes = b"null", *, out: int | None = None, us: int = 10
    ) -> bytes:
        out = self.capture.size() if out is None else out
        return b'["done","%b","%b",%d,%d,%b]' % (job.id.encode(), job.claim.encode(), out, us, result)

    def fail(self, job: ClaimedJob, name: str = "ValueError", *, out: int | None = None) -> bytes:
        out = self.capture.size() if out is None else out
        error = json.dumps({"name": name, "message": "", "stack": ""}).encode()
        return b'["fail","%b","%b",%d,10,%b]' % (job.id.encode(), job.claim.encode(), out, error)

    def broken(self, name: str = "ImportError") -> bytes:
        return b'["broken",%b]' % json.dumps({"name": name, "message": "no", "stack": "line 1"}).encode()

    def exit(self, code: int | None = None, signal: int | None = None, why: str = EXITED) -> None:
        """Be dead, and known to be."""
        self.owner.tell(PortExit(None, code, signal, why))  # type: ignore[arg-type]  # no Port


class Heard:
    """Asked, and answered when everything before was heard."""


@dataclass
class Stage:
    """The Runner, its process, and what everybody heard."""

    context: NodeContext
    script: Script
    completer: ProcessRef[Probe]
    puller: ProcessRef[Probe]
    log_writer: ProcessRef[Probe]
    to_completer: Signals[Any]
    to_puller: Signals[Any]
    to_log_writer: Signals[Any]
    puppets: list[Puppet] = field(default_factory=list)
    runner: ProcessRef[Runner] | None = None
    heard: list[Any] = field(default_factory=list)

    def start(self, *, ready: bool = True) -> ProcessRef[Runner]:
        self.runner = Runner.spawn(
            self.context, "worker", 1, self.script, self.context.address("completer"), self.puller
        )
        if ready:
            self.process.say(self.process.ready())
            self.settle()
        return self.runner

    @property
    def process(self) -> Puppet:
        return self.puppets[-1]

    @property
    def ref(self) -> ProcessRef[Runner]:
        assert self.runner is not None
        return self.runner

    def settle(self) -> frozenset[str]:
        """Return once the Runner has handled everything so far: which jobs it holds then."""
        holding: Any = self.ref.ask(Holding(), timeout=10.0)
        return frozenset(holding)

    def run(self, jobs: Iterable[ClaimedJob]) -> None:
        self.ref.tell(Run(list(jobs)))
        self.settle()

    def tick(self) -> None:
        self.ref.tell(Tick())
        self.settle()

    def ended(self) -> None:
        """Wait for the Runner's end."""
        assert self.ref.exited.wait(10.0), "the Runner goes on"

    def hear(self) -> None:
        """Collect what was told to the others, once they have heard it."""
        for probe in (self.completer, self.puller, self.log_writer):
            if probe.is_alive():
                probe.ask(Heard(), timeout=10.0)
        self.heard += self.to_completer.so_far() + self.to_puller.so_far() + self.to_log_writer.so_far()

    def told(self, kind: type[T]) -> list[T]:
        """Everything of a kind that the Runner told anybody."""
        self.hear()
        return [message for message in self.heard if isinstance(message, kind)]

    @property
    def finished(self) -> list[Outcome]:
        return [outcome for told in self.told(Outcomes) for outcome in told.finished]

    @property
    def retried(self) -> list[Outcome]:
        return [retrial.outcome for told in self.told(Outcomes) for retrial in told.retried]

    @property
    def returned(self) -> list[ClaimedJob]:
        return [job for told in self.told(Returned) for job in told.jobs]

    @property
    def released(self) -> list[ClaimedJob]:
        return [job for told in self.told(Release) for job in told.jobs]

    @property
    def credited(self) -> int:
        """How many jobs the Puller knows to be out of this Runner's hands."""
        return sum(told.jobs for told in self.told(Progress)) + len(self.returned)

    def logs(self) -> dict[str, str]:
        """Job → its log, put together by position as a reader sees it."""
        chunks = [chunk for told in self.told(Outcomes) for chunk in told.logs]
        chunks += [chunk for told in self.told(Printed) for chunk in told.chunks]
        texts: dict[str, dict[int, str]] = {}
        for chunk in chunks:
            assert texts.setdefault(chunk.job, {}).setdefault(chunk.position, chunk.text) == chunk.text
        return {job: "".join(text for _, text in sorted(pieces.items())) for job, pieces in texts.items()}

    def errors(self) -> dict[str, dict[str, Any]]:
        """Job → the error it ended with."""
        ended = [*self.finished, *self.retried]
        return {o.job.id: json.loads(o.result)["error"] for o in ended if b'"error"' in o.result}


def renamed(context: NodeContext, **worker: Any) -> None:
    """Change the worker's limits."""
    context.config = replace(context.config, worker=replace(context.config.worker, **worker))


Stager = Callable[..., Stage]
