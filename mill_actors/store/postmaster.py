"""What a PostgreSQL server says about itself in its data directory.

`postmaster.pid` outlives a server that was killed, and the process with the id
in it may by then be somebody else: after the restart of a container it often is.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

# Lines of the file: id, data, start time, port, folder of the socket, host, memory, state.
_LINES = 8


@dataclass(frozen=True)
class Postmaster:
    """The contents of a `postmaster.pid`, true or left behind."""

    pid: int
    data: Path
    port: str
    sockets: Path
    is_ready: bool

    @property
    def socket(self) -> Path:
        """The socket that the server listens on."""
        return socket_in(self.sockets, self.port)

    def is_alive(self) -> bool:
        """Say whether the process is the server of this data, and not a later one with its id."""
        try:
            process = psutil.Process(self.pid)
            return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == self.data
        except psutil.AccessDenied:
            return True
        except psutil.NoSuchProcess:
            return False

    def accepts(self) -> bool:
        """Say whether the server takes connections."""
        if not self.is_ready:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True


def socket_in(folder: Path, port: str) -> Path:
    """Return the path of the socket that PostgreSQL makes in a folder."""
    return folder / f".s.PGSQL.{port}"


def read_postmaster(data: Path) -> Postmaster | None:
    """Read the file; None where there is none, or while it is being written."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        is_ready = len(lines) == _LINES and lines[7].strip() == "ready"
        return Postmaster(int(lines[0]), data, lines[3].strip(), Path(lines[4].strip()), is_ready)
    except (FileNotFoundError, IndexError, ValueError):
        return None


def remove_leftovers(data: Path) -> None:
    """Remove what a killed server left, which would keep the next one from starting."""
    for leftover in (data / "postmaster.pid", *data.glob(".s.PGSQL.*")):
        leftover.unlink(missing_ok=True)
