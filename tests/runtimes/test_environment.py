"""What of the node's environment reaches a process."""

from __future__ import annotations

from mill_actors.runtimes.environment import clean_environment, job_variables, script_variables


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
    assert job_variables(created_by="alice", permissioned_as="u/alice", flow_path="f/x") == {
        "WM_USERNAME": "alice",
        "WM_PERMISSIONED_AS": "u/alice",
        "WM_FLOW_PATH": "f/x",
    }


def test_script_variables_have_windmills_names() -> None:
    variables = script_variables(
        workspace="demo", path="f/a/b", script_hash="h", worker_group="default", base_url="http://m"
    )
    assert variables["WM_WORKSPACE"] == "demo"
    assert variables["WM_JOB_PATH"] == "f/a/b"
    assert variables["WM_RUNNABLE_ID"] == "h"
    assert variables["WM_BASE_URL"] == variables["BASE_INTERNAL_URL"] == "http://m"
