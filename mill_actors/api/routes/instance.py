"""The server itself, and whoever speaks to it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mill_actors import __version__
from mill_actors.api.answers import JsonAnswer, json_answer, text_answer
from mill_actors.api.routing import Call, Routes
from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql

routes = Routes("instance", domain="instance")


class Health(JsonAnswer):
    """`healthy`: the database answers, and somebody works off what waits."""

    status: str
    database: bool
    #: nodes that have said in the last lease that they live
    nodes: int = 0
    waiting: int = 0
    #: how long the one that waits longest could have run already
    oldest_seconds: float = 0.0


@routes.get("/version", is_public=True, form="text", returns=str)
async def version(call: Call[Any, Any]) -> web.Response:
    """The version, in the form that Windmill's command line expects."""
    return text_answer(f"CE v1.850.0 mill-actors {__version__}")


@routes.get("/ready", is_public=True, form="text", returns=str)
async def ready(call: Call[Any, Any]) -> web.Response:
    """Whether this server answers; 503 when its database does not."""
    await call.services.run(lambda connection: connection.execute("select 1").fetchone())
    return text_answer("ready")


@routes.get("/health", is_public=True, returns=Health)
async def health(call: Call[Any, Any]) -> web.Response:
    """Whether work gets done, not only whether somebody lives; 503 if jobs wait and no node is there."""

    def look(connection: Connection) -> tuple[int, int, float]:
        row = connection.execute(
            sql.health, {"lease_seconds": call.services.config.node.lease_seconds}
        ).fetchone()
        assert row is not None
        return row[0], row[1], row[2]

    nodes, waiting, oldest = await call.services.run(look)
    healthy = nodes > 0 or not waiting
    told = Health(
        status="healthy" if healthy else "unhealthy",
        database=True,
        nodes=nodes,
        waiting=waiting,
        oldest_seconds=round(oldest, 3),
    )
    return json_answer(told, 200 if healthy else 503)
