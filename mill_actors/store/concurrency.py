"""Concurrency keys: at most so many jobs under a name at a time, and within a window, over all workers.

Jobs are admitted before they can be claimed, under the lock of their key's row, so the limit is
exact. With a window a place stays taken for so many seconds after its job's end, as in Windmill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mill_actors.jobs.jsons import decode
from mill_actors.jobs.script import Script
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import storable
from mill_actors.store.queries import sql

Key = tuple[str, str]

_ARGS_OF = re.compile(r"\$args\[([^\]]+)\]")


def concurrency_key(script: Script, workspace: str, path: str, args: bytes) -> str | None:
    """Return what a script's jobs are counted by; None: they are not."""
    if script.options.concurrency_limit is None:
        return None
    return fill_key(script.options.concurrency_key or f"$workspace/{path}", workspace, args)


def fill_key(template: str, workspace: str, args: bytes) -> str:
    """Return a key with `$workspace` and `$args[name]` filled in, cut at 1,000 characters."""
    key = template.replace("$workspace", workspace)
    if "$args[" in key:
        values = decode(args)
        key = _ARGS_OF.sub(lambda m: str(values.get(m.group(1), "")), key)
        key = storable(key)
    return key[:1000]


def put_concurrency_keys(
    connection: Connection, limits: Mapping[Key, tuple[int, float]], *, inside: bool = False
) -> None:
    """Write what keys allow: how many at a time, and the window in seconds (0: none).

    `inside`: within a transaction of a caller's, which may last: new keys are left to the sweep.
    """
    ordered = sorted(limits.items())
    connection.execute(
        sql.put_concurrency_keys,
        {
            "workspaces": [name[0] for name, _ in ordered],
            "keys": [name[1] for name, _ in ordered],
            "limits": [told[0] for _, told in ordered],
            "windows_s": [told[1] for _, told in ordered],
            "inside": inside,
        },
    )


def free_and_admit(
    connection: Connection, ended: Sequence[str], keys: Iterable[Key], *, unrun: Sequence[str] = ()
) -> set[str]:
    """Inside a transaction: free the slots of jobs that ended, admit who waits; return their tags.

    `unrun`: jobs that ended without having started, so that no window holds their places.
    """
    ordered = sorted(set(keys))
    if not ordered:
        return set()
    names = {"workspaces": [k[0] for k in ordered], "keys": [k[1] for k in ordered]}
    connection.execute(sql.lock_concurrency_keys, names)
    for jobs, ran in ((ended, True), (unrun, False)):
        if jobs:
            connection.execute(sql.free_slots, {"ids": list(jobs), "ran": ran, "now": None})
    rows = connection.execute(sql.admit_jobs, {**names, "now": None}).fetchall()
    return {row[1] for row in rows}


def take_place(connection: Connection, script: Script, name: Key, job: str, flow: str) -> bool:
    """Take a place for a step of a flow that is held whole; False if there is none now."""
    options = script.options
    limit = (options.concurrency_limit or 1, options.concurrency_window_s or 0.0)
    workspace, key = name
    with connection.transaction():
        put_concurrency_keys(connection, {name: limit})
        connection.execute(sql.lock_concurrency_keys, {"workspaces": [workspace], "keys": [key]})
        place = {"workspace": workspace, "key": key, "job": job, "flow": flow, "now": None}
        return connection.execute(sql.take_place, place).fetchone() is not None


def leave_places(connection: Connection, flow: str) -> set[str]:
    """Free the places of steps that another worker had under way; return the tags of those let in."""
    with connection.transaction():
        names = {(row[0], row[1]) for row in connection.execute(sql.leave_places, {"flow": flow}).fetchall()}
        return free_and_admit(connection, [], names)


def admit_waiting(connection: Connection, limit: int = 1000) -> set[str]:
    """The sweep: admit due jobs whose key has a free place; return the tags to wake."""
    rows = connection.execute(sql.keys_to_admit, {"now": None, "limit": limit}).fetchall()
    tags: set[str] = set()
    for workspace, key, places, window in sorted(rows):
        with connection.transaction():
            connection.execute(
                sql.restore_concurrency_key,
                {"workspace": workspace, "key": key, "limit": places, "window_s": window},
            )
            tags |= free_and_admit(connection, [], [(workspace, key)])
    return tags
