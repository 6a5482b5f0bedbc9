from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from supervisors import (
    ABANDONED,
    NotAProcess,
    Port,
    PortClosed,
    PortData,
    PortExit,
    Process,
    exit_watch,
    port,
    process_group,
    reaper,
    stop,
)
from supervisors.frames import Frames
from supervisors.port import EXITED, GRACE_OVER, IO_FAILED, KILLED, STDIN_CLOSED, STDOUT_CLOSED
from supervisors.testing import Signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Keep = Any
ENV = {"PATH": os.defpath}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Owner(Process):
    """Owns one Port and passes on what it says; does what it is told with it."""

    def init(self, log: Signals[Any], argv: list[str], **options: Any) -> None:
        self.log = log
        self.port = Port.open(self.actor_ref, argv, **({"env": ENV, "cwd": "/"} | options))
        self.info = {"port": self.port}

    def handle(self, message: Any) -> object:
        if callable(message):
            reply: object = message(self.port)
            return reply
        self.log(message)
        return None


@pytest.fixture
def run(keep: Keep, log: Signals[Any]) -> Callable[..., Port]:
    """Start a program (or a shell script) under an owner of its own."""

    def run_(*argv: str, **options: Any) -> Port:
        owner = keep(Owner.spawn(log, ["/bin/sh", "-c", *argv] if len(argv) == 1 else list(argv), **options))
        opened = owner.info()["port"]
        assert isinstance(opened, Port)
        return opened

    return run_


