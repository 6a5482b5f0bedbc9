"""What paths have meant over time: histories, renames, and forgetting. SQL: `sql/deployment.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from mill_actors.errors import MillError
from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql

Kind = Literal["script", "flow"]


class Deployment(Struct, frozen=True):
    """A version that a path has meant; `version` is a flow's number."""

    hash: str
    version: int | None
    deployed_by: str
    deployed_at: datetime
    message: str | None


class VersionConflict(MillError):
    """The path means something else than was thought.

    `found` is the hash that it means; None: nothing.
    """

    def __init__(self, path: str, found: str | None, why: str) -> None:
        self.path = path
        self.found = found
        super().__init__(f"{path}: {why}")


def read_history(
    connection: Connection, workspace: str, kind: Kind, path: str, limit: int, offset: int = 0
) -> list[Deployment]:
    """Return a path's versions, newest first; one that came back is where it came back."""
    rows = connection.execute(
        sql.deployments,
        {"workspace": workspace, "kind": kind, "path": path, "limit": limit, "offset": offset},
    ).fetchall()
    return [Deployment(*row) for row in rows]


def last_version(connection: Connection, workspace: str, kind: Kind, path: str) -> str | None:
    """Return the hash that a path means now or, archived, meant last."""
    row = connection.execute(
        sql.last_deployment, {"workspace": workspace, "kind": kind, "path": path}
    ).fetchone()
    return None if row is None else str(row[0])


def path_of_version(connection: Connection, workspace: str, kind: Kind, digest: str) -> str | None:
    """Return what a version is called now."""
    row = connection.execute(
        sql.deployed_path, {"workspace": workspace, "kind": kind, "hash": digest}
    ).fetchone()
    return None if row is None else str(row[0])


def list_paths(
    connection: Connection, workspace: str, kind: Kind, readable: Sequence[str] | None
) -> list[str]:
    """Return every path that means something, below these prefixes; None: below all."""
    told = {"workspace": workspace, "kind": kind, "readable": _prefixes(readable)}
    return [row[0] for row in connection.execute(sql.deployed_paths, told).fetchall()]


def move_history(connection: Connection, workspace: str, kind: Kind, path: str, to: str) -> None:
    """Give a path's history to another."""
    connection.execute(sql.move_deployments, {"workspace": workspace, "kind": kind, "path": path, "to": to})


def forget_path(connection: Connection, workspace: str, kind: Kind, path: str) -> list[str]:
    """Forget a path's history; return the hashes that were in it."""
    rows = connection.execute(
        sql.forget_path, {"workspace": workspace, "kind": kind, "path": path}
    ).fetchall()
    return [row[0] for row in rows]


def _prefixes(readable: Sequence[str] | None) -> list[str] | None:
    return None if readable is None else list(readable)
