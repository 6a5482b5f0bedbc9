"""Help, exit codes, and what goes where, of every command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from mill_actors.cli.settings import HELP, option_of
from mill_actors.config import Config, _leaves
from tests.cli.conftest import Mill

COMMANDS = [
    "dev",
    "worker",
    "migrate",
    "migrate status",
    "deploy",
    "run",
    "submit",
    "job get",
    "job logs",
    "job cancel",
    "job list",
    "tree",
    "top",
    "version",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_and_the_flag_json(command: str, bare: Mill) -> None:
    text = bare(*command.split(), "--help").out
    assert f"Usage: mill {command} " in text
    assert "Example:\n" in text
    assert f"    mill {command}" in text
    assert "--json " in text


def test_the_help_names_every_command(bare: Mill) -> None:
    text = bare("--help").out
    for command in COMMANDS:
        assert f"  {command.split()[0]} " in text
    assert "Exit codes: 0 done; 1 " in text


def test_every_setting_is_a_flag() -> None:
    assert set(HELP) - {"config"} == {path for path, _ in _leaves(Config)}
    assert len({option_of(path) for path in HELP}) == len(HELP)


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["jobs"], ["run"], ["job", "get"], ["job", "list", "--status", "done"]]
)
def test_wrong_usage_is_2(arguments: list[str], bare: Mill) -> None:
    done = bare(*arguments, code=2)
    assert done.out == ""
    assert "Usage: mill" in done.err


def test_version(bare: Mill) -> None:
    assert bare("version").out == bare("--version").out
    assert bare("version", "--json").json["mill"] in bare("version").out


def test_help_imports_neither_the_driver_nor_the_engine() -> None:
    program = (
        "import sys, mill_actors.cli.app as a\n"
        "try: a.app(['run', '--help'], prog_name='mill')\n"
        "except SystemExit: pass\n"
        "heavy = {'psycopg', 'pykka', 'rich', 'yaml', 'orjson'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stderr.strip() == "[]"


def test_all_faults_of_the_configuration_at_once(bare: Mill) -> None:
    (bare.folder / "mill.toml").write_text('[worker]\nproceses = 2\nmemory_mb = "much"\n')
    done = bare(
        "worker",
        "--lease-seconds",
        "1",
        "--tags",
        "",
        "--prefetch-seconds",
        "-1",
        code=2,
        environ={"MILL_WORKSPAC": "x", "MILL_NODE_GRACE_SECONDS": "soon"},
    )
    assert done.err == (
        "mill: The configuration has 6 faults:\n"
        "  worker.proceses: there is no such setting (from mill.toml); did you mean worker.processes?\n"
        "  MILL_WORKSPAC: there is no such setting (from the environment); did you mean MILL_WORKSPACE?\n"
        "  worker.memory_mb: Expected `int`, got `str` (from mill.toml)\n"
        "  node.grace_seconds: Expected `float`, got `str` (from MILL_NODE_GRACE_SECONDS)\n"
        "  worker.prefetch_seconds: Expected `float` > 0.0 (from --prefetch-seconds)\n"
        "  node.lease_seconds: must be at least 3 × node.beat_seconds, which is 6, and is 1 "
        "(from --lease-seconds)\n"
    )


def test_a_flag_wins_over_the_environment_and_that_over_the_file(mill: Mill) -> None:
    (mill.folder / "mill.toml").write_text('workspace = "file"\n')
    assert "workspace 'file'" in mill("run", "f/a/b", code=2).err
    environ = {"MILL_WORKSPACE": "environment"}
    assert "workspace 'environment'" in mill("run", "f/a/b", code=2, environ=environ).err
    done = mill("run", "f/a/b", "--workspace", "flag", code=2, environ=environ)
    assert "workspace 'flag'" in done.err


@pytest.mark.parametrize("command", ["job list", "run f/a/b", "submit f/a/b", "top", "migrate status"])
def test_no_database_is_one_line_and_leaves_nothing_behind(command: str, bare: Mill) -> None:
    done = bare(*command.split(), code=2)
    assert done.err.startswith("mill: There is no database: ")
    assert "mill dev" in done.err
    assert done.err.count("\n") == 1
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize("command", ["job list", "run f/a/b", "worker", "dev", "migrate"])
def test_a_database_that_is_away_is_one_line(command: str, bare: Mill) -> None:
    url = "postgresql://ada:secret@127.0.0.1:1/mill"
    done = bare(*command.split(), code=2, environ={"DATABASE_URL": url})
    assert done.err.startswith("mill: PostgreSQL cannot be reached: ")
    assert done.err.count("\n") == 1
    assert "secret" not in done.err


def test_an_address_that_is_none_does_not_tell_the_password(bare: Mill) -> None:
    done = bare("job", "list", "--database-url", "postgres//ada:secret@db", code=2)
    assert "database_url: is no address of a PostgreSQL" in done.err
    assert "secret" not in done.err


def test_a_schema_that_is_missing_or_too_new_is_refused(mill: Mill, dsn: str, empty_dsn: str) -> None:
    done = mill("job", "list", "--database-url", empty_dsn, code=2)
    assert "run `mill migrate` first" in done.err
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into mill.migration (version, name, breaking) values (9999, 'later', true)"
        )
    for command in ("job list", "worker", "dev", "migrate"):
        done = mill(*command.split(), code=2)
        assert done.err.startswith("mill: The database was migrated by a newer mill (9999_later)")
        assert done.err.count("\n") == 1


def test_whoever_reads_may_stop_reading(mill: Mill) -> None:
    with mill.running("tree", "--help") as command:
        assert command.process.stdout is not None
        command.process.stdout.close()
        assert command.process.wait(50) in {0, 1}
        assert command.process.stderr is not None
        assert command.process.stderr.read() == ""