def python(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", program]


def tell(opened: Port, do: Callable[[Port], object]) -> None:
    opened.owner.tell(do)


def until_exit(log: Signals[Any], timeout: float = 10.0) -> tuple[bytes, PortExit]:
    data = b""
    while isinstance(message := log.next(timeout), PortData):
        assert message.data.endswith(b"\n")
        data += message.data
    assert isinstance(message, PortExit)
    return data, message


# -- frames ----------------------------------------------------------------------------


def test_frames_arrive_whole(run: Any, log: Signals[Any]) -> None:
    opened = run("/bin/cat", "-")
    tell(opened, lambda it: it.send(b"one\ntwo\nthr"))
    assert log.next() == PortData(opened, b"one\ntwo\n")
    tell(opened, lambda it: it.send(b"ee\n"))
    assert log.next() == PortData(opened, b"three\n")
    opened.kill()
    assert until_exit(log) == (b"", PortExit(opened, None, signal.SIGKILL, KILLED))


def test_one_message_has_all_frames_of_a_read(run: Any, log: Signals[Any]) -> None:
    run("printf 'a\\nb\\nc\\nrest without an end'")
    assert log.next().data == b"a\nb\nc\n"
    assert until_exit(log)[0] == b""


def test_exit_comes_after_the_last_data(run: Any, log: Signals[Any], gate: threading.Event) -> None:
    """The process is gone long before its output is read."""
    opened = run(
        *python(
            "import sys; print('x' * 999, flush=True); sys.stdin.read(1);"
            "sys.stdout.write(('y' * 999 + '\\n') * 900)"
        )
    )
    assert log.next().data == b"x" * 999 + b"\n"
    tell(opened, lambda _: gate.wait(10))
    opened.send(b"!")
    assert opened.wait(10)
    gate.set()
    data, exit_ = until_exit(log)
    assert len(data) == 900_000
    assert (exit_.returncode, exit_.why) == (0, EXITED)


def test_a_frame_of_100_mb_costs_linear_time(run: Any, log: Signals[Any]) -> None:
    opened = run("/bin/cat", "-", max_frame_bytes=1 << 30)
    big = b"x" * 100_000_000 + b"\n"
    began = time.monotonic()
    tell(opened, lambda it: it.send(big))
    assert log.next(30).data == big
    assert time.monotonic() - began < 20  # 0.2 s on a quiet machine; quadratic would be minutes
    opened.kill()
    until_exit(log)


def test_a_frame_too_long_kills(run: Any, log: Signals[Any]) -> None:
    opened = run("echo fine; head -c 5000 /dev/zero; sleep 1000", max_frame_bytes=1000)
    data, exit_ = until_exit(log)
    assert data == b"fine\n"
    assert exit_ == PortExit(opened, None, signal.SIGKILL, "a frame was longer than 1000 bytes")


def test_a_last_frame_too_long_is_said_too(run: Any, log: Signals[Any]) -> None:
    opened = run("cat; printf 'fine\\n%05000d\\nnever\\n' 0", max_frame_bytes=1000)
    opened.close()
    data, exit_ = until_exit(log)
    assert (data, exit_.why) == (b"fine\n", "a frame was longer than 1000 bytes")


# -- ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 3])
def test_return_codes(run: Any, log: Signals[Any], code: int) -> None:
    opened = run(f"exit {code}")
    assert until_exit(log)[1] == PortExit(opened, code, None, EXITED)


def test_killed_by_somebody_else(run: Any, log: Signals[Any]) -> None:
    opened = run("echo up; sleep 1000")
    log.next()
    os.kill(opened.pid, signal.SIGKILL)
    assert until_exit(log)[1] == PortExit(opened, None, signal.SIGKILL, EXITED)


def test_an_exit_kills_the_whole_group_and_waits_for_no_grandchild(
    run: Any, log: Signals[Any], gone: Any
) -> None:
    """The grandchild holds stdout open for 1000 s; nobody waits for that."""
    run("sleep 1000 & echo $!; exit 4")
    data, exit_ = until_exit(log)
    assert (exit_.returncode, exit_.why) == (4, EXITED)
    assert gone(int(data))


def test_a_grandchild_that_left_the_group_delays_nothing(run: Any, log: Signals[Any], gone: Any) -> None:
    """It even goes on writing to the stdout it has inherited."""
    escape = (
        "import os; os.fork() and os._exit(5); os.setsid(); print(os.getpid(), flush=True)\n"
        "while True: os.write(1, b'y' * 4000 + b'\\n')"
    )
    run(*python(escape))
    data, exit_ = until_exit(log)
    assert exit_.returncode == 5
    if pid := data.partition(b"\n")[0]:
        os.kill(int(pid), signal.SIGKILL)
        assert gone(int(pid))


def test_kill_reaches_grandchildren(run: Any, log: Signals[Any], gone: Any) -> None:
    opened = run("sleep 1000 & echo $!; wait")
    grandchild = int(log.next().data)
    with ThreadPoolExecutor(4) as pool:  # from any thread, any number of times
        for _ in pool.map(lambda _: opened.kill(), range(8)):
            pass
    assert until_exit(log)[1] == PortExit(opened, None, signal.SIGKILL, KILLED)
    assert gone(grandchild)
    assert gone(opened.pid)
    opened.kill()
    opened.terminate()
    opened.close()
    assert log.so_far() == []


def test_after_the_end_nobody_is_signalled(
    run: Any, log: Signals[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = run("exit 0")
    until_exit(log)
    signalled: list[Any] = []
    monkeypatch.setattr(os, "killpg", lambda *args: signalled.append(args))
    opened.kill()
    opened.terminate()
    assert signalled == []
    assert repr(opened) == f"<Port {opened.pid}, gone>"


def test_closing_stdin_ends_it_gracefully(run: Any, log: Signals[Any]) -> None:
    opened = run("cat; echo bye; exit 7")
    opened.send(b"last\n")
    opened.close()
    data, exit_ = until_exit(log)
    assert data == b"last\nbye\n"
    assert (exit_.returncode, exit_.why) == (7, EXITED)
    with pytest.raises(PortClosed):
        opened.send(b"more\n")


def test_close_with_grace_kills_who_does_not_end(run: Any, log: Signals[Any]) -> None:
    opened = run("echo up; exec sleep 1000")
    log.next()
    opened.close(grace=0.05)
    assert until_exit(log)[1] == PortExit(opened, None, signal.SIGKILL, GRACE_OVER)


def test_terminate(run: Any, log: Signals[Any]) -> None:
    opened = run("trap 'exit 9' TERM; echo up; while :; do sleep 1000 & wait; done")
    log.next()
    opened.terminate(grace=10)
    assert until_exit(log)[1] == PortExit(opened, 9, None, EXITED)


def test_terminate_kills_who_does_not_heed(run: Any, log: Signals[Any]) -> None:
    opened = run("trap '' TERM; echo up; while :; do sleep 1000; done")
    log.next()
    opened.terminate(grace=0.05)
    assert until_exit(log)[1] == PortExit(opened, None, signal.SIGKILL, GRACE_OVER)


def test_a_closed_stdout_ends_it(run: Any, log: Signals[Any]) -> None:
    opened = run("exec >&-; sleep 1000")
    assert until_exit(log)[1] == PortExit(opened, None, signal.SIGKILL, STDOUT_CLOSED)


def test_who_closes_stdout_and_exits_keeps_its_return_code(run: Any, log: Signals[Any]) -> None:
    opened = run("exec >&-; exit 6")
    assert until_exit(log)[1] == PortExit(opened, 6, None, EXITED)


def test_a_closed_stdin_ends_it_when_we_write(run: Any, log: Signals[Any]) -> None:
    opened = run("exec <&-; echo up; sleep 1000")
    log.next()
    opened.send(b"anybody?\n")
    opened.send(b"anybody?\n")
    assert until_exit(log)[1] == PortExit(opened, None, signal.SIGKILL, STDIN_CLOSED)
    opened.send(b"nobody\n")


# -- sending ---------------------------------------------------------------------------


def test_send_never_blocks_and_keeps_the_order(run: Any, log: Signals[Any]) -> None:
    program = (
        "import sys, hashlib; print('up', flush=True); i = sys.stdin.buffer; i.readline();"
        "print(hashlib.sha256(i.read()).hexdigest())"
    )
    opened = run(*python(program))
    log.next()
    os.kill(opened.pid, signal.SIGSTOP)
    sent = [bytes([65 + number % 26]) * 70_001 + b"\n" for number in range(100)]
    began = time.monotonic()
    opened.send(b"go\n")
    for data in sent:
        opened.send(data)
    assert time.monotonic() - began < 5
    assert opened.unsent > 5_000_000
    os.kill(opened.pid, signal.SIGCONT)
    opened.close()
    data, exit_ = until_exit(log)
    assert data.decode().strip() == hashlib.sha256(b"".join(sent)).hexdigest()
    assert (exit_.returncode, opened.unsent) == (0, 0)


def test_kill_forgets_what_was_not_sent(run: Any, log: Signals[Any]) -> None:
    opened = run("echo up; sleep 1000")
    log.next()
    opened.send(b"x" * 8_000_000)
    assert opened.unsent
    opened.kill()
    until_exit(log)
    assert opened.unsent == 0
    opened.send(b"into the void")


def test_echo_under_load_loses_nothing(run: Any, log: Signals[Any]) -> None:
    opened = run("/bin/cat", "-")

    def feed(it: Port, start: int) -> None:
        it.send(b"".join(b"%d\n" % number for number in range(start, start + 1000)))

    for start in range(0, 100_000, 1000):
        tell(opened, partial(feed, start=start))
    tell(opened, lambda it: it.close())
    data, _ = until_exit(log)
    assert data == b"".join(b"%d\n" % number for number in range(100_000))


def test_what_comes_thick_comes_together(run: Any, log: Signals[Any]) -> None:
    opened = run(
        *python("import os\nfor _ in range(3000): os.write(1, b'x' * 9 + b'\\n')"), coalesce_seconds=0.02
    )
    messages = [log.next()]
    while isinstance(messages[-1], PortData):
        messages.append(log.next())
    assert b"".join(each.data for each in messages[:-1]) == (b"x" * 9 + b"\n") * 3000
    assert len(messages) < 300
    assert messages[-1] == PortExit(opened, 0, None, EXITED)


def test_a_reader_too_slow_makes_the_process_wait(
    run: Any, log: Signals[Any], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "AHEAD_BYTES", 1 << 20)
    monkeypatch.setattr(port, "CALM_DEPTH", 0)
    opened = run(*python("import sys\nfor _ in range(8192): sys.stdout.write('x' * 1023 + '\\n')"))
    tell(opened, lambda _: gate.wait(10))
    deadline = time.monotonic() + 10
    while opened._ahead <= 1 << 20 and time.monotonic() < deadline:
        threading.Event().wait(0.001)
    assert not opened.wait(0.05)  # it cannot end: its output does not fit anywhere
    assert opened._ahead < 2 << 20
    gate.set()
    data, exit_ = until_exit(log)
    assert len(data) == 8 << 20
    assert exit_.returncode == 0


# -- the owner -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["crash", "stop", "abandon"])
def test_a_port_dies_with_its_owner(log: Signals[Any], gate: threading.Event, gone: Any, how: str) -> None:
    owner = Owner.spawn(log, ["/bin/sh", "-c", "echo up; sleep 1000"])
    opened: Any = owner.info()["port"]
    log.next()
    if how == "crash":
        owner.tell(lambda _: int("x"))
    elif how == "stop":
        stop(owner)
    else:
        owner.tell(lambda _: gate.wait(10))
        stop(owner, timeout=0.0)
        assert owner.exit_reason == ABANDONED
    assert opened.wait(10)
    assert gone(opened.pid)
    gate.set()
    assert owner.exited.wait(10)


def test_terminate_can_wait_for_the_end(log: Signals[Any]) -> None:
    class Careful(Owner):
        def terminate(self, reason: object) -> None:
            self.port.close(grace=5.0)
            self.log(self.port.wait(10))

    owner = Careful.spawn(log, ["/bin/cat"])
    assert stop(owner)
    assert log.so_far() == [True]


def test_a_port_of_a_dead_owner_is_killed(log: Signals[Any]) -> None:
    owner = Owner.spawn(log, ["/bin/cat"])
    assert stop(owner)
    opened = Port.open(owner, ["/bin/cat"], env=ENV, cwd="/")
    assert opened.wait(10)


def test_the_owner_forgets_its_ports(run: Any, log: Signals[Any]) -> None:
    opened = run("exit 0")
    until_exit(log)
    assert opened.owner.life._watchers == {}


# -- what the process gets -------------------------------------------------------------


@LINUX
def test_it_inherits_three_descriptors_and_leads_its_session(
    run: Any, log: Signals[Any], tmp_path: Path
) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        look = (
            "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1], os.getsid(0) == os.getpid(),"
            "os.getpgid(0) == os.getpid(), os.getcwd(), dict(os.environ))"
        )
        run(*python(look), env={"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, cwd=str(tmp_path))
        data, _ = until_exit(log)
    finally:
        os.close(read)
        os.close(write)
    expected = f"['0', '1', '2'] True True {tmp_path} {{'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0'}}\n"
    assert data.decode() == expected


@LINUX
def test_it_inherits_what_it_is_passed(run: Any, log: Signals[Any]) -> None:
    read, write = os.pipe()
    try:
        run(
            *python(f"import os; os.write({write}, b'seen'); print(os.path.exists('/proc/self/fd/{read}'))"),
            pass_fds=[write],
        )
        assert until_exit(log)[0] == b"False\n"
        assert os.read(read, 10) == b"seen"
    finally:
        os.close(read)
        os.close(write)


def test_stderr_goes_where_it_is_told(run: Any, log: Signals[Any], tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as file:
        run("echo to stderr >&2; echo to stdout", stderr=file.fileno())
        assert until_exit(log)[0] == b"to stdout\n"
    assert (tmp_path / "stderr").read_text() == "to stderr\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_it_runs_as_another_user_and_can_be_killed(run: Any, log: Signals[Any]) -> None:
    opened = run("id -u; id -G; sleep 1000", user="nobody", group="nogroup", extra_groups=[])
    data = log.next().data
    while data.count(b"\n") < 2:
        data += log.next().data
    import grp
    import pwd

    group = grp.getgrnam("nogroup").gr_gid
    assert data.decode().split() == [str(pwd.getpwnam("nobody").pw_uid), str(group)]
    opened.kill()
    assert until_exit(log)[1].why == KILLED


def test_what_cannot_start_raises_and_leaves_nothing(keep: Keep, log: Signals[Any]) -> None:
    owner = keep(Owner.spawn(log, ["/bin/cat"]))
    for argv, error in [(["/no/such/program"], FileNotFoundError), (["/etc"], PermissionError)]:
        with pytest.raises(error):
            owner.ask(lambda it, argv=argv: Port.open(it.owner, argv, env=ENV, cwd="/"), timeout=10)
        assert owner.exited.wait(10)
        owner = keep(Owner.spawn(log, ["/bin/cat"]))
    with pytest.raises(NotAProcess):
        Port.open("nobody", ["/bin/cat"], env=ENV, cwd="/")  # type: ignore[arg-type]


def test_a_start_that_fails_half_way_leaves_nothing(
    keep: Keep, log: Signals[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_threads(_: object) -> None:
        raise RuntimeError

    owner = keep(Owner.spawn(log, ["/bin/cat"]))
    before = count()
    monkeypatch.setattr(threading.Thread, "start", no_more_threads)
    with pytest.raises(RuntimeError):
        Port.open(owner, ["/bin/cat"], env=ENV, cwd="/")
    monkeypatch.undo()
    monkeypatch.setattr(process_group, "open_exit_watch", no_more_threads)
    with pytest.raises(RuntimeError):
        Port.open(owner, ["/bin/cat"], env=ENV, cwd="/")
    assert count() == before
    assert len(owner.life._watchers) == 1


# -- leaks, races and other ways to watch ------------------------------------------------


def count() -> tuple[int, int, int]:
    """Descriptors, threads and children (zombies included)."""
    me = psutil.Process()
    return me.num_fds(), threading.active_count(), len(me.children())


def test_fifty_cycles_leave_nothing(run: Any, log: Signals[Any], keep: Keep) -> None:
    owner = keep(Owner.spawn(log, ["/bin/cat"]))
    before = count()
    for number in range(50):
        opened = owner.ask(lambda it: Port.open(it.owner, ["/bin/cat"], env=ENV, cwd="/"), timeout=10)
        opened.send(b"hello\n")
        if number % 2:
            assert log.next().data == b"hello\n"
        opened.kill()
        until_exit(log)
        assert opened.wait(10)
    assert count() == before


def test_many_at_once(log: Signals[Any], keep: Keep) -> None:
    """Ports are opened, fed and ended from many threads in every order."""
    owner = keep(Owner.spawn(log, ["/bin/cat"]))
    before = count()

    def live(number: int) -> Port:
        opened = Port.open(owner, ["/bin/cat"], env=ENV, cwd="/")
        opened.send(b"hello\n")
        (opened.kill, opened.close, opened.terminate)[number % 3]()
        return opened

    with ThreadPoolExecutor(6) as pool:
        ports = list(pool.map(live, range(60)))
    exits: list[Port] = []
    while len(exits) < 60:
        message = log.next()
        if isinstance(message, PortExit):
            exits.append(message.port)
        else:
            assert message.port not in exits
    assert set(exits) == set(ports)
    assert all(each.wait(10) for each in ports)
    assert count() == before


def test_an_error_of_our_own_still_ends_with_an_exit(
    run: Any, log: Signals[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise ZeroDivisionError

    opened = run("cat; sleep 1000")
    with monkeypatch.context() as patch:
        patch.setattr(Frames, "feed", fail)
        opened.send(b"hello\n")
        assert until_exit(log)[1] == PortExit(opened, None, signal.SIGKILL, IO_FAILED)
    opened = run("echo up; sleep 1000")
    log.next()
    monkeypatch.setattr(port, "_wait_readable", fail)
    opened.kill()
    assert until_exit(log)[1] == PortExit(opened, None, None, IO_FAILED)
    opened._processes.reap()
    opened._wake.close()


def test_no_process_without_a_reaper(keep: Keep, log: Signals[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    owner = keep(Owner.spawn(log, ["/bin/cat"]))
    before = count()

    def fail() -> None:
        raise FileNotFoundError("/bin/sh")

    own = reaper.Reaper()
    monkeypatch.setattr(reaper, "_start", fail)
    monkeypatch.setattr(process_group, "reaper", own)
    with pytest.raises(FileNotFoundError):
        Port.open(owner, ["/bin/cat"], env=ENV, cwd="/")
    assert count() == before
    own._groups.add(1)  # it ran once, and was killed
    own.forget(1)


@pytest.mark.parametrize("script", ["exit 3", "sleep 1000 & echo; exit 3", "exec >&-; exit 3"])
def test_the_thread_that_stands_in_for_a_pidfd(
    run: Any, log: Signals[Any], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    def unavailable(_: int) -> None:
        raise OSError

    monkeypatch.setattr(exit_watch, "PidfdWatch", unavailable)
    monkeypatch.setattr(exit_watch, "KqueueWatch", unavailable)
    opened = run(script)
    assert until_exit(log)[1] == PortExit(opened, 3, None, EXITED)
    assert opened.wait(10)
    before = count()
    opened = run("echo up; sleep 1000")
    log.next()
    opened.kill()
    assert until_exit(log)[1].why == KILLED
    assert stop(opened.owner)
    assert count()[0] == before[0]
