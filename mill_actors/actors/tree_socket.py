"""The live tree on a Unix socket: what `mill tree` and `mill top` show.

One JSON document a connection, then the socket is closed. The file is in the work folder, readable
by its owner alone, and named by the node.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import tempfile
import threading
import zlib
from pathlib import Path
from typing import Any

import orjson
from pykka import ActorRef

from mill_actors.actors.context import NodeContext
from supervisors import Supervisor, snapshot

logger = logging.getLogger(__name__)

#: The kernel's limit for a socket's path.
MAX_PATH_BYTES = 100


def socket_folder(work_dir: str) -> Path:
    """Return where the sockets of a work folder's nodes are; short enough for the kernel."""
    folder = Path(work_dir).absolute() / "run"
    if len(str(folder)) + 20 > MAX_PATH_BYTES:
        # Of the text, not hash(): every process must find the same folder.
        name = f"mill-{os.getuid()}-{zlib.crc32(bytes(folder)):x}"
        folder = Path(tempfile.gettempdir()) / name
    return folder


def _check_ours(folder: Path) -> None:
    """Raise OSError if others could put something there: below /tmp they could be there first."""
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
        message = f"{folder} is not ours alone"
        raise PermissionError(message)


class TreeSocket:
    """A thread that answers whoever connects."""

    @classmethod
    def open(cls, context: NodeContext, tree: ActorRef[Supervisor]) -> TreeSocket | None:
        """Start serving; None (and a warning) where that is not possible: it is a convenience."""
        folder = socket_folder(context.config.node.work_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _check_ours(folder)
            path = folder / f"{context.node[-12:]}.sock"
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listening.bind(str(path))
            path.chmod(0o600)
            listening.listen(8)
        except OSError as error:
            logger.warning("mill tree will not see this node: %s", error)
            return None
        return cls(context, tree, listening, path)

    def __init__(
        self, context: NodeContext, tree: ActorRef[Supervisor], listening: socket.socket, path: Path
    ) -> None:
        self._context = context
        self._tree = tree
        self._socket = listening
        self._path = path
        self._thread = threading.Thread(target=self._serve, name="mill-tree-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and remove the file."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)
        self._thread.join(5.0)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            try:
                with client:
                    client.settimeout(2.0)
                    client.sendall(orjson.dumps(self._picture(), default=str))
            except OSError:
                continue  # whoever asked has gone
            except Exception:
                logger.exception("no picture of the tree this time")

    def _picture(self) -> dict[str, Any]:
        counters = self._context.counters
        return {
            "node": self._context.node,
            "name": self._context.name,
            "pid": os.getpid(),
            "moves": {action.value: count for action, count in counters.moves.copy().items()},
            "stale": counters.stale,
            "tree": snapshot(self._tree, timeout=1.0).as_dict(),
        }


def read_trees(work_dir: str) -> list[dict[str, Any]]:
    """Return the picture of every living node of a work folder."""
    found = []
    folder = socket_folder(work_dir)
    try:
        _check_ours(folder)
    except OSError:
        return []
    for path in sorted(folder.glob("*.sock")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(3.0)
            try:
                asking.connect(str(path))
                parts = []
                while part := asking.recv(1 << 16):
                    parts.append(part)
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)  # its node was killed
                continue
            except OSError:
                continue
        if parts:
            found.append(orjson.loads(b"".join(parts)))
    return found
