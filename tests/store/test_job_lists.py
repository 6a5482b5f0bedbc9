"""Lists of jobs: with a million that have ended and a million that wait, a page costs a bounded number of rows,
whatever its filters match, and nothing is passed over on the way from page to page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest
from msgspec.structs import replace

from mill_actors.store import job_walks
from mill_actors.store.connection import Connection
from mill_actors.store.job_lists import list_jobs
from mill_actors.store.job_reading import JobView
from mill_actors.store.job_walks import BUDGET, Cursor, JobFilters, Wanted, Words
from mill_actors.store.queries import sql
from tests.fix_db import Server
from tests.store.floor import Floor
from tests.store.test_plans import PLACEHOLDER, Plan, read_plan

MILLION = 1_000_000

#: In batches of 500, as settling has them: those of one have the same moment.
HISTORY = """
insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for,
  started_at, completed_at, duration_us, args, result, created_by, worker, attempt, rescues, parent_job, step)
select ('8fffffff-ffff-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'default', 'f/a/' || case when i %% 10 = 0
    then 'ten' else 'b' end, '0123456789abcdef', 'python3', 0, case when i %% 100 = 0 then 'failure' else 'success' end,
  at - interval '1 second', at, at, at, 1000, ('{"n": ' || i || '}')::json, '1', 'u/admin', 'w1', 1, 0,
  case when i %% 1000 = 0 then '8fffffff-ffff-7000-9000-000000000000'::uuid end, case when i %% 1000 = 0 then 'a' end
from (select i, %s::timestamptz - interval '1 second' * (i / 500) as at from generate_series(1, %s) i) r
"""
QUEUE = """
insert into mill.queue (id, workspace, path, script, tag, args, args_bytes, created_by)
select ('8fffffff-ffff-7000-a000-' || lpad(to_hex(i), 12, '0'))::uuid, 'default',
  'f/a/' || case when i %% 10 = 0 then 'ten' else 'b' end, '0123456789abcdef', 'python3', '{"x": 1}', 8, 'u/admin'
from generate_series(1, %s) i
"""
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ME = JobFilters(me="u/admin")


@contextmanager
def filled(server: Server, template: str, ended: int, waiting: int) -> Iterator[Floor]:
    with server.database(template) as dsn, Floor(dsn) as floor:
        floor.do("select mill.ensure_partitions(30, %s::date)", NOW - timedelta(days=20))
        floor.do(HISTORY, NOW, ended)
        floor.do(QUEUE, waiting)
        floor.do("analyze mill.completed_job")
        yield floor


@pytest.fixture(scope="module")
def small(server: Server, template: str) -> Iterator[Floor]:
    with filled(server, template, 5_000, 500) as floor:
        yield floor


def pages(
    connection: Connection, filters: JobFilters, limit: int, **options: Any
) -> Iterator[tuple[list[JobView], Cursor | None]]:
    cursor: Cursor | None = None
    ascending = options.pop("ascending", False)
    while True:
        wanted = Wanted(limit=limit, cursor=cursor, ascending=ascending)
        page = list_jobs(connection, "default", filters, wanted, **options)
        yield page.jobs, page.cursor
        cursor = page.cursor
        if cursor is None:
            return


def everything(connection: Connection, filters: JobFilters, limit: int, **options: Any) -> list[JobView]:
    return [job for jobs, _ in pages(connection, filters, limit, **options) for job in jobs]


@pytest.mark.parametrize("limit", [7, 499, 500, 501, 10_000])
def test_pages_have_each_job_once_and_in_order(small: Floor, limit: int) -> None:
    found = everything(small.connection, ME, limit)
    assert len({job.id for job in found}) == len(found) == 5_500
    waiting, ended = found[:500], found[500:]
    assert all(job.completed_at is None for job in waiting)
    assert [job.id for job in waiting] == sorted((job.id for job in waiting), reverse=True)
    keys = [(job.completed_at, job.id) for job in ended]
    assert keys == sorted(keys, reverse=True)


@pytest.mark.parametrize("table", ["open", "ended"])
def test_the_other_way_round(small: Floor, table: str) -> None:
    options = {"open_ones": table == "open", "ended": table == "ended"}
    there = everything(small.connection, ME, 300, **options)
    back = everything(small.connection, ME, 300, ascending=True, **options)
    assert [job.id for job in back] == [job.id for job in reversed(there)]


def test_a_page_by_its_number(small: Floor) -> None:
    whole = everything(small.connection, ME, 10_000, open_ones=False)
    wanted = Wanted(limit=100, offset=2_300)
    page = list_jobs(small.connection, "default", ME, wanted, open_ones=False)
    assert [job.id for job in page.jobs] == [job.id for job in whole[2_300:2_400]]


EACH = [
    (replace(ME, path=Words(("f/a/ten",))), 550),
    (replace(ME, path=Words(("f/a/ten",), is_negated=True)), 4_950),
    (replace(ME, path_start=Words(("f/a/%",))), 5_500),
    (replace(ME, path_start=Words(("f/b/%",))), 0),
    (replace(ME, created_by=Words(("admin",))), 5_500),
    (replace(ME, created_by=Words(("admin", "bob"), is_negated=True)), 0),
    (replace(ME, tag=Words(("py%",))), 5_500),
    (replace(ME, kinds=Words(("script", "flow"))), 5_500),
    (replace(ME, kinds=Words(("script",), is_negated=True)), 0),
    (replace(ME, script_hash="0123456789abcdef"), 5_500),
    (replace(ME, has_null_parent=True), 5_495),
    (replace(ME, is_flow_step=True), 5),
    (replace(ME, parent_job="8fffffff-ffff-7000-9000-000000000000"), 5),
    (replace(ME, words="%TEN%"), 550),
    (replace(ME, readable=("f/b/%",)), 5_500),
    (replace(ME, me="u/bob", readable=("f/b/%",)), 0),
    (replace(ME, me="u/bob", readable=("f/a/t%",)), 550),
]
ENDED = [
    (replace(ME, statuses=Words(("failure",))), 50),
    (replace(ME, success=False), 50),
    (replace(ME, success=True), 4_950),
    (replace(ME, is_skipped=False), 5_000),
    (replace(ME, worker=Words(("w1",))), 5_000),
    (replace(ME, completed_before=NOW), 4_501),
    (replace(ME, completed_after=NOW - timedelta(seconds=3)), 1_499),
    (replace(ME, completed_after=NOW - timedelta(seconds=3), completed_before=NOW), 1_000),
    (replace(ME, created_before=NOW - timedelta(seconds=5)), 2_501),
    (replace(ME, created_after=NOW - timedelta(seconds=5)), 1_999),
    (replace(ME, started_before=NOW - timedelta(seconds=5)), 2_001),
    (replace(ME, accepts=lambda job: job.args is not None and '"n": 77}' in job.args, needs_args=True), 1),
    (replace(ME, accepts=lambda job: job.result == "1", needs_result=True), 5_000),
]  # fmt: skip
OPEN = [
    (replace(ME, running=False), 500),
    (replace(ME, running=True), 0),
    (replace(ME, suspended=False), 500),
    (replace(ME, suspended=True), 0),
    (replace(ME, due=True), 500),
    (replace(ME, due=False), 0),
    (replace(ME, concurrency_key="k"), 0),
]


@pytest.mark.parametrize(("filters", "count"), EACH)
def test_a_filter(small: Floor, filters: JobFilters, count: int) -> None:
    assert len(everything(small.connection, filters, 1_000)) == count


@pytest.mark.parametrize(("filters", "count"), ENDED)
def test_a_filter_of_ended_jobs(small: Floor, filters: JobFilters, count: int) -> None:
    assert len(everything(small.connection, filters, 700, open_ones=False)) == count


@pytest.mark.parametrize(("filters", "count"), OPEN)
def test_a_filter_of_open_jobs(small: Floor, filters: JobFilters, count: int) -> None:
    assert len(everything(small.connection, filters, 70, ended=False)) == count


def test_running_jobs_are_found_by_their_index(small: Floor) -> None:
    small.do("update mill.queue set running = true, claim = id, node = id where id::text like '%%64'")
    found = everything(small.connection, replace(ME, running=True), 1, ended=False)
    assert len(found) == 2
    assert all(job.is_running for job in found)
    small.do("update mill.queue set running = false, claim = null, node = null")


def test_json_is_told_only_where_it_is_wanted(small: Floor) -> None:
    looked = replace(ME, accepts=lambda job: True, needs_args=True, needs_result=True)
    for filters, wanted in ((ME, False), (ME, True), (looked, False), (looked, True)):
        page = list_jobs(small.connection, "default", filters, Wanted(limit=3, args=wanted), open_ones=False)
        assert all((job.args is not None) is wanted and job.result is None for job in page.jobs)


def test_a_page_ends_where_its_budget_does(small: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """… and says where to go on, so that nothing is passed over."""
    monkeypatch.setattr(job_walks, "BUDGET", 300)
    filters = replace(ME, path=Words(("f/a/ten",)))
    told = list(pages(small.connection, filters, 50))
    assert sum(len(jobs) for jobs, _ in told) == 550
    assert len(told) > 15
    assert len({job.id for jobs, _ in told for job in jobs}) == 550
    nothing = list(pages(small.connection, replace(ME, tag=Words(("nope",))), 50, open_ones=False))
    assert sum(len(jobs) for jobs, _ in nothing) == 0
    assert len(nothing) == -(-5_000 // 350) + (5_000 % 350 == 0)


# -- a million ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(server: Server, template: str) -> Iterator[Floor]:
    with filled(server, template, MILLION, MILLION) as floor:
        yield floor


HARD = {
    "all": ME,
    "nothing matches": replace(ME, tag=Words(("nope",))),
    "nothing may be read": replace(ME, me="u/bob", readable=("f/b/%",)),
    "few match": replace(ME, path=Words(("f/a/ten",)), success=False),
    "of one parent": replace(ME, parent_job="8fffffff-ffff-7000-9000-000000000000"),
    "long ago": replace(ME, created_before=NOW - timedelta(seconds=1500)),
    "within": replace(ME, completed_after=NOW - timedelta(seconds=1500), completed_before=NOW - timedelta(seconds=1400)),
    "by arguments": replace(ME, accepts=lambda job: False, needs_args=True),
}  # fmt: skip
INDEXES = {
    "completed_job_listing": "workspace_completed_at_idx",
    "completed_job_children": "parent_job_step_iteration_idx",
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("table", ["open", "ended"])
def test_a_page_of_a_million_is_quick(large: Floor, table: str, name: str) -> None:
    """Below 40 ms on a quiet machine of two cores; the bound is for a busy one."""
    options = {"open_ones": table == "open", "ended": table == "ended"}
    took = []
    for _ in range(3):
        began = perf_counter()
        list_jobs(large.connection, "default", HARD[name], Wanted(limit=100), **options)
        took.append(perf_counter() - began)
    assert min(took) < 0.25


def explain(floor: Floor, name: str, values: dict[str, Any]) -> Plan:
    connection = floor.connection
    with connection.transaction(force_rollback=True):
        connection.execute(sql.plan_for_values)
        text = f"explain (analyze, buffers, timing off, format json) {sql[name]}"
        assert set(PLACEHOLDER.findall(text)) <= set(values)
        row = connection.execute(text.encode(), values).fetchone()
    assert row is not None
    return read_plan(row[0])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("table", ["open", "ended"])
def test_a_page_walks_an_index_and_no_further_than_its_budget(large: Floor, table: str, name: str) -> None:
    filters = HARD[name]
    place: job_walks.Walk = job_walks.OpenJobs(large.connection, "default", filters)
    statement = "list_open"
    if table == "ended":
        place, statement = job_walks.EndedJobs(large.connection, "default", filters, None), "list_completed"
    plan = explain(large, statement, place._place(Wanted(limit=100), BUDGET))  # type: ignore[attr-defined]
    # … and to the end of the batch that ended at the same moment.
    assert plan.rows <= BUDGET + 500
    assert plan.pages <= 3 * BUDGET
    scans = {node["Index Name"] for node in plan.nodes if node["Node Type"].endswith("Index Scan")}
    assert not any(node["Node Type"] == "Seq Scan" for node in plan.nodes)
    if table == "ended":
        assert all(scan.endswith(tuple(INDEXES.values())) for scan in scans)
    else:
        assert scans <= {"queue_pkey", "queue_children", "flow_run_pkey"}
