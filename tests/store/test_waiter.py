from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mill_actors.errors import InvalidArgs, JobNotFound, ScriptNotFound, StoreUnavailable
from mill_actors.ids import new_id
from mill_actors.jobs.outcome import Verdict
from mill_actors.store import waiter as waiter_module
from mill_actors.store.client import Client
from mill_actors.store.connection import Database
from mill_actors.store.jobs import JobResult
from mill_actors.store.notify import ring_settled
from mill_actors.store.waiter import Waiter
from tests.store.floor import Floor, Hand, eventually

LONG = 20.0


def finish(
    hand: Hand, *, ring: bool = True, result: bytes = b'{"a": 1}', verdict: Verdict = Verdict.SUCCESS
) -> None:
    done = hand.finish(*hand.claim(), result=result, verdict=verdict)
    if ring:
        ring_settled(hand.connection, done.awaited)


def is_pending(future: Future[JobResult]) -> bool:
    return not future.done()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again so often that a lost ring costs next to nothing."""
    monkeypatch.setattr(waiter_module, "RECHECK_SECONDS", 0.02)
    monkeypatch.setattr(waiter_module, "PATIENCE_SECONDS", 0.02)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never look again: only a ring can help."""
    monkeypatch.setattr(waiter_module, "RECHECK_SECONDS", 1e9)


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_job_that_ends_completes_its_future(floor: Floor, client: Client, verdict: Verdict) -> None:
    job, future = client.start("f/a/b", {"x": 1})
    assert is_pending(future)
    finish(floor.hand(), verdict=verdict)
    told = future.result(LONG)
    assert (told.id, told.status, told.succeeded) == (job, verdict, verdict is Verdict.SUCCESS)
    if verdict is not Verdict.CANCELLED:
        assert told.value == {"a": 1}


@pytest.mark.usefixtures("deaf")
def test_whoever_asks_before_the_end_is_rung(floor: Floor, client: Client) -> None:
    job = floor.submit()
    future = client.expect(job)
    finish(floor.hand())
    assert future.result(LONG).id == job


@pytest.mark.usefixtures("deaf")
def test_whoever_asks_after_the_end_is_answered_at_once(floor: Floor, client: Client) -> None:
    job = floor.submit()
    finish(floor.hand())
    assert client.expect(job).done()
    assert client.wait(job, LONG).value == {"a": 1}


def test_an_id_may_be_written_otherwise(floor: Floor, client: Client) -> None:
    job = floor.submit()
    future = client.expect(job.upper())
    assert client.cancel(job.upper()) == "cancelled"
    assert future.result(LONG).id == job


@pytest.mark.usefixtures("deaf")
def test_whoever_asks_while_it_ends_is_answered(floor: Floor, client: Client) -> None:
    """The finish is not committed yet: asking waits for it, and then finds the result."""
    job = floor.submit()
    hand = floor.hand()
    claimed = hand.claim_one()
    with hand.connection.transaction():
        hand.finish(claimed)
        rival = floor.rival(lambda _: client.wait(job, LONG))
        assert rival.waits()
    assert rival.result().id == job


@pytest.mark.usefixtures("quick")
def test_a_lost_ring_costs_latency_only(floor: Floor, client: Client) -> None:
    _, future = client.start("f/a/b")
    finish(floor.hand(), ring=False)
    assert future.result(LONG).succeeded


@pytest.mark.usefixtures("deaf")
def test_a_ring_for_others_wakes_nobody(floor: Floor, client: Client) -> None:
    job, future = client.start("f/a/b")
    ring_settled(floor.connection, [new_id(), job])
    other = floor.submit(awaited=True)
    assert client.cancel(other) == "cancelled"
    client.cancel(job)
    assert future.result(LONG).status == "cancelled"


@pytest.mark.usefixtures("deaf")
def test_a_keyed_repeat_waits_for_the_first_job(floor: Floor, client: Client) -> None:
    first, one = client.start("f/a/b", key="k")
    again, two = client.start("f/a/b", key="k")
    assert first == again
    finish(floor.hand())
    assert one.result(LONG) == two.result(LONG)


@pytest.mark.usefixtures("deaf")
def test_many_at_once(floor: Floor, client: Client) -> None:
    started = [client.start("f/a/b", {"n": n}) for n in range(300)]
    hand = floor.hand()
    done = hand.finish(*hand.claim(), result=b"1")
    assert len(done.awaited) == 300
    ring_settled(hand.connection, done.awaited)
    assert [future.result(LONG).id for _, future in started] == [job for job, _ in started]


