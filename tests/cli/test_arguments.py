"""What people type, before any database hears of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mill_actors.cli.arguments import read_arguments
from mill_actors.cli.own_process import _without_secrets
from mill_actors.cli.sidecar import convert_options, read_sidecar
from mill_actors.cli.waiting import why_it_waits
from mill_actors.errors import InvalidArgs
from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.jobs.script import ScriptOptions
from mill_actors.store.jobs import Job

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ("Ada", "Ada"),
        ("", ""),
        ("a=b", "a=b"),
        ('{"x": [1]}', {"x": [1]}),
        ("{x}", "{x}"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("007", "007"),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_a_value_is_json_or_text(text: str, value: object) -> None:
    assert read_arguments([f"k={text}"], None) == {"k": value}


def test_single_arguments_go_over_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": 1, "b": 2}')
    assert read_arguments(["b=3"], f"@{file}") == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("pairs", "whole"),
    [(["x"], None), (["=1"], None), ([], "3"), ([], "{"), ([], "@/nowhere"), ([], '{"a": NaN}')],
)
def test_what_is_no_argument_is_said(pairs: list[str], whole: str | None) -> None:
    with pytest.raises(InvalidArgs):
        read_arguments(pairs, whole)


def test_passwords_do_not_stay_in_the_command_line() -> None:
    told = ["run", "--database-url", "postgresql://a:b@c", "--direct-database-url=x", "--arg", "n=1"]
    assert _without_secrets(told) == [
        "run",
        "--database-url",
        "***",
        "--direct-database-url=***",
        "--arg",
        "n=1",
    ]


def sidecar(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "charge.script.yaml"
    file.write_text(text)
    return file


def test_a_sidecar_of_windmill(tmp_path: Path) -> None:
    told = read_sidecar(
        sidecar(
            tmp_path,
            """
summary: Charges a customer
description: ''
lock: '!inline f/billing/charge.script.lock'
kind: script
schema: {type: object, properties: {}}
tag: gpu
dedicated_worker: true
priority: 7
timeout: 90
retry: {constant: {attempts: 3, seconds: 5}}
concurrent_limit: 2
concurrency_time_window_s: 10
concurrency_key: $args[customer]
cache_ttl: 60
no_main_func: false
envs: []
something_new: 1
""",
        )
    )
    options, faults = convert_options(told, {})
    assert faults == []
    assert options == ScriptOptions(
        tag="gpu",
        dedicated=True,
        priority=7,
        timeout_seconds=90.0,
        retry=RetryPolicy(ConstantRetry(3, 5.0)),
        concurrency_limit=2,
        concurrency_key="$args[customer]",
        concurrency_window_s=10.0,
    )
    assert told.notes == ("charge.script.yaml: not used: cache_ttl, something_new",)


def test_faults_of_a_sidecar_have_windmills_names(tmp_path: Path) -> None:
    file = sidecar(
        tmp_path, "timeout: soon\nconcurrent_limit: 0\nconcurrency_time_window_s: -1\npriority: null\n"
    )
    _, faults = convert_options(read_sidecar(file), {})
    assert faults == [
        f"{file}: timeout: Expected `float | null`, got `str`",
        f"{file}: concurrent_limit: Expected `int` >= 1",
        f"{file}: concurrency_time_window_s: Expected `float` >= 0.0",
    ]


@pytest.mark.parametrize("text", ["- a list", "a: [", "\tx"])
def test_a_sidecar_that_is_none(text: str, tmp_path: Path) -> None:
    assert len(read_sidecar(sidecar(tmp_path, text)).faults) == 1


def job(**fields: Any) -> Job:
    values: dict[str, Any] = dict.fromkeys(Job.__struct_fields__)
    told = {"status": "queued", "scheduled_for": NOW, "tag": "python3", "attempt": 1, "admitted": True}
    return Job(**{**values, **told, **fields})


@pytest.mark.parametrize(
    ("waiting", "says"),
    [
        (
            job(scheduled_for=NOW + timedelta(seconds=90)),
            "it is not due before 2026-11-22 12:01:30.000 UTC (in 90.0 s)",
        ),
        (job(scheduled_for=NOW + timedelta(seconds=1), attempt=2), "attempt 2 is not due before"),
        (job(admitted=False, concurrency_key="k"), "it waits for a slot of its concurrency key 'k'"),
        (job(tag="gpu"), "nobody serves its tag 'gpu': start `mill dev`, or `mill worker --tags gpu`"),
        (job(tag="default:f/a/b"), "or `mill worker --dedicated f/a/b`"),
        (job(), "are busy with other jobs"),
        (job(status="running", cancel_requested_at=NOW), "its cancel was requested"),
    ],
)
def test_why_a_job_waits(waiting: Job, says: str) -> None:
    told = why_it_waits(waiting, {"python3"}, NOW)
    assert told is not None
    assert says in told


def test_a_job_that_runs_waits_for_nothing() -> None:
    assert why_it_waits(job(status="running"), set(), NOW) is None
