"""All routes. Those that are called most come first: aiohttp looks in this order."""

from __future__ import annotations

from mill_actors.api.routes import instance, jobs_cancel, jobs_run, previews
from mill_actors.api.routing import Route

ALL: tuple[Route, ...] = (*jobs_run.routes, *jobs_cancel.routes, *previews.routes, *instance.routes)
