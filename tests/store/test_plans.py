"""Plans: with 1,000,000 jobs queued and 1,000,000 scheduled for later, every hot statement touches a
bounded number of pages, whatever the statistics say.

Statistics are wrong at the worst moment: a queue that ran empty was vacuumed then, so the planner
takes it for empty while a burst fills it, and a prepared statement keeps the plan of that time. So each
statement is explained in four ways: with the plan that was made while the queue was empty, with plans
made now from the old statistics, and with plans made from fresh ones; at last the claim once more,
after 200,000 claims and no vacuum.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from msgspec import Struct

from mill_actors.ids import new_id
from mill_actors.store.arrays import literal
from mill_actors.store.claims import MAX_CLAIM_BYTES
from mill_actors.store.connection import Connection
from mill_actors.store.queries import sql
from tests.fix_db import Server
from tests.store.floor import TAG, Floor, Hand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MILLION = 1_000_000
BATCH = 500
CLAIMED = 200_000
PLACEHOLDER = re.compile(r"%\((\w+)\)s")

FILL = """
insert into mill.queue (id, workspace, path, script, tag, scheduled_for, args, args_bytes, created_by)
select ('00000000-0000-7000-' || %s || '-' || lpad(to_hex(i), 12, '0'))::uuid, 'default', 'f/a/b',
  '0123456789abcdef', 'python3', now() + interval '1 second' * %s + interval '1 millisecond' * i, '{"x": 1}',
  8, 'u/admin'
from generate_series(1, %s) i
"""

#: Pages for a batch: the rows, their old and new versions, three or four indexes, on the way down.
A_BATCH = 30 * BATCH
A_ROW = 120

BOUNDS = {
    "claim_jobs": A_BATCH, "claim_one": A_ROW, "next_due": A_ROW, "claimed_jobs": A_BATCH, "held_jobs": A_BATCH,
    "release_jobs": A_BATCH, "retry_jobs": A_BATCH, "finish_jobs": A_BATCH, "await_job": A_ROW,
    "cancel_job": A_ROW, "get_job": A_ROW, "beat": A_ROW, "expire_jobs": A_ROW,
    "admissions_wait": A_ROW, "keys_to_admit": A_ROW, "admit_jobs": A_ROW, "rescue_jobs": A_BATCH,
    "lose_jobs": A_ROW, "orphaned_nodes": A_BATCH, "free_slots": A_BATCH, "cancel_requested": A_BATCH,
}  # fmt: skip
#: Taken for empty, a batch of retries is joined with itself: 32 ms for 500, and never more than a batch.
SQUARES = {"retry_jobs"}
WAYS = ["made when it was empty", "old statistics, custom", "old statistics, generic", "custom", "generic"]


class Plan(Struct):
    """What EXPLAIN ANALYZE told of one execution."""

    nodes: list[dict[str, Any]]
    milliseconds: float

    @property
    def pages(self) -> int:
        """How many pages all nodes have touched, each itself."""
        return sum(node["own pages"] for node in self.nodes)

    @property
    def rows(self) -> int:
        """The most rows that any node has seen."""
        return max(
            int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
            for node in self.nodes
        )

    def scans(self, relation: str) -> set[str]:
        """Return how a table is read: an index's name, or the kind of scan."""
        found = {
            node.get("Index Name") or node["Node Type"]
            for node in self.nodes
            if node.get("Relation Name") == relation and node["Node Type"].endswith("Scan")
        }
        bitmaps = {node["Index Name"] for node in self.nodes if node["Node Type"] == "Bitmap Index Scan"}
        return (found - {"Bitmap Heap Scan"}) | {name for name in bitmaps if name.startswith(relation)}


def read_plan(told: list[dict[str, Any]]) -> Plan:
    nodes: list[dict[str, Any]] = []

    def pages(node: dict[str, Any]) -> int:
        return int(node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0))

    def walk(node: dict[str, Any]) -> None:
        below = node.pop("Plans", [])
        # Pages are told with those of the nodes below; and a CTE's with whoever asks it first, too.
        own = max(0, pages(node) - sum(pages(child) for child in below))
        nodes.append({**node, "own pages": 0 if node["Node Type"] == "CTE Scan" else own})
        for child in below:
            walk(child)

    walk(told[0]["Plan"])
    return Plan(nodes, told[0]["Execution Time"])


