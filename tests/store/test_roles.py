"""A worker's role needs no DDL: these grants, which docs/roles.md names, are enough."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mill_actors.jobs.script import make_script
from mill_actors.store import nodes
from mill_actors.store.client import Client
from mill_actors.store.concurrency import admit_waiting
from mill_actors.store.connection import Connection, Database
from mill_actors.store.doorbell import Doorbell
from mill_actors.store.flow_versions import make_flow
from mill_actors.store.jobs import expire_jobs
from mill_actors.store.logs import LogChunk
from mill_actors.store.maintenance import prune
from mill_actors.store.settlement import Retrial, settle
from tests.store.floor import TAG, Floor, Hand, outcome

DOCUMENT = Path(__file__).parents[2] / "docs" / "roles.md"


def grants(role: str, name: str) -> str:
    """Return the statements under the document's heading for that role."""
    return blocks(role, name)[0]


def blocks(role: str, name: str) -> list[str]:
    (section,) = re.findall(rf"^## {role}\b.*?(?=^## |\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return [
        re.sub(r"\bmill_\w+\b", name, block) for block in re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    ]


def as_role(floor: Floor, role: str) -> Iterator[Database]:
    name = f"mill_{role}_{os.getpid()}"
    floor.do(f"create role {name} login password 'secret'")
    try:
        floor.do(grants(role.capitalize(), name))
        yield Database(make_conninfo(floor.dsn, user=name, password="secret"))
    finally:
        floor.do(f"drop owned by {name}")
        floor.do(f"drop role {name}")


@pytest.fixture
def floor(own_floor: Floor) -> Floor:
    """What a role was granted goes with the database."""
    return own_floor


@pytest.fixture
def worker(floor: Floor) -> Iterator[Database]:
    yield from as_role(floor, "workers")


@pytest.fixture
def submitter(floor: Floor) -> Iterator[Database]:
    yield from as_role(floor, "submitters")


@pytest.fixture
def reader(floor: Floor) -> Iterator[Database]:
    yield from as_role(floor, "readers")


def test_a_worker_can_do_all_that_a_worker_does(floor: Floor, worker: Database) -> None:
    floor.submit_many(6)
    floor.submit_many(3, "f/a/one", key=None)
    floor.submit(expires_in_seconds=0.0)
    with worker.connect() as own:
        hand = Hand(own, floor.hand().holder)
        nodes.register_node(own, hand.node, "n", [TAG], [])
        nodes.serve_tags(own, hand.node, [TAG, "x"])
        assert nodes.beat(own, hand.node).alive
        jobs = hand.claim()
        assert len(jobs) == 7
        logs = [LogChunk(jobs[0].id, "default", 1, 0, "hello")]
        settle(own, [outcome(job) for job in jobs[:3]], [Retrial(outcome(jobs[3]), 0.0)], logs)
        hand.release(jobs[4])
        settle(own, [outcome(job) for job in jobs if job.concurrency_key])
        expire_jobs(own)
        admit_waiting(own)
        pruned = prune(own, 30, 7)
        assert pruned.partitions_made == 0
        assert nodes.rescue_node(own, hand.node, 1) is not None
        nodes.orphaned_nodes(own)
        nodes.token_keys(own)
    bell = Doorbell(worker)
    list(bell.rings(0.0))
    bell.close()


def test_a_worker_makes_and_drops_partitions_with_the_owners_rights(floor: Floor, worker: Database) -> None:
    with worker.connect() as own:
        made = own.execute("select mill.ensure_partitions(2, '2020-02-01')").fetchone()
        assert made == (9,)
        dropped = own.execute("select mill.drop_partitions('job_log', '2020-02-03')").fetchone()
        assert dropped == (2,)


@pytest.mark.parametrize(
    "statement",
    [
        "drop table mill.completed_job_default",
        "create table mill.mine ()",
        "alter table mill.queue add column x int",
        "truncate mill.queue",
        "delete from mill.workspace",
        "update mill.workspace set token_key = ''",
        "delete from mill.script",
        "select * from mill.migration for update",
    ],
)
def test_a_worker_can_do_no_more(worker: Database, statement: str) -> None:
    with worker.connect() as own, pytest.raises(psycopg.errors.InsufficientPrivilege):
        own.execute(statement.encode())


def submit_everything(own: Connection | None, client: Client) -> None:
    del own
    job = client.submit("f/a/b", {"x": 1})
    client.submit("f/a/b", key="k")
    client.submit("f/a/b", key="k")
    client.submit("f/a/one")
    client.submit("f/a/one")
    assert client.job(job).status == "queued"
    assert client.cancel(job) == "cancelled"
    assert client.wait(job, 5.0).status == "cancelled"
    client.list()
    client.counts()
    client.nodes()
    client.logs(job)
    client.attempts(job)


def test_a_submitter_can_submit_wait_look_and_cancel(submitter: Database) -> None:
    with Client(submitter) as client:
        submit_everything(None, client)


def test_a_submitter_may_be_let_deploy_scripts_and_flows(floor: Floor, submitter: Database) -> None:
    script = make_script("default", "f/a/mine", "python3", "def main(): ...")
    flow = make_flow("default", "f/a/flow", b'{"modules":[{"id":"a","value":{"type":"identity"}}]}')
    with Client(submitter) as client:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.deploy(script)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.deploy_flow(flow)
        floor.do(blocks("Submitters", f"mill_submitters_{os.getpid()}")[1])
        assert client.deploy(script)
        assert client.deploy_flow(flow)
        assert not client.deploy_flow(flow)
        assert [listed.path for listed in client.flows()] == ["f/a/flow"]
        client.submit("f/a/mine")
        job = client.submit("f/a/flow", {"x": 1})
        assert client.cancel(job) == "cancelled"


@pytest.mark.parametrize(
    "statement",
    [
        "select mill.drop_partitions('job_log', now())",
        "select token_key from mill.workspace",
        "delete from mill.completed_job",
        "delete from mill.flow_run",
        "insert into mill.script_path values ('default', 'f/a/x', '', '')",
        "update mill.node set beat = 0",
    ],
)
def test_a_submitter_can_do_no_more(submitter: Database, statement: str) -> None:
    with submitter.connect() as own, pytest.raises(psycopg.errors.InsufficientPrivilege):
        own.execute(statement.encode())


def test_a_reader_reads(floor: Floor, reader: Database) -> None:
    job = floor.submit()
    with Client(reader) as client:
        assert client.job(job).status == "queued"
        client.list()
        client.counts()
        client.logs(job)
        client.attempts(job)


@pytest.mark.parametrize(
    "statement",
    [
        "select mill.drop_partitions('completed_job', now())",
        "select mill.ensure_partitions(1)",
        "select token_key from mill.workspace",
        "delete from mill.queue",
    ],
)
def test_a_reader_does_nothing_else(reader: Database, statement: str) -> None:
    with reader.connect() as own, pytest.raises(psycopg.errors.InsufficientPrivilege):
        own.execute(statement.encode())
