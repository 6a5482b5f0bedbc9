"""CPU seconds by class of process: where the time of a job goes.

Classes: the node, its language processes, PostgreSQL's backends by application_name ("mill puller",
"mill completer", …) and its other processes by name, and the bench itself.
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Mapping

import psutil

from bench.node_process import NodeProcess
from bench.server import Link, Server

Spent = dict[str, float]

#: `postgres: mill mill_bench [local] UPDATE` is a backend, `postgres: walwriter` is not.
_HELPER = re.compile(r"postgres: (?:\S+: )?([a-z][a-z ]*?)\s*(?:\d+|$)")


class Meter:
    """What has been spent between `start` and `stop`, in CPU seconds by class."""

    def __init__(self, server: Server, link: Link, node: NodeProcess | None) -> None:
        self._server = server
        self._link = link
        self._node = node
        self._before: dict[int, float] = {}

    def start(self) -> None:
        self._before = {pid: seconds for pid, (_, seconds) in self._look().items()}

    def stop(self) -> Spent:
        spent: Spent = {}
        for pid, (kind, seconds) in self._look().items():
            used = seconds - self._before.get(pid, 0.0)
            spent[kind] = spent.get(kind, 0.0) + used
        return {kind: used for kind, used in sorted(spent.items(), key=lambda item: -item[1]) if used > 0.0}

    def _look(self) -> dict[int, tuple[str, float]]:
        found: dict[int, tuple[str, float]] = {}
        _add(found, psutil.Process(), "bench")
        for process in multiprocessing.active_children():
            if process.pid is not None:
                _add(found, psutil.Process(process.pid), "floor")
        if self._node is not None:
            _add(found, self._node.process, "node")
            for language in self._node.languages():
                _add(found, language, "languages")
        if self._server.postmaster is not None:
            names = self._names()
            for backend in self._server.postmaster.children():
                _add(found, backend, _kind(backend, names))
        return found

    def _names(self) -> Mapping[int, str]:
        rows = self._link.execute(
            "select pid, coalesce(nullif(application_name, ''), backend_type) from pg_stat_activity"
        ).fetchall()
        return {pid: f"pg {name.removeprefix('mill ')}" for pid, name in rows}


def per_job(spent: Spent, jobs: int) -> dict[str, float]:
    """Return µs of CPU a job by class."""
    return {kind: seconds * 1e6 / jobs for kind, seconds in spent.items()}


def _add(found: dict[int, tuple[str, float]], process: psutil.Process, kind: str) -> None:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return
    found[process.pid] = (kind, times.user + times.system)


def _kind(process: psutil.Process, names: Mapping[int, str]) -> str:
    known = names.get(process.pid)
    if known is not None:
        return known
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return "pg other"
    helper = _HELPER.match(title)
    return f"pg {helper.group(1)}" if helper else "pg other"