def test_a_timeout_cancels_neither_the_wait_nor_the_job(floor: Floor, client: Client) -> None:
    job, future = client.start("f/a/b")
    with pytest.raises(TimeoutError):
        future.result(0.01)
    with pytest.raises(TimeoutError):
        client.wait(job, 0.01)
    finish(floor.hand())
    assert future.result(LONG).succeeded


@pytest.mark.usefixtures("quick")
def test_a_future_that_was_cancelled_harms_nobody_else(floor: Floor, client: Client) -> None:
    job, given_up = client.start("f/a/b")
    same = client.expect(job)
    other_job, other = client.start("f/a/b")
    assert given_up.cancel()
    finish(floor.hand())
    assert same.result(LONG).id == job
    assert other.result(LONG).id == other_job
    last, future = client.start("f/a/b")
    finish(floor.hand())
    assert future.result(LONG).id == last


def test_what_could_not_be_submitted_is_not_waited_for(floor: Floor, client: Client) -> None:
    for path, args, error in (("f/a/c", {}, ScriptNotFound), ("f/a/b", {"x": object()}, InvalidArgs)):
        with pytest.raises(error):
            client.start(path, args)
    waiter = client._waiter
    assert waiter is not None
    assert waiter._awaited() == []


@pytest.mark.parametrize("job", ["nonsense", "", "\0", new_id()])
def test_an_unknown_job_is_not_found(floor: Floor, client: Client, job: str) -> None:
    for ask in (client.expect, client.wait, client.job, client.cancel):
        with pytest.raises(JobNotFound):
            ask(job)


def test_a_job_of_another_workspace_is_not_found(floor: Floor, make_client: Callable[..., Client]) -> None:
    job = floor.submit()
    floor.workspace("acme")
    with pytest.raises(JobNotFound):
        make_client("acme").wait(job)


def listeners(floor: Floor) -> set[int]:
    query = "select pid from pg_stat_activity where query = 'listen mill_settled' and datname = current_database()"
    return {row[0] for row in floor.rows(query)}


@pytest.mark.usefixtures("deaf")
def test_a_listener_that_was_cut_off_connects_again_and_looks(
    floor: Floor, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """What rang meanwhile is lost; so each new connection begins with a look."""
    caplog.set_level(logging.CRITICAL, "mill_actors")
    eventually(lambda: listeners(floor) == set())
    _, first = client.start("f/a/b")
    (pid,) = listeners(floor)
    hand = floor.hand()
    done = hand.finish(*hand.claim())
    assert done.awaited != ()
    assert floor.value("select pg_terminate_backend(%s)", pid)
    assert first.result(LONG).succeeded
    eventually(lambda: bool(listeners(floor) - {pid}))
    _, second = client.start("f/a/b")
    finish(floor.hand())
    assert second.result(LONG).succeeded


def test_closing_cancels_what_still_waits(floor: Floor) -> None:
    with Client(floor.database) as client:
        _, future = client.start("f/a/b")
    with pytest.raises(CancelledError):
        future.result(LONG)
    eventually(lambda: listeners(floor) == set())


def test_a_client_closes_without_ever_having_connected() -> None:
    Client(Database("host=/nowhere")).close()


def test_a_client_is_shared_by_threads(floor: Floor, client: Client) -> None:
    stop = False

    def work() -> int:
        hand, done = floor.hand(), 0
        while not stop:
            jobs = hand.claim()
            done += len(jobs)
            ring_settled(hand.connection, hand.finish(*jobs).awaited if jobs else ())
        return done

    worker = floor.rival(lambda _: work())
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: client.run("f/a/b", {"n": n}, timeout=LONG), range(64)))
    stop = True
    assert worker.result() == len({result.id for result in results}) == 64


# -- while there is no database ------------------------------------------------------------


@pytest.fixture
def nowhere(floor: Floor) -> Iterator[Client]:
    client = Client(Database(make_conninfo(floor.dsn, host="/nowhere")))
    yield client
    client.close()


def test_without_a_database_every_call_says_so(nowhere: Client) -> None:
    for call in (nowhere.list, nowhere.counts, nowhere.nodes, lambda: nowhere.submit("f/a/b")):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)


def test_a_waiter_without_a_database_closes(
    nowhere: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "mill_actors")
    waiter = Waiter(nowhere.database)
    monkeypatch.setattr(waiter._listening, "wait", lambda _: False)
    future = waiter.expect(new_id())
    waiter.close()
    assert future.cancelled()


def test_a_client_whose_connection_was_cut_works_again_at_the_next_call(floor: Floor, client: Client) -> None:
    client.submit("f/a/b")
    floor.do("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'mill client'")
    with pytest.raises(StoreUnavailable):
        client.submit("f/a/b")
    client.submit("f/a/b")
    assert floor.value("select count(*) from mill.queue") == 2
