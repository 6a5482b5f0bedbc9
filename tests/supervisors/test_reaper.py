from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import supervisors
from supervisors.reaper import NAME, SCRIPT, Reaper

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    """A reaper of this test's own; the program's is left alone."""
    own = Reaper()
    yield own
    own.close()


@pytest.fixture
def groups() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Process groups to be killed or spared."""
    started = [subprocess.Popen(["sleep", "1000"], start_new_session=True) for _ in range(3)]
    yield started
    for each in started:
        each.kill()
        each.wait()


def alive(groups: list[subprocess.Popen[bytes]], patience: float = 0.0) -> list[bool]:
    states = []
    for each in groups:
        try:
            each.wait(patience)
            states.append(False)
        except subprocess.TimeoutExpired:
            states.append(True)
    return states


def test_groups_still_listed_are_killed_at_the_end(reaper: Reaper, groups: list[Any]) -> None:
    for each in groups:
        reaper.remember(each.pid)
    reaper.forget(groups[1].pid)
    reaper.forget(groups[1].pid)
    helper = reaper.pid
    reaper.close()
    assert alive(groups[::2], 10) == [False, False]
    assert alive(groups[1:2]) == [True]
    assert helper is not None
    assert not psutil.pid_exists(helper)
    reaper.remember(1)  # after the end it starts no new helper
    assert reaper.pid is None


def test_one_helper_for_all_and_none_before_the_first(reaper: Reaper, groups: list[Any]) -> None:
    assert reaper.pid is None
    reaper.remember(groups[0].pid)
    first = reaper.pid
    reaper.remember(groups[1].pid)
    assert reaper.pid == first
    for each in groups:
        reaper.forget(each.pid)


def test_it_ignores_signals_that_stop_programs(reaper: Reaper, groups: list[Any]) -> None:
    reaper.remember(groups[0].pid)
    reaper.remember(groups[1].pid)
    reaper.forget(groups[1].pid)
    helper = when_ready(reaper)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        helper.send_signal(number)
    reaper.close()
    assert alive(groups[:1], 10) == [False]
    assert alive(groups[1:]) == [True, True]


def when_ready(reaper: Reaper) -> psutil.Process:
    """Wait until the helper has set its traps: then it has become the shell for good."""
    helper = psutil.Process(reaper.pid)
    path = Path(f"/proc/{helper.pid}/status")
    while path.exists():  # else it is not Linux: take the chance
        ignored = next(line for line in path.read_text().splitlines() if line.startswith("SigIgn"))
        if int(ignored.split()[1], 16) & 1 << (signal.SIGTERM - 1):
            break
    return helper


def test_a_killed_helper_is_replaced_and_told_everything(reaper: Reaper, groups: list[Any]) -> None:
    reaper.remember(groups[0].pid)
    old = psutil.Process(reaper.pid)
    old.kill()
    psutil.wait_procs([old], timeout=10)
    reaper.remember(groups[1].pid)
    assert reaper.pid != old.pid
    assert alive(groups) == [True] * 3
    reaper.close()
    assert alive(groups[:2], 10) == [False, False]
    assert alive(groups[2:]) == [True]


def test_a_stopped_helper_blocks_nobody_and_kills_nobody(reaper: Reaper, groups: list[Any]) -> None:
    reaper.remember(groups[0].pid)
    old = psutil.Process(reaper.pid)
    old.suspend()
    for _ in range(6000):  # more than its pipe holds
        reaper.remember(groups[1].pid)
        reaper.forget(groups[1].pid)
    assert reaper.pid != old.pid
    assert not old.is_running()
    assert alive(groups) == [True] * 3
    reaper.close()
    assert alive(groups[:1], 10) == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_holds_no_descriptor_and_no_secret_of_ours(
    reaper: Reaper, groups: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        reaper.remember(groups[0].pid)
    finally:
        os.close(read)
        os.close(write)
    helper = when_ready(reaper)
    fds = {path.name: path.readlink() for path in Path(f"/proc/{helper.pid}/fd").iterdir()}
    assert sorted(fds) == ["0", "1", "2"]
    assert str(fds["1"]) == str(fds["2"]) == "/dev/null"
    assert "PASSWORD" not in helper.environ()
    assert os.getsid(helper.pid) == helper.pid
    assert helper.cmdline()[-1] == NAME
    reaper.forget(groups[0].pid)


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox"])
def test_the_script_keeps_a_set(shell: str) -> None:
    """Against an oracle, with numbers that are parts of one another."""
    if shutil.which(shell) is None:
        pytest.skip("not installed")
    live: set[int] = set()
    lines = []
    for _ in range(500):
        group = random.choice([1, 11, 12, 111, 112, 121, 211, 1111])
        if group in live:
            live.discard(group)
            lines.append(f"del {group}")
        elif random.random() < 0.8:
            live.add(group)
            lines.append(f"add {group}")
        else:
            lines.append(f"del {group}")
    argv = [shell, "sh", "-c"] if shell == "busybox" else [shell, "-c"]
    out = subprocess.run(
        [*argv, 'kill() { echo "$@"; }\n' + SCRIPT],
        input="\n".join(lines) + "\n",
        capture_output=True,
        check=True,
        text=True,
        timeout=20,
    )
    assert sorted(out.stdout.split("\n")[:-1]) == sorted(f"-s KILL -- -{group}" for group in live)


PROGRAM = """
import sys, os
from supervisors import Port, PortData, Process
from supervisors.testing import reaper_pid

class Owner(Process):
    def init(self):
        script = "trap '' HUP TERM; sleep 1000 & echo $$ $!; wait"
        self.port = Port.open(self.actor_ref, ["/bin/sh", "-c", script], env=dict(os.environ), cwd="/")
    def handle(self, message):
        if isinstance(message, PortData):
            print(message.data.decode().strip(), reaper_pid(), flush=True)

Owner.spawn()
sys.stdin.readline()
"""


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(supervisors.__file__).parent.parent)},
    )
    yield running
    running.kill()
    running.communicate()


def test_kill_9_of_the_program_takes_processes_and_grandchildren_along(program: Any, gone: Any) -> None:
    pids = [int(pid) for pid in program.stdout.readline().split()]
    program.kill()
    assert [gone(pid) for pid in pids] == [True] * 3


def test_a_normal_exit_does_too(program: Any, gone: Any) -> None:
    pids = [int(pid) for pid in program.stdout.readline().split()]
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.wait(10) == 0
    assert [gone(pid) for pid in pids] == [True] * 3
