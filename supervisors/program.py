"""Run a tree as a program: until it is told to stop, or its root gives up.

    sys.exit(run_root(lambda: Supervisor.spawn([...], name="root")))

A signal stops the tree in order and the program ends with 0. A root that ends without
having been asked has given up: the program ends with 1, for whoever restarts programs.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from supervisors.reasons import SHUTDOWN, Normal
from supervisors.ref import ProcessRef, abandon, process_ref, request_stop, unwatch, watch
from supervisors.wake_pipe import WakePipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pykka import ActorRef

logger = logging.getLogger("supervisors")

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run_root(
    start: Callable[[], ActorRef[Any]],
    *,
    stop_signals: Iterable[signal.Signals] = STOP_SIGNALS,
) -> int:
    """Start the root, wait for its end, give the exit code. Main thread only.

    What `start` raises is raised here. The first stop signal stops the tree; the second
    gives up on that: 1, with the tree's threads left behind (they are daemons).
    """
    # Python writes the number of a signal into the pipe in the C handler, whichever
    # thread the kernel chose: nothing here can deadlock with what the signal interrupted.
    pipe = WakePipe()
    previous = {number: signal.signal(number, lambda *_: None) for number in stop_signals}
    previous_fd = signal.set_wakeup_fd(pipe.write_fileno(), warn_on_full_buffer=False)
    root: ProcessRef[Any] | None = None
    try:
        root = process_ref(start())
        watch(root, "run_root", lambda _down: pipe.wake())
        was_asked = False
        while True:
            for number in os.read(pipe.fileno(), 64):
                if number in previous and was_asked:
                    abandon(root)
                    return 1
                if number in previous:
                    logger.info("got %s", signal.Signals(number).name)
                    was_asked = True
                    request_stop(root, SHUTDOWN)
            if root.exit_reason is not None:
                break
        root.exited.wait()
        if was_asked or isinstance(root.exit_reason, Normal):
            return 0
        logger.critical("%s gave up: %s", root, root.exit_reason)
        return 1
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in previous.items():
            signal.signal(number, handler)
        if root is not None:
            unwatch(root, "run_root")
        pipe.close()
