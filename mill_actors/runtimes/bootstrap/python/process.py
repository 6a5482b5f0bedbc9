"""The life of a Python process: init, import, then one job at a time until its input ends.

    STARTING   the init frame is read, the script imported        -> ready, or broken and exit 1
    RUNNING    a job's `main` runs; frames wait in the pipe        -> done or fail, at once
    WAITING    nothing left: a blocking read                       -> RUNNING, or end of input
    ENDING     no job is started any more; atexit hooks run        -> exit 0

An exit code of 0 means: every run without an answer was never started.
"""

from __future__ import annotations

import contextvars
import faulthandler
import gc
import inspect
import os
import signal
import sys
import time
import traceback
import types
from typing import Any

from . import parent, script, windmill
from .descriptors import Descriptors
from .entry import EntryPoints
from .environment import Environment
from .errors import describe
from .failures import Failure
from .results import encoder
from .shared import Shared
from .source import HEAD, Source, loads, write
from .streams import Streams
from .world import World

_clock = time.perf_counter_ns
#: The length of a run with variables of its own, the last element.
_LONG = 7
#: … of which one is for this program alone: where `./shared` leads to.
_SHARED = "MILL_SHARED"
_LAZY = frozenset({types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType})


class Interrupts:
    """SIGINT interrupts a running job, and nothing else."""

    def __init__(self) -> None:
        self.armed = False
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, _number: int, _frame: types.FrameType | None) -> None:
        if self.armed:
            raise KeyboardInterrupt


class Process:
    """A script and everything needed to run its jobs."""

    def __init__(self, descriptors: Descriptors, source: Source, init: dict[str, Any]) -> None:
        streams = Streams()
        self._descriptors = descriptors
        self._source = source
        self._interrupts = Interrupts()
        os.environ.update(init.get("env", {}))
        self._shared = Shared()
        windmill.follow()
        module = script.load(init["script"])
        self._entries = EntryPoints(module, lenient=init.get("arguments") == "windmill")
        self._signature = self._entries.main
        self._main = self._signature.function
        self._encode = encoder(init["max_result_bytes"])
        self._coroutines: Any = None
        if inspect.iscoroutinefunction(self._main):
            self._start_coroutines()
        self._environment = Environment()
        self._world = World(descriptors, streams)
        self._is_adapted = False
        self._context = contextvars.copy_context()

    def printed(self) -> int:
        """Return how much the import printed, all of it written out."""
        self._world.restore()
        return self._descriptors.size()

    def serve(self) -> None:
        """Run jobs until the input ends."""
        source = self._source
        while True:
            while not source.waiting:
                source.receive()
                if source.has_ended:
                    return
            line = source.waiting.popleft()
            if line.startswith(b'["run",'):
                self._run(line)
            elif line.startswith(b'["context",'):
                self._environment.context(loads(line)[1])
            else:
                raise ValueError(f"not a frame: {line[:200]!r}")

    def _run(self, line: bytes) -> None:
        try:
            frame = loads(line)
            variables = frame.pop() if len(frame) == _LONG else None
            _, number, job, claim, args, token = frame
        except Exception as error:  # noqa: BLE001 - the job's arguments, or memory, are to blame
            self._refuse(line, error)
            return
        if not self._source.is_permitted(number):
            return
        self._environment.identify(job, token)
        started = _clock()
        try:
            if variables is not None or self._is_adapted:
                self._adapt(variables)
                started = _clock()
            result = self._encode(self._call(args))
            kind = "done"
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like end the job only
            if self._descriptors.forked:
                _leave_fork(error)
            result = _described(error)
            kind = "fail"
        duration = (_clock() - started) // 1000
        self._environment.restore()
        self._world.restore()
        head = f'["{kind}","{job}","{claim}",{self._descriptors.size()},{duration},'
        write(b"%b%b]\n" % (head.encode(), result))

    def _adapt(self, variables: dict[str, str] | None) -> None:
        """Give a job what is its own: a step of a flow has more than its id and token."""
        shared = None if variables is None else variables.pop(_SHARED, None)
        self._is_adapted = True  # should this fail, the next job tries again
        self._environment.own(variables or {})
        self._shared.show(shared)
        self._is_adapted = variables is not None

    def _call(self, args: Any) -> Any:
        signature = self._signature
        interrupts = self._interrupts
        context = self._context.copy()
        try:
            interrupts.armed = True
            if signature.is_simple and type(args) is dict and args.keys() == signature.names:
                result = context.run(self._main, **args)
            else:
                chosen = self._entries.chosen(args)
                positional, named = chosen.bind(args)
                result = context.run(chosen.function, *positional, **named)
            if type(result) in _LAZY:
                result = context.run(self._finish, result)
        finally:
            # Here, because the handler of a user's alarm may raise while it is switched off.
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            interrupts.armed = False
        if self._descriptors.forked:
            _leave_fork(None)
        return result

    def _finish(self, result: Any) -> Any:
        if type(result) is types.GeneratorType:
            return list(result)
        coroutines = self._coroutines or self._start_coroutines()
        if type(result) is types.AsyncGeneratorType:
            from .coroutines import listed

            result = listed(result)
        return coroutines.run(result)

    def _start_coroutines(self) -> Any:
        # asyncio takes 30 ms to import, and most scripts do without.
        from .coroutines import Coroutines

        self._coroutines = Coroutines()
        return self._coroutines

    def _refuse(self, line: bytes, error: Exception) -> None:
        head = HEAD.match(line)
        if head is None:
            raise error
        if not self._source.is_permitted(int(head[1])):
            return
        what = f"the arguments cannot be read: {type(error).__name__}: {error}"
        data = describe(Failure("InvalidArgs", what))
        write(b'["fail","%b","%b",%d,0,%b]\n' % (head[2], head[3], self._descriptors.size(), data))


def _described(error: BaseException) -> bytes:
    try:
        return describe(error)
    except Exception as worse:  # noqa: BLE001 - out of memory, or an exception made to annoy
        return describe(Failure(type(error).__name__, f"undescribable: {type(worse).__name__}"))


def _leave_fork(error: BaseException | None) -> None:
    """End a child that came back from `main`: its parent answers the job."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _first(source: Source) -> dict[str, Any]:
    while not source.waiting and not source.has_ended:
        source.receive()
    if source.has_ended:
        sys.exit(0)
    kind, init = loads(source.waiting.popleft())
    if kind != "init":
        message = f"the first frame is {kind}, not init"
        raise ValueError(message)
    return init  # type: ignore[no-any-return]  # JSON


def main() -> None:
    """Be the process."""
    descriptors = Descriptors()
    faulthandler.enable(descriptors.capture)
    parent.follow()
    parent.unbuffer_c()
    source = Source(descriptors.permits)
    init = _first(source)
    try:
        process = Process(descriptors, source, init)
    except BaseException as error:  # noqa: BLE001 - a script may raise SystemExit at import
        if descriptors.forked:
            _leave_fork(error)
        write(b'["broken",%b]\n' % _described(error))
        sys.exit(1)
    gc.collect()
    gc.freeze()
    write(b'["ready",%d,%d]\n' % (os.getpid(), process.printed()))
    process.serve()
