"""Everything but LISTEN and migrations works through pgbouncer in transaction mode."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mill_actors.actors.life import Node
from mill_actors.config import load
from mill_actors.jobs.outcome import Verdict
from mill_actors.jobs.script import ScriptOptions, make_script
from mill_actors.store import nodes
from mill_actors.store.claims import next_due_seconds
from mill_actors.store.client import Client
from mill_actors.store.concurrency import admit_waiting
from mill_actors.store.connection import Database
from mill_actors.store.jobs import expire_jobs
from mill_actors.store.logs import LogChunk, read_logs
from mill_actors.store.maintenance import prune
from mill_actors.store.migrate import verify
from mill_actors.store.notify import ring_settled
from mill_actors.store.settlement import Retrial, settle
from mill_actors.store.submission import Submission
from tests.store.floor import TAG, Floor, outcome

pytestmark = pytest.mark.pgbouncer
SECONDS = 30.0


@pytest.fixture
def floor(database: Database) -> Iterator[Floor]:
    """The floor of the store's tests, through the pooler."""
    with Floor(database.dsn, database) as floor:
        floor.deploy("f/a/b")
        floor.deploy("f/a/one", concurrency_limit=1)
        yield floor


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    with Client(database) as client:
        yield client


def test_a_session_is_not_the_same_connection_for_long(floor: Floor) -> None:
    """Else these tests would show nothing."""
    connections = [floor.connect() for _ in range(6)]
    pids = {connection.execute("select pg_backend_pid()").fetchone() for connection in connections}
    assert len(pids) < len(connections)


def test_the_store_from_submit_to_history(floor: Floor, client: Client) -> None:
    told = [Submission(path="f/a/b", args={"n": n}) for n in range(20)]
    ids = [receipt.id for receipt in client.submit_many(told)]
    ids += [client.submit("f/a/b", key="k"), *(client.submit("f/a/one") for _ in range(2))]
    assert client.submit("f/a/b", key="k") == ids[20]
    late = client.submit("f/a/b", expires_in_seconds=0.0)
    client.submit("f/a/b", scheduled_in_seconds=99.0, tag="later")
    hand = floor.living_hand()
    jobs = hand.claim()
    assert [job.id for job in jobs] == ids[:22]
    assert nodes.beat(hand.connection, hand.node).expiries_wait
    assert expire_jobs(hand.connection) == [late]
    logs = [LogChunk(jobs[0].id, "default", 1, 0, "hello")]
    done = settle(
        hand.connection,
        [outcome(jobs[0], result=b'"\\u0000"'), *(outcome(job) for job in jobs[5:])],
        [Retrial(outcome(jobs[1], Verdict.FAILURE), 0.0)],
        logs,
    )
    assert done.stale == frozenset()
    assert done.admitted_tags == {TAG}
    assert hand.release(jobs[2]) == {jobs[2].id}
    assert client.cancel(jobs[3].id) == "requested"
    assert next_due_seconds(hand.connection, ["later"]) is not None
    rescue = nodes.rescue_node(hand.connection, hand.node, 1)
    assert rescue is not None
    assert (rescue.requeued, rescue.cancelled) == ((jobs[4].id,), (jobs[3].id,))
    assert read_logs(hand.connection, "default", jobs[0].id) == logs
    assert client.job(jobs[0].id).result == '"\\u0000"'
    assert len(client.attempts(jobs[1].id)) == 1
    admit_waiting(hand.connection)
    prune(hand.connection, 30, 7)
    assert client.counts()["success"] == 18


def test_many_sessions_share_few_connections(database: Database, floor: Floor) -> None:
    """Each statement may meet a connection that another session has just used."""
    count = 240

    def submit(number: int) -> list[str]:
        with Client(database) as own:
            return [own.submit("f/a/b", {"n": number}, key=f"{number} {n}") for n in range(count // 8)]

    def work(hand: object) -> int:
        del hand
        with Floor(database.dsn, database) as mine:
            own, done, misses = mine.hand(), 0, 0
            while misses < 20:
                jobs = own.claim(7)
                misses = 0 if jobs else misses + 1
                own.finish(*jobs)
                done += len(jobs)
            return done

    with ThreadPoolExecutor(12) as pool:
        submitting = [pool.submit(submit, number) for number in range(8)]
        working = [pool.submit(work, number) for number in range(4)]
        ids = [job for future in submitting for job in future.result(SECONDS)]
        done = sum(future.result(SECONDS) for future in working)
    done += work(None)
    assert done == len(set(ids)) == count
    assert floor.value("select count(*) from mill.completed_job where status = 'success'") == count


def test_waiting_listens_beside_the_pooler(floor: Floor, client: Client) -> None:
    job, future = client.start("f/a/b")
    hand = floor.hand()
    done = hand.finish(hand.claim_one(), result=b"1")
    assert done.awaited == (job,)
    ring_settled(hand.connection, done.awaited)
    assert future.result(SECONDS).value == 1


def test_the_schema_is_verified_on_the_direct_address(database: Database) -> None:
    assert database.direct_dsn is not None
    assert verify(database.direct_dsn) == []


def test_a_node_runs_jobs(database: Database, client: Client, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    config = load(
        {"node.name": "pooled", "node.beat_seconds": 0.2, "node.lease_seconds": 1.0, "node.work_dir": str(tmp_path),
         "worker.processes": 2},
        {},
        tmp_path,
    )  # fmt: skip
    client.deploy(make_script("default", "f/a/double", "python3", "def main(n): return 2 * n"))
    client.deploy(
        make_script(
            "default", "f/a/one", "python3", "def main(n): return n", ScriptOptions(concurrency_limit=1)
        )
    )
    told = [Submission(path=path, args={"n": n}) for n in range(100) for path in ("f/a/double", "f/a/one")]
    with Node(config, database):
        receipts = client.submit_many(told)
        assert client.run("f/a/double", {"n": 21}, timeout=SECONDS).value == 42
        results = [client.wait(receipt.id, SECONDS).value for receipt in receipts]
    assert results == [2 * n if path == 0 else n for n in range(100) for path in (0, 1)]
    assert client.nodes() == []
