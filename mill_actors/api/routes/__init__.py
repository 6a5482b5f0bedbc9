"""All routes. Those that are called most come first: aiohttp looks in this order."""

from __future__ import annotations

from mill_actors.api.routes import (
    approvals,
    flow_lists,
    flow_user_states,
    flows,
    instance,
    jobs_cancel,
    jobs_list,
    jobs_read,
    jobs_run,
    jobs_update,
    login,
    previews,
    progress,
    refused,
    resources,
    script_lists,
    scripts,
    tokens,
    users,
    variables,
    workers,
    workspaces,
)
from mill_actors.api.routing import Route

ALL: tuple[Route, ...] = (
    *jobs_run.routes,
    *jobs_update.routes,
    *jobs_read.routes,
    *jobs_list.routes,
    *approvals.routes,
    *flow_lists.routes,
    *flow_user_states.routes,
    *flows.routes,
    *instance.routes,
    *jobs_cancel.routes,
    *login.routes,
    *previews.routes,
    *progress.routes,
    *refused.routes,
    *resources.routes,
    *script_lists.routes,
    *scripts.routes,
    *tokens.routes,
    *users.routes,
    *variables.routes,
    *workers.routes,
    *workspaces.routes,
)