class Desk:
    """A session in which every statement is prepared, with one way of planning."""

    def __init__(self, connection: Connection, mode: str) -> None:
        self.connection = connection
        connection.execute(f"set plan_cache_mode = {mode}".encode())
        self._names: dict[str, list[str]] = {}
        for name in BOUNDS:
            text: str = sql["claim_jobs" if name == "claim_one" else name]
            names = list(dict.fromkeys(PLACEHOLDER.findall(text)))
            for place, placeholder in enumerate(names, 1):
                text = text.replace(f"%({placeholder})s", f"${place}")
            text = text.replace("%%", "%")
            connection.execute(f"prepare {name} as {text}".encode())
            self._names[name] = names

    def _call(self, name: str, values: dict[str, Any]) -> str:
        given = [psycopg.sql.Literal(values[n]).as_string(self.connection) for n in self._names[name]]
        return f"execute {name}" + (f"({', '.join(given)})" if given else "")

    def run(self, name: str, values: dict[str, Any]) -> None:
        with self.connection.transaction(force_rollback=True):
            self.connection.execute(self._call(name, values).encode())

    def explain(self, name: str, values: dict[str, Any]) -> Plan:
        with self.connection.transaction(force_rollback=True):
            row = self.connection.execute(
                f"explain (analyze, buffers, timing off, format json) {self._call(name, values)}".encode()
            ).fetchone()
        assert row is not None
        return read_plan(row[0] if isinstance(row[0], list) else json.loads(row[0]))


def values_for(hand: Hand, jobs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the parameters of all statements: they name the jobs that the hand holds."""
    ids, claims = [job[0] for job in jobs], [job[1] for job in jobs]
    count = len(jobs)
    return {
        "tags": literal([TAG]), "limit": BATCH, "max_bytes": MAX_CLAIM_BYTES, "worker": "w1", "now": None,
        "node": hand.node, "claim": claims[0] if claims else new_id(), "ids": literal(ids),
        "claims": literal(claims), "id": ids[0] if ids else new_id(), "workspace": "default",
        "statuses": literal(["success"] * count), "results": literal(["1"] * count),
        "errors": literal(["1"] * count), "durations_us": literal(["1"] * count),
        "ages_us": literal(["1"] * count), "delays_seconds": literal(["1"] * count), "force": False,
        "cancelled_by": "u/ann", "reason": None, "result": "null", "max_rescues": 3, "lost": "null",
        "cancelled": "null", "workspaces": literal(["default"]), "keys": literal(["k"]), "ran": True,
    }  # fmt: skip


class Report(Struct):
    """All plans, by way and statement; and those of the claim after many claims."""

    plans: dict[tuple[str, str], Plan]
    tired: dict[str, Plan]


@contextmanager
def a_database(server: Server, template: str) -> Iterator[Floor]:
    with server.database(template) as dsn, Floor(dsn) as floor:
        yield floor


@pytest.fixture(scope="module")
def report(server: Server, template: str) -> Iterator[Report]:
    with a_database(server, template) as floor:
        yield explain_everything(floor)


def prepared(floor: Floor, mode: str) -> Desk:
    """Return a desk whose plans are made now, with nobody's jobs."""
    desk, values = Desk(floor.connect(), mode), values_for(floor.hand(), [])
    for name in BOUNDS:
        desk.run(name, values)
    return desk


def held(hand: Hand) -> dict[str, Any]:
    """Claim a batch, and return the parameters that name it."""
    rows = [(job.id, job.claim) for job in hand.claim(BATCH)]
    assert len(rows) == BATCH
    return values_for(hand, rows)


def explain_all(desk: Desk, values: dict[str, Any]) -> dict[str, Plan]:
    return {
        name: desk.explain(name, values | ({"limit": 1} if name == "claim_one" else {})) for name in BOUNDS
    }


def explain_everything(floor: Floor) -> Report:
    plans: dict[tuple[str, str], Plan] = {}
    floor.do("alter table mill.queue set (autovacuum_enabled = off)")
    # A queue that was used and has run empty, and was vacuumed then: its pages are there, its rows are not.
    floor.do(FILL, "a000", 0, 20_000)
    floor.do("delete from mill.queue")
    floor.do("vacuum (analyze, truncate false) mill.queue")
    old = prepared(floor, "force_generic_plan")
    floor.do(FILL, "8000", -3600, MILLION)
    floor.do(FILL, "9000", 3600, MILLION)
    hand = floor.hand()
    values = held(hand)

    def explain(way: str, desk: Desk) -> None:
        plans.update({(way, name): plan for name, plan in explain_all(desk, values).items()})

    explain(WAYS[0], old)
    explain(WAYS[1], Desk(floor.connect(), "force_custom_plan"))
    explain(WAYS[2], Desk(floor.connect(), "force_generic_plan"))
    floor.do("analyze mill.queue")
    fresh = {way: Desk(floor.connect(), f"force_{way}_plan") for way in ("custom", "generic")}
    for way, desk in fresh.items():
        explain(way, desk)
    claimed = 0
    while claimed < CLAIMED:
        claimed += len(hand.claim(20_000))
    tired = {}
    for way, desk in fresh.items():
        # Twice: the first to pass marks the dead entries of the index.
        desk.explain("claim_one", values | {"limit": 1})
        for name, limit in (("claim_one", 1), ("claim_jobs", BATCH)):
            tired[f"{name}, {way}"] = desk.explain(name, values | {"limit": limit})
    return Report(plans, tired)


def is_bounded(name: str, plan: Plan) -> None:
    assert "Seq Scan" not in plan.scans("queue")
    assert plan.pages <= BOUNDS[name]
    # Nothing is sorted or filtered that would grow with what waits. (Dead versions count too.)
    assert plan.rows <= (BATCH**2 if name in SQUARES else 3 * BATCH)


@pytest.mark.parametrize("vacuumed", [False, True], ids=["never vacuumed", "vacuumed"])
def test_plans_of_a_new_database_hold_for_the_first_burst(own_floor: Floor, vacuumed: bool) -> None:
    """Nothing is cheaper to scan than a table without a page; and a prepared statement keeps its plan."""
    own_floor.do("alter table mill.queue set (autovacuum_enabled = off)")
    if vacuumed:
        own_floor.do("vacuum analyze mill.queue")
    old = prepared(own_floor, "force_generic_plan")
    own_floor.do(FILL, "8000", -3600, 50_000)
    for name, plan in explain_all(old, held(own_floor.hand())).items():
        is_bounded(name, plan)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BOUNDS)
