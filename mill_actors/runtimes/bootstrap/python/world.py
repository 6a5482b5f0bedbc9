"""What a job may change in its process, and how it is put back before the next job.

The state after the import of the script is the one every job starts with: as if each job had
a process of its own. Restored are the descriptors 0-2, the standard streams, environment,
working directory, umask, `sys.path` and `sys.argv`, the recursion limit, hooks, the trace and
profile functions, the handlers of the usual signals, garbage collection, asyncio's policy.
Not restored, as in any long-lived program: module globals, `os.putenv` called directly,
logging and warnings settings, locale, threads and child processes still running, files.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
from typing import Any

from .descriptors import Descriptors
from .streams import Streams

# Any: a module without stubs. signal.getsignal wraps its answers in enums: 1.5 us against 0.03.
_signal: Any = importlib.import_module("_signal")

_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGHUP", "SIGUSR1", "SIGUSR2")
)  # fmt: skip


class World:
    """The state every job starts with, taken once and restored after each job."""

    def __init__(self, descriptors: Descriptors, streams: Streams) -> None:
        self._descriptors = descriptors
        self._streams = streams
        self._folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._handlers = list(map(_signal.getsignal, _SIGNALS))
        self._lists = [(name, kept, list(kept)) for name, kept in (("path", sys.path), ("argv", sys.argv))]
        self._settings = self._current_settings()

    def restore(self) -> None:
        """Put everything back and flush what was printed; 1.9 us when nothing changed."""
        self._descriptors.mend()
        self._streams.mend()
        os.fchdir(self._folder)
        os.umask(self._umask)
        if list(map(_signal.getsignal, _SIGNALS)) != self._handlers:
            self._mend_signals()
        if self._current_settings() != self._settings:
            self._mend_settings()
        for name, kept, content in self._lists:
            if vars(sys).get(name) is not kept or kept != content:
                setattr(sys, name, kept)
                kept[:] = content

    def _mend_signals(self) -> None:
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if handler is not None and _signal.getsignal(number) != handler:
                signal.signal(number, handler)

    @staticmethod
    def _current_settings() -> tuple[Any, ...]:
        events = sys.modules.get("asyncio.events")
        now = vars(sys).get  # a job may also have deleted them
        return (
            now("excepthook"),
            now("unraisablehook"),
            now("displayhook"),
            threading.excepthook,
            sys.getrecursionlimit(),
            sys.gettrace(),
            sys.getprofile(),
            gc.isenabled(),
            # A policy remembers the loop of asyncio.run and refuses the next job another one.
            getattr(events, "_event_loop_policy", None),
        )

    def _mend_settings(self) -> None:
        (
            sys.excepthook,
            sys.unraisablehook,
            sys.displayhook,
            threading.excepthook,
            recursion,
            trace,
            profile,
            collects,
            policy,
        ) = self._settings
        sys.setrecursionlimit(recursion)
        sys.settrace(trace)
        sys.setprofile(profile)
        (gc.enable if collects else gc.disable)()
        if "asyncio.events" in sys.modules:
            # Any: a private name, the only way back to "no policy yet".
            events: Any = sys.modules["asyncio.events"]
            events._event_loop_policy = policy
