"""What of the node's environment reaches a process."""

from __future__ import annotations

from mill_actors.jobs.job import ClaimedJob
from mill_actors.runtimes.environment import (
    clean_environment,
    job_variables,
    script_variables,
    step_variables,
)
from mill_actors.runtimes.warm import WarmProcess


def test_only_what_is_known_to_be_harmless_passes() -> None:
    source = {
        "PATH": "/bin",
        "HOME": "/home/x",
        "LC_ALL": "C.UTF-8",
        "SSL_CERT_FILE": "/ca.pem",
        "DATABASE_URL": "postgres://secret",
        "PGPASSWORD": "secret",
        "MILL_TOKEN_KEY": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PYTHONPATH": "/mill",
    }
    assert clean_environment(source) == {
        "PATH": "/bin",
        "HOME": "/home/x",
        "LC_ALL": "C.UTF-8",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_more_may_be_asked_for_but_never_the_engines_secrets() -> None:
    source = {
        "AWS_REGION": "eu",
        "AWS_PROFILE": "p",
        "AWSX": "no",
        "PGPASSWORD": "secret",
        "DATABASE_URL": "secret",
        "MILL_DSN": "secret",
        "STRIPE": "s",
    }
    asked = ["AWS_*", "STRIPE", "PG*", "PGPASSWORD", "DATABASE_URL", "MILL_DSN", "*"]
    assert clean_environment(source, asked[:2]) == {
        "AWS_REGION": "eu",
        "AWS_PROFILE": "p",
        "STRIPE": "s",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    secrets = {"PGPASSWORD", "DATABASE_URL", "MILL_DSN"}
    assert not secrets & clean_environment(source, asked).keys()


def test_unknown_job_variables_are_not_set() -> None:
    assert job_variables(created_by="alice", permissioned_as="u/alice", schedule_path="f/x") == {
        "WM_USERNAME": "alice",
        "WM_PERMISSIONED_AS": "u/alice",
        "WM_SCHEDULE_PATH": "f/x",
    }


def test_variables_of_a_flow_step_have_windmills_names() -> None:
    assert step_variables(flow_job_id="p", root_flow_job_id="r") == {
        "WM_FLOW_JOB_ID": "p",
        "WM_ROOT_FLOW_JOB_ID": "r",
    }
    every = step_variables(
        flow_job_id="p", root_flow_job_id="r", step_id="a", flow_path="f/x", shared="/folder/of/r"
    )
    assert every == {
        "WM_FLOW_JOB_ID": "p",
        "WM_ROOT_FLOW_JOB_ID": "r",
        "WM_FLOW_STEP_ID": "a",
        "WM_FLOW_PATH": "f/x",
        "WM_STATE_PATH": "f/x/a_user",
        "MILL_SHARED": "/folder/of/r",
    }


def test_only_a_step_has_variables_of_its_own() -> None:
    job = ClaimedJob("c", "j", "w", "f/s", "h", "python3", "{}", 2, "u/alice", 0, 1, 0, None, None, None, 0.0)
    assert WarmProcess.variables(job) is None
    job.parent_job, job.step = "p", "a"
    assert WarmProcess.variables(job) == {
        "WM_FLOW_JOB_ID": "p",
        "WM_ROOT_FLOW_JOB_ID": "p",
        "WM_FLOW_STEP_ID": "a",
    }
    job.root_job, job.shared = "r", "/folder/of/r"
    assert WarmProcess.variables(job) == {
        "WM_FLOW_JOB_ID": "p",
        "WM_ROOT_FLOW_JOB_ID": "r",
        "WM_FLOW_STEP_ID": "a",
        "MILL_SHARED": "/folder/of/r",
    }


def test_script_variables_have_windmills_names() -> None:
    variables = script_variables(
        workspace="demo", path="f/a/b", script_hash="h", worker_group="default", base_url="http://m"
    )
    assert variables["WM_WORKSPACE"] == "demo"
    assert variables["WM_JOB_PATH"] == "f/a/b"
    assert variables["WM_RUNNABLE_ID"] == "h"
    assert variables["WM_BASE_URL"] == variables["BASE_INTERNAL_URL"] == "http://m"
