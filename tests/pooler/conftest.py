"""A pgbouncer in transaction mode in front of the test's database.

It is the one on PATH (`apt-get install pgbouncer`); MILL_TEST_PGBOUNCER names another. Without one these
tests are skipped; `pytest -m pgbouncer` runs them alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mill_actors.store.account import account_for, give, run_as
from mill_actors.store.connection import Database

PROGRAM = os.environ.get("MILL_TEST_PGBOUNCER") or shutil.which(
    "pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin"
)
PORT = 6432
START_SECONDS = 10.0

# Fewer connections than clients: a session is never the same connection for long.
CONFIGURATION = """\
[databases]
mill = {database}
[pgbouncer]
pool_mode = transaction
default_pool_size = 3
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
logfile = {folder}/log
pidfile = {folder}/pid
{prepared}
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pgbouncer: needs the program pgbouncer")


def version() -> tuple[int, ...]:
    """Return the program's version, (0,) without one."""
    if PROGRAM is None:
        return (0,)
    told = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", told)
    assert found is not None, told
    return int(found[1]), int(found[2])


#: Since then it knows prepared statements in transaction mode.
KNOWS_PREPARED = version() >= (1, 21)


@pytest.fixture
def pooler(dsn: str) -> Iterator[str]:
    """The address of the pooler."""
    if PROGRAM is None:
        pytest.skip("there is no pgbouncer")
    with tempfile.TemporaryDirectory(prefix="mill-", dir="/tmp") as name:
        folder = Path(name)
        account = account_for(folder)
        give(folder, account)
        folder.chmod(0o755)
        parts = {
            k: v
            for k, v in conninfo_to_dict(dsn).items()
            if k in ("host", "port", "dbname", "user", "password")
        }
        quoted = " ".join(
            f"{key}='{str(value).replace(chr(39), chr(39) * 2)}'" for key, value in parts.items()
        )
        settings = folder / "ini"
        prepared = "max_prepared_statements = 100" if KNOWS_PREPARED else ""
        settings.write_text(
            CONFIGURATION.format(database=quoted, folder=folder, port=PORT, prepared=prepared)
        )
        give(settings, account)
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen(
                [PROGRAM, str(settings)], stdout=out, stderr=out, cwd="/", **run_as(account)
            )
        try:
            address = make_conninfo(host=str(folder), port=PORT, dbname="mill", user="anybody")
            wait_for(address, process, folder)
            yield address
        finally:
            process.kill()
            process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            told = (folder / "out").read_text()
            assert process.poll() is None, told
            assert monotonic() < deadline, told
            time.sleep(0.01)
        else:
            return


@pytest.fixture(
    params=[
        pytest.param(False, id="unprepared"),
        pytest.param(
            True,
            id="prepared",
            marks=pytest.mark.skipif(not KNOWS_PREPARED, reason="pgbouncer is older than 1.21"),
        ),
    ]
)
def database(request: pytest.FixtureRequest, dsn: str, pooler: str) -> Database:
    """The database through the pooler, with and without prepared statements."""
    return Database(pooler, direct_dsn=dsn, prepare=request.param)
