"""Die with the node, however it dies.

`PR_SET_PDEATHSIG` covers a main thread that never lets another one run; the watchdog covers
the whole process group, and systems without prctl. It waits on the answers' pipe, not on
standard input: a closed input is how a living node asks this process to finish.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import select
import signal
import sys

from .descriptors import ANSWERS

_PR_SET_PDEATHSIG = 1


def _watch() -> None:
    poller = select.poll()
    poller.register(ANSWERS, 0)  # no events asked for: wakes only when the reader is gone
    poller.poll()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def follow() -> None:
    """Arrange that this process does not outlive the reader of its answers."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Not by threading: a script that joins all threads would wait for this one.
    _thread.start_new_thread(_watch, ())


def unbuffer_c() -> None:
    """Make C code's stdout unbuffered, so that its output lands in the log of its job."""
    libc = ctypes.CDLL(None)
    name = "__stdoutp" if sys.platform == "darwin" else "stdout"
    unbuffered = 2 if sys.platform in {"linux", "darwin"} else None
    if unbuffered is not None:
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, name), None, unbuffered, 0)
