"""User code looks for the database's password wherever a process can look, and finds nothing."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from mill_actors.store.embedded import Embedded
from mill_actors.store.migrate import migrate
from tests.system.nodes import Fleet, fleet_of

SYSTEM_PYTHON = "/usr/bin/python3"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose the user of jobs"),
    pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="jobs need a Python they may read"),
]

SEARCH = """\
import os
import socket
import sys


def read(path, limit=50_000_000):
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(limit) or b""
    except (OSError, ValueError):
        return None


def memory(pid):
    maps = read(f"/proc/{pid}/maps")
    if maps is None:
        return None
    found = b""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            for line in maps.decode().splitlines():
                where, rights = line.split()[:2]
                if rights.startswith("rw"):
                    begin, end = (int(part, 16) for part in where.split("-"))
                    try:
                        file.seek(begin)
                        found += file.read(min(end - begin, 100_000_000))
                    except (OSError, ValueError, OverflowError):
                        pass
    except OSError:
        return None
    return found


def main(begin, end, folders, sock):
    # In two halves: whole it would be found in our own arguments.
    secret = (begin + end).encode()
    found, opened = [], []

    def look(where, data):
        if data is not None:
            opened.append(where)
            if secret in data:
                found.append(where)

    look("environ", repr(dict(os.environ)).encode())
    look("argv", repr((sys.argv, sys.orig_argv)).encode())
    ours = os.getpid()
    for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
        look(f"environ of {pid}", read(f"/proc/{pid}/environ"))
        look(f"cmdline of {pid}", read(f"/proc/{pid}/cmdline"))
    parent = os.getppid()
    look("memory of the node", memory(parent))
    for place in ("fd", "fdinfo", "map_files", "cwd", "root"):
        try:
            os.listdir(f"/proc/{parent}/{place}")
            opened.append(f"{place} of the node")
        except OSError:
            pass
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("/") and not target.startswith(("/proc", "/dev")):
            look(f"fd {fd} {target}", read(f"/proc/self/fd/{fd}"))
        if target.startswith("socket:"):
            opened.append(f"a socket: {fd}")
    for folder in folders:
        for top, _, files in os.walk(folder):
            for name in files:
                look(os.path.join(top, name), read(os.path.join(top, name)))
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(sock)
            opened.append("the server's socket")
        except OSError:
            pass
    return {"found": found, "opened": opened, "uid": os.getuid(), "groups": os.getgroups()}
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Fleet, Embedded]]:
    """A fleet on an embedded server of its own, below a folder that jobs' users can pass through."""
    # pytest's own folders are 0700: nobody would fail for a reason that users don't have.
    folder = Path("/tmp") / f"mill-secrets-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        with Embedded.start(folder / "guarded", settings={"fsync": "off"}) as server:
            migrate(server.dsn)
            with fleet_of(server.dsn, folder) as fleet:
                yield fleet, server
    finally:
        shutil.rmtree(folder)


def test_user_code_finds_no_password(guarded: tuple[Fleet, Embedded]) -> None:
    fleet, server = guarded
    told = conninfo_to_dict(server.dsn)
    password = str(told["password"])
    settings = fleet.folder / "mill.toml"
    settings.touch(mode=0o600)
    settings.write_text(f'database_url = "{server.dsn}"\n')
    fleet.deploy(SEARCH, "f/system/search")
    node = fleet.start("guarded", node_job_user="nobody", node_python=SYSTEM_PYTHON)

    middle = len(password) // 2
    sock = f"{told['host']}/.s.PGSQL.{told.get('port', 5432)}"
    assert Path(sock).exists()
    arguments: dict[str, object] = {
        "begin": password[:middle],
        "end": password[middle:],
        "folders": [str(fleet.folder)],
        "sock": sock,
    }
    result = fleet.run("f/system/search", arguments)
    assert result.succeeded, result
    assert result.value["uid"] == pwd.getpwnam("nobody").pw_uid
    assert 0 not in result.value["groups"]
    assert result.value["found"] == []
    opened = result.value["opened"]
    # It did look: what everybody may read was read, or the test would be worth nothing.
    assert f"cmdline of {node.pid}" in opened
    assert any(str(fleet.folder) in place for place in opened)
    for shut in (
        f"environ of {node.pid}", "memory of the node", "fd of the node", "the server's socket",
        str(settings), str(server.folder / "password"),
    ):  # fmt: skip
        assert shut not in opened
    assert not [place for place in opened if place.startswith("a socket")]
    fleet.check()


def test_as_the_same_user_it_is_in_no_environment_argument_or_descriptor(
    guarded: tuple[Fleet, Embedded],
) -> None:
    """Without a job_user root's jobs are root: what is promised then is what the process is given."""
    fleet, server = guarded
    password = str(conninfo_to_dict(server.dsn)["password"])
    fleet.deploy(SEARCH, "f/system/search")
    node = fleet.start("guarded")
    middle = len(password) // 2
    arguments: dict[str, object] = {
        "begin": password[:middle], "end": password[middle:], "folders": [], "sock": "/nowhere",
    }  # fmt: skip
    result = fleet.run("f/system/search", arguments)
    assert result.succeeded, result
    own = [
        place for place in result.value["found"] if place in {"environ", "argv"} or place.startswith("fd ")
    ]
    assert own == []
    languages = {entry.pid for entry in fleet.processes()}
    assert languages
    for pid in languages:
        assert f"environ of {pid}" not in result.value["found"]
        assert f"cmdline of {pid}" not in result.value["found"]
    assert f"cmdline of {node.pid}" not in result.value["found"]
    fleet.check()


def test_the_server_wants_its_password_of_everybody(guarded: tuple[Fleet, Embedded]) -> None:
    _, server = guarded
    told = conninfo_to_dict(server.dsn)
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(
                host=str(told["host"]), port=told.get("port"), user=str(told["user"]),
                dbname=str(told["dbname"]), password=password, passfile="/dev/null",
            )  # fmt: skip
    mode = (server.folder / "password").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
