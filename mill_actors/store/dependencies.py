"""Jobs that find out what code depends on. Nothing is installed here, so there is nothing to find out."""

from __future__ import annotations

from mill_actors.ids import new_id
from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql


def put_resolved(connection: Connection, workspace: str, path: str, result: bytes, created_by: str) -> str:
    """Write a job that has this result already; return its id."""
    job = new_id()
    connection.execute(
        sql.put_resolved,
        {
            "id": job,
            "workspace": workspace,
            "path": path,
            "result": result.decode(),
            "created_by": created_by,
        },
    )
    return job
