from __future__ import annotations

import os
from pathlib import Path

import pytest

from mill_actors.config import Config, load
from mill_actors.errors import ConfigError


def write(folder: Path, text: str) -> None:
    (folder / "mill.toml").write_text(text)


def faults_of(flags: dict[str, object], environ: dict[str, str], folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(flags, environ, folder)
    return list(caught.value.faults)


def test_nothing_has_to_be_set(tmp_path: Path) -> None:
    config = load({}, {}, tmp_path)
    assert config.database_url is None
    assert config.worker.tags == ("python3", "bun", "flow")
    assert 1 <= config.worker.processes <= (os.cpu_count() or 1)
    assert config.node.name
    assert config.node.work_dir == str(tmp_path / ".mill")


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, "[worker]\nprocesses = 1\nmemory_mb = 100\npoll_seconds = 7\n")
    environ = {"MILL_WORKER_PROCESSES": "2", "MILL_WORKER_MEMORY_MB": "200"}
    worker = load({"worker.processes": 3, "worker.memory_mb": None}, environ, tmp_path).worker
    assert (worker.processes, worker.memory_mb, worker.poll_seconds) == (3, 200, 7.0)


def test_the_environment_does_not_bring_its_defaults(tmp_path: Path) -> None:
    write(tmp_path, "[worker]\nprocesses = 7\n")
    assert load({}, {"MILL_WORKER_MEMORY_MB": "200"}, tmp_path).worker.processes == 7


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DATABASE_URL": "one"}, "one"),
        ({"DATABASE_URL": "one", "MILL_DATABASE_URL": "two"}, "two"),
        ({"MILL_DATABASE_URL": "two"}, "two"),
        ({"DATABASE_URL": ""}, "file"),
    ],
)
def test_the_database_of_mill_wins_over_everybodys(
    environ: dict[str, str], expected: str, tmp_path: Path
) -> None:
    write(tmp_path, 'database_url = "file"')
    assert load({}, environ, tmp_path).database_url == expected
    assert load({"database_url": "flag"}, environ, tmp_path).database_url == "flag"


def test_text_of_the_environment_becomes_what_the_field_is(tmp_path: Path) -> None:
    environ = {
        "MILL_PREPARE": "false",
        "MILL_WORKER_TAGS": "gpu, python3,",
        "MILL_WORKER_DEFAULT_TIMEOUT_SECONDS": "90",
        "MILL_NODE_GRACE_SECONDS": "0",
        "MILL_NODE_JOB_USER": "",
    }
    config = load({}, environ, tmp_path)
    assert config.prepare is False
    assert config.worker.tags == ("gpu", "python3")
    assert config.worker.default_timeout_seconds == 90.0
    assert config.node.grace_seconds == 0.0
    assert config.node.job_user is None


def test_every_fault_is_named_at_once_with_its_source(tmp_path: Path) -> None:
    write(
        tmp_path,
        'workspce = "x"\nprepare = 1\nretention = 3\n[node]\nlease_seconds = -1\n[worker]\ntags = "a"\n',
    )
    environ = {
        "MILL_WORKER_POLL_SECONDS": "soon",
        "MILL_WORKER_PROCESES": "2",
        "MILL_WORKSPACE": "Ä",
        "MILL_TEST_POSTGRES": "16",
        "OTHER": "1",
    }
    faults = faults_of({"worker.processes": 0, "worker.memory_mb": "much"}, environ, tmp_path)
    expected = [
        ("workspce: there is no such setting (from mill.toml); did you mean workspace?",),
        ("MILL_WORKER_PROCESES: there is no such setting", "did you mean MILL_WORKER_PROCESSES?"),
        ("retention: is a section", "mill.toml"),
        ("prepare: Expected `bool`", "mill.toml"),
        ("node.lease_seconds: Expected `float` > 0.0", "mill.toml"),
        ("worker.tags: Expected `array`", "mill.toml"),
        ("worker.poll_seconds: Expected `float`", "MILL_WORKER_POLL_SECONDS"),
        ("workspace: Expected `str` matching regex", "MILL_WORKSPACE"),
        ("worker.processes: Expected `int` >= 1", "--processes"),
        ("worker.memory_mb: Expected `int`", "--memory-mb"),
    ]
    for parts in expected:
        assert [fault for fault in faults if all(part in fault for part in parts)], parts
    assert len(faults) == len(expected)


def test_a_fault_never_shows_a_value(tmp_path: Path) -> None:
    faults = faults_of({}, {"MILL_WORKSPACE": "Secret!", "MILL_PREPARE": "Secret!"}, tmp_path)
    assert len(faults) == 2
    assert "Secret" not in " ".join(faults)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "1e12"])
def test_seconds_are_finite_and_positive(value: str, tmp_path: Path) -> None:
    write(tmp_path, f"[worker]\npoll_seconds = {value}\n")
    assert faults_of({}, {}, tmp_path)[0].startswith("worker.poll_seconds: ")


@pytest.mark.parametrize(
    ("lease", "beat", "is_valid"),
    [(None, "2", True), (None, "2.1", False), ("3", "1", True), ("5", None, False)],
)
def test_a_lease_lasts_three_beats(
    lease: str | None, beat: str | None, is_valid: bool, tmp_path: Path
) -> None:
    given = {"MILL_NODE_LEASE_SECONDS": lease, "MILL_NODE_BEAT_SECONDS": beat}
    environ = {name: value for name, value in given.items() if value is not None}
    if is_valid:
        load({}, environ, tmp_path)
        return
    (fault,) = faults_of({}, environ, tmp_path)
    assert fault.startswith("node.lease_seconds: must be at least 3 × node.beat_seconds")
    assert all(name in fault for name in environ)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    assert "no file" in faults_of({"config": "other.toml"}, {}, tmp_path)[0]
    assert "no file" in faults_of({}, {"MILL_CONFIG": "other.toml"}, tmp_path)[0]
    (tmp_path / "other.toml").write_text('workspace = "other"')
    assert load({"config": "other.toml"}, {}, tmp_path).workspace == "other"
    assert load({}, {"MILL_CONFIG": str(tmp_path / "other.toml")}, tmp_path).workspace == "other"


def test_a_broken_file_is_a_fault_beside_the_others(tmp_path: Path) -> None:
    write(tmp_path, "workspace = \n")
    faults = faults_of({}, {"MILL_PREPARE": "maybe"}, tmp_path)
    assert len(faults) == 2
    assert "mill.toml cannot be read" in faults[0]


def test_a_config_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Config().workspace = "other"  # type: ignore[misc]
