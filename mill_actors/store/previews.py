"""Code that runs without having been deployed. SQL: `sql/preview.sql`.

A preview is a version that no path means, and its job one like any other. Its hash begins with p.
"""

from __future__ import annotations

import msgspec

from mill_actors.jobs.script import Script, is_preview
from mill_actors.store.connection import Connection
from mill_actors.store.flow_versions import FlowText, compiled
from mill_actors.store.queries import sql


def put_preview(connection: Connection, what: Script | FlowText, created_by: str) -> None:
    """Write a preview's version, and the code of its steps; or keep it longer."""
    assert is_preview(what.hash)
    with connection.transaction():
        if isinstance(what, Script):
            _put_script(connection, what, created_by)
            return
        for script in compiled(what).inline_scripts():
            _put_script(connection, script, created_by)
        connection.execute(
            sql.put_preview_flow,
            {
                "workspace": what.workspace,
                "hash": what.hash,
                "path": what.path,
                "value": what.value.decode(),
                "tag": what.tag,
                "options": msgspec.json.encode(what.options).decode(),
                "created_by": created_by,
            },
        )


def _put_script(connection: Connection, script: Script, created_by: str) -> None:
    connection.execute(
        sql.put_preview_script,
        {
            "workspace": script.workspace,
            "hash": script.hash,
            "path": script.path,
            "language": script.language,
            "content": script.content,
            "tag": script.tag,
            "options": msgspec.json.encode(script.options).decode(),
            "created_by": created_by,
        },
    )
