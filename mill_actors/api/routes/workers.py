"""Nodes, as Windmill shows its workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web

from mill_actors import __version__
from mill_actors.api.answers import JsonAnswer, json_answer
from mill_actors.api.listing import PageQuery
from mill_actors.api.routing import Call, Routes
from mill_actors.store.nodes import list_nodes

routes = Routes("workers")


class WorkerPing(JsonAnswer):
    """A node that works. `last_ping` is seconds ago."""

    worker: str
    worker_instance: str
    started_at: datetime
    ip: str
    jobs_executed: int
    worker_group: str
    wm_version: str
    last_ping: int
    custom_tags: list[str]


class WorkerGroup(JsonAnswer):
    """A group of workers that was configured."""

    name: str


class WorkersQuery(PageQuery, kw_only=True):
    """`ping_since`: those that have said in so many seconds that they live."""

    ping_since: int | None = None


@routes.get("/workers/list", query=WorkersQuery, returns=list[WorkerPing])
async def list_workers(call: Call[WorkersQuery, Any]) -> web.Response:
    """Nodes, oldest first. How many jobs each has done is not counted: `jobs_executed` is 0."""
    everywhere = call.who.account.is_superadmin and call.who.account.workspace is None
    since, page = call.query.ping_since, call.query.pages
    found = [
        each for each in await call.services.run(list_nodes) if since is None or each.silent_seconds <= since
    ]
    return json_answer(
        [
            WorkerPing(
                worker=each.name,
                worker_instance=each.id,
                started_at=each.started_at,
                ip="",
                jobs_executed=0,
                worker_group="stopping" if each.stopping else "default",
                wm_version=f"mill-actors {__version__}",
                last_ping=int(each.silent_seconds),
                # Of a dedicated worker it is a workspace with a path of it: not everybody's to know.
                custom_tags=[tag for tag in each.tags if everywhere or ":" not in tag],
            )
            for each in page.cut(found)
        ]
    )


@routes.get("/configs/list_worker_groups", returns=list[WorkerGroup])
async def list_worker_groups(call: Call[Any, Any]) -> web.Response:
    """None: nodes say themselves which tags they serve."""
    return json_answer([])
