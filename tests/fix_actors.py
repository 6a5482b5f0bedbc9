"""A test that leaves an actor, a thread or a process behind fails by name."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psutil
import pytest

from supervisors import testing


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Compare what lives after the test with what lived before it, with some patience."""
    threads, children = set(threading.enumerate()), _children()
    yield
    found = testing.leftovers(threads)
    late = _children() - children
    if late:
        # A process that was killed but not yet reaped is not left behind.
        _, alive = psutil.wait_procs(late, timeout=2.0)
        found += [f"process {child.pid} ({child.name()})" for child in alive]
        for child in alive:
            child.kill()
    if found:
        testing.stop_all_actors()
        pytest.fail("left behind: " + ", ".join(found))


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children() if child.pid != testing.reaper_pid()}
