"""What Windmill has and we have not: said so, rather than "no such route".

Windmill's clients show a user the answer's words, so these say what is missing and what to do instead.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, Handler, Method, Routes

routes = Routes("refused")

_S3 = "there is no object storage here: use the store's own client, with a resource that holds its keys"
_KAFKA = "there are no Kafka triggers here"
_TRIGGERS = "there are no triggers here: let what happens call run_wait_result, or submit jobs by a client"
_TRASH = "what is deleted is gone: sync push what you have it from"
_APPS = "there are no apps here"
_KEY = "a workspace keeps its key: export secrets in clear text, and import them there"
_CODE = "workflows as code do not run here: write a flow, or start scripts with run_script_by_path"
_APPROVAL = "nobody here speaks to Slack or Teams: send the URLs of get_resume_urls yourself"

#: Method, path below /w/{workspace} (or below /api, with a slash), the operation, why not.
_ALL: tuple[tuple[Method, str, str, str], ...] = (
    ("GET", "job_helpers/v2/s3_proxy_bucket", "s3_proxy_bucket", _S3),
    ("POST", "job_helpers/v2/duckdb_connection_settings", "duckdb_connection_settings", _S3),
    ("POST", "job_helpers/v2/polars_connection_settings", "polars_connection_settings", _S3),
    ("POST", "job_helpers/v2/s3_resource_info", "s3_resource_info", _S3),
    ("GET", "job_helpers/download_s3_file", "download_s3_file", _S3),
    ("POST", "job_helpers/upload_s3_file", "upload_s3_file", _S3),
    ("DELETE", "job_helpers/delete_s3_file", "delete_s3_file", _S3),
    ("POST", "apps/sign_s3_objects", "sign_s3_objects", _S3),
    ("GET", "s3_proxy/{path*}", "s3_proxy", _S3),
    ("POST", "oidc/token/{audience}", "oidc_token", "this server is no OpenID provider"),
    ("GET", "jobs/slack_approval/{id}", "slack_approval", _APPROVAL),
    ("GET", "jobs/teams_approval/{id}", "teams_approval", _APPROVAL),
    ("POST", "/teams/activities", "teams_activities", "nobody here speaks to Teams"),
    ("POST", "kafka_triggers/commit_offsets/{path*}", "commit_kafka_offsets", _KAFKA),
    ("GET", "trash/{path*}", "get_trash", _TRASH),
    ("POST", "trash/{path*}", "restore_trash", _TRASH),
    ("GET", "{kind}_triggers/list", "list_triggers", _TRIGGERS),
    ("GET", "{kind}_triggers/get/{path*}", "get_trigger", _TRIGGERS),
    ("POST", "{kind}_triggers/create", "create_trigger", _TRIGGERS),
    ("POST", "{kind}_triggers/update/{path*}", "update_trigger", _TRIGGERS),
    ("DELETE", "{kind}_triggers/delete/{path*}", "delete_trigger", _TRIGGERS),
    ("GET", "apps/list", "list_apps", _APPS),
    ("GET", "apps/get/p/{path*}", "get_app", _APPS),
    ("POST", "apps/create", "create_app", _APPS),
    ("POST", "apps/update/{path*}", "update_app", _APPS),
    ("DELETE", "apps/delete/{path*}", "delete_app", _APPS),
    ("PUT", "shared_ui", "put_shared_ui", _APPS),
    ("POST", "workspaces/encryption_key", "set_encryption_key", _KEY),
    ("POST", "assets/record_materialization", "record_materialization", "assets are not kept track of here"),
    ("POST", "jobs/run/workflow_as_code/{id}/{function}", "run_workflow_as_code", _CODE),
    ("POST", "jobs/wac/inline_checkpoint/{id}", "inline_checkpoint", _CODE),
    ("GET", "jobs/wac_approval_urls/{id}/{step}", "wac_approval_urls", _CODE),
)


def _refuser(name: str, why: str) -> Handler:
    async def refuse(call: Call[Any, Any]) -> web.StreamResponse:
        raise Problem(400, "unsupported", f"{name}: {why}.")

    refuse.__name__ = name
    refuse.__doc__ = f"Refused: {why}."
    return refuse


for _method, _path, _name, _why in _ALL:
    _full = _path if _path.startswith("/") else f"/w/{{workspace}}/{_path}"
    routes.add(_method, _full, action="read")(_refuser(_name, _why))
