"""What every test of `supervisors/` gets: a check that it leaves nothing behind."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import pytest

from supervisors import ProcessRef, Report, stop, subscribe, testing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

R = TypeVar("R", bound=ProcessRef[Any])


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if child.pid != testing.reaper_pid()}


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    threads, children = threading.enumerate(), _children()
    yield
    found = testing.leftovers(threads)
    found += [f"child process {child}" for child in _children() - children]
    testing.stop_all_actors()
    if found:
        pytest.fail("left behind: " + ", ".join(found))


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What stuck actors wait for; open at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def keep(gate: threading.Event) -> Iterator[Callable[[R], R]]:
    """Have an actor stopped at the end of the test, last kept first."""
    with ExitStack() as stack:

        def keep_(ref: R) -> R:
            stack.callback(stop, ref, timeout=testing.WAIT_SECONDS)
            return ref

        yield keep_
        gate.set()


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Wait until a process that is not our child is dead; whoever adopted it may reap late."""

    def gone_(pid: int) -> bool:
        deadline = time.monotonic() + testing.WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                if psutil.Process(pid).status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
                    return True
            except psutil.NoSuchProcess:
                return True
            time.sleep(0.001)
        return False

    return gone_


@pytest.fixture
def log() -> testing.Signals[Any]:
    """What the test's actors record."""
    return testing.Signals()


@pytest.fixture
def reports() -> Iterator[testing.Signals[Report]]:
    """Every report but progress."""
    seen: testing.Signals[Report] = testing.Signals()

    def keep_errors(report: Report) -> None:
        if report.kind != "progress":
            seen(report)

    unsubscribe = subscribe(keep_errors)
    yield seen
    unsubscribe()