def test_a_bounded_number_of_pages(report: Report, name: str, way: str) -> None:
    is_bounded(name, report.plans[way, name])


@pytest.mark.parametrize("way", WAYS)
def test_the_claim_goes_by_its_index(report: Report, way: str) -> None:
    assert report.plans[way, "claim_jobs"].scans("queue") == {"queue_claimable", "Tid Scan"}
    assert report.plans[way, "claim_one"].scans("queue") == {"queue_claimable", "Tid Scan"}
    assert report.plans[way, "next_due"].scans("queue") == {"queue_claimable"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["finish_jobs", "retry_jobs", "release_jobs", "cancel_job", "get_job", "await_job", "cancel_requested"]
)  # fmt: skip
def test_settling_goes_by_the_primary_key(report: Report, name: str, way: str) -> None:
    assert report.plans[way, name].scans("queue") == {"queue_pkey"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["held_jobs", "claimed_jobs", "rescue_jobs"])
def test_what_a_node_holds_goes_by_its_index(report: Report, name: str, way: str) -> None:
    assert report.plans[way, name].scans("queue") <= {"queue_held", "queue_pkey"}
    assert "queue_held" in report.plans[way, name].scans("queue")


def test_after_200_000_claims_and_no_vacuum_a_claim_walks_the_index_once(report: Report) -> None:
    """Entries of what was claimed lie in front of what waits, about 79 to a page."""
    walked = CLAIMED // 60
    for name, plan in report.tired.items():
        assert plan.scans("queue") == {"queue_claimable", "Tid Scan"}
        assert plan.pages <= walked + (A_ROW if name.startswith("claim_one") else A_BATCH)
