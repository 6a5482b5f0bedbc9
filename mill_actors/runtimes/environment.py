"""The environment of a process: what every program needs, and nothing of the engine's own.

An allowlist, because a list of secrets is never complete: DATABASE_URL, PG* and MILL_* don't
get through even when a user asks for them. The WM_* names are Windmill's;
`docs/frames.md` says which are set, and from when to when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_KEPT = frozenset({
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "TZDIR", "USER",
    "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
})  # fmt: skip
_KEPT_PREFIXES = ("LC_",)
_NEVER = frozenset({"DATABASE_URL"})
_NEVER_PREFIXES = ("PG", "MILL_")


def clean_environment(source: Mapping[str, str], pass_env: Iterable[str] = ()) -> dict[str, str]:
    """Return what of the node's environment a process may see.

    `pass_env` names further variables; a name that ends in `*` stands for all that begin so.
    """
    asked = tuple(pass_env)
    names = frozenset(name for name in asked if not name.endswith("*"))
    prefixes = (*_KEPT_PREFIXES, *(name[:-1] for name in asked if name.endswith("*")))
    kept = {
        name: value
        for name, value in source.items()
        if (name in _KEPT or name in names or name.startswith(prefixes))
        and name not in _NEVER
        and not name.startswith(_NEVER_PREFIXES)
    }
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return kept


def script_variables(
    *, workspace: str, path: str, script_hash: str, worker_group: str, base_url: str
) -> dict[str, str]:
    """Return the variables all jobs of a process share; they go into its init frame."""
    return {
        "BASE_INTERNAL_URL": base_url,
        "BASE_URL": base_url,
        "WM_BASE_URL": base_url,
        "WM_JOB_PATH": path,
        "WM_RUNNABLE_ID": script_hash,
        # Where `getState` and `setState` of Windmill's clients keep a script's state.
        "WM_STATE_PATH": f"{path}/user",
        "WM_WORKER_GROUP": worker_group,
        "WM_WORKSPACE": workspace,
    }


def job_variables(
    *,
    created_by: str,
    permissioned_as: str,
    email: str | None = None,
    schedule_path: str | None = None,
) -> dict[str, str]:
    """Return what many jobs in a row share, for a context frame; unknown ones are not set."""
    variables = {
        "WM_EMAIL": email,
        "WM_PERMISSIONED_AS": permissioned_as,
        "WM_SCHEDULE_PATH": schedule_path,
        "WM_USERNAME": created_by,
    }
    return {name: value for name, value in variables.items() if value is not None}


def step_variables(
    *,
    flow_job_id: str,
    root_flow_job_id: str,
    step_id: str | None = None,
    flow_path: str | None = None,
    shared: str | None = None,
) -> dict[str, str]:
    """Return what is one flow step's alone, for its run frame; unknown ones are not set.

    `shared` is the absolute path of the folder its process shows as `./shared`, and no variable there.
    """
    variables = {"WM_FLOW_JOB_ID": flow_job_id, "WM_ROOT_FLOW_JOB_ID": root_flow_job_id}
    if step_id is not None:
        variables["WM_FLOW_STEP_ID"] = step_id
    if flow_path is not None:
        variables["WM_FLOW_PATH"] = flow_path
        variables["WM_STATE_PATH"] = f"{flow_path}/{step_id or 'nostep'}_user"
    if shared is not None:
        variables["MILL_SHARED"] = shared
    return variables
