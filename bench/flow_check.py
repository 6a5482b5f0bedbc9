"""What must be in history after flows have run: each step once, after the one before, with its result."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from bench.flow_scripts import APART, number_of
from bench.server import Link
from mill_actors.store.flow_versions import FlowText, compiled

#: Two backends' `now()` and our monotonic clock; and how long a process may wait for a core between
#: reading one and the other.
TOLERANCE_SECONDS = 0.001
LONGEST_TOLERANCE_SECONDS = 0.1
#: The share of steps for which the longer of them is needed, at the most.
MOST_SLOW = 0.01

_FLOWS = """
select count(*), count(distinct id), count(distinct args->>'number'),
  count(*) filter (where status = 'success' and attempt = 1 and rescues = 0
                     and parent_job is null and is_flow),
  count(*) filter (where (result->>'number')::bigint = (args->>'number')::bigint + %(steps)s),
  count(*) filter (where (args->>'number')::bigint between %(first)s and %(last)s
                     and ((args->>'number')::bigint - %(first)s) %% %(apart)s = 0),
  count(*) filter (where started_at is not null and duration_us is not null and worker is not null)
from mill.completed_job where path = %(path)s and script = %(flow)s
"""

_STEPS = """
with step as (
  select c.*, (f.args->>'number')::bigint as given, f.completed_at as ended_at,
    substr(c.step, 2)::int as place
  from mill.completed_job c
  join mill.completed_job f on f.id = c.parent_job
  where f.path = %(path)s and f.script = %(flow)s
)
select count(*), count(distinct id), count(distinct (parent_job, place)),
  count(*) filter (where status = 'success' and attempt = 1 and rescues = 0 and not is_flow
                     and iteration is null and place between 0 and %(steps)s - 1),
  count(*) filter (where script = (%(scripts)s::text[])[place + 1]),
  count(*) filter (where (args->'before'->>'number')::bigint = given + place),
  count(*) filter (where result::text = format('{"ok":true,"number":%%s}', given + place + 1)),
  count(*) filter (where started_at is not null and duration_us is not null and worker is not null
                     and completed_at <= ended_at)
from step
"""

_ORDER = """
with step as (
  select c.parent_job, c.started_at, c.completed_at,
    lag(c.completed_at) over whole as before_at,
    lag(c.started_at + make_interval(secs => c.duration_us * 1e-6)) over whole as before_over
  from mill.completed_job c
  join mill.completed_job f on f.id = c.parent_job
  where f.path = %(path)s and f.script = %(flow)s
  window whole as (partition by c.parent_job order by substr(c.step, 2)::int)
), gap as (
  select extract(epoch from started_at - before_at)::float8 as durable,
    extract(epoch from started_at - before_over)::float8 as over
  from step where before_at is not null
)
select count(*), count(*) filter (where durable < -%(short)s), coalesce(min(durable), 0),
  count(*) filter (where over < -%(short)s), coalesce(min(over), 0),
  (select count(distinct (parent_job, completed_at)) from step)
from gap
"""


_LONG = """
with flow as (
  select id, (args->>'number')::bigint as given from mill.completed_job
  where path = %(path)s and script = %(flow)s and status = 'success'
), step as (
  select c.*, f.given, substr(c.step, 2)::int as place,
    extract(epoch from c.started_at - lag(c.completed_at) over (
      partition by c.parent_job order by substr(c.step, 2)::int))::float8 as gap
  from mill.completed_job c join flow f on f.id = c.parent_job
)
select (select count(*) from flow),
  count(*) filter (where gap < -%(short)s), coalesce(min(gap), 0),
  count(*), count(distinct id), count(distinct (parent_job, place)),
  count(*) filter (where status = 'success' and attempt = 1 and not is_flow and iteration is null),
  count(*) filter (where (args->>'first')::bigint = given + (place > 0)::int
                     and (args->>'before')::bigint = given + place),
  count(*) filter (where (result->>'first')::bigint = given + (place > 0)::int
                     and (result->>'number')::bigint = given + place + 1)
from step
"""

_LOOPS = """
with flow as (
  select * from mill.completed_job
  where path = %(path)s and script = %(flow)s and (%(id)s::uuid is null or id = %(id)s::uuid)
), job as (
  select c.*, extract(epoch from c.started_at
      - lag(c.completed_at) over (partition by c.parent_job order by c.iteration))::float8 as gap
  from mill.completed_job c join flow f on f.id = c.parent_job
  where c.step = 'l' and not c.is_flow
), told as (
  -- The loop is the last step: the flow's result is what it says of each iteration.
  select f.id as parent_job, (r.place - 1)::int as iteration, r.value::text
  from flow f, json_array_elements(f.result) with ordinality as r (value, place)
)
select (select count(*) from flow),
  count(*) filter (where gap < -%(short)s), coalesce(min(gap), 0),
  count(*), count(distinct id), count(distinct (parent_job, iteration)),
  count(*) filter (where status = 'success' and attempt = 1),
  count(*) filter (where value = result::text),
  count(*) filter (where started_at is not null and worker is not null and completed_at >= started_at)
from job left join told using (parent_job, iteration)
"""


def verify_chains(link: Link, flow: FlowText, flows: int) -> None:
    """Raise unless every flow of no-op steps is in history with its result, and all its steps are.

    Each step once, with an id, arguments and a result of its own, and it began when the one before was
    over; with durability by step, when that one was durable.
    """
    scripts = [script.hash for script in compiled(flow).inline_scripts()]
    steps = len(scripts)
    told = {
        "path": flow.path,
        "flow": flow.hash,
        "steps": steps,
        "scripts": scripts,
        "first": number_of(0),
        "last": number_of(flows - 1),
        "apart": APART,
        "short": TOLERANCE_SECONDS,
    }
    names: tuple[str, ...] = ("rows", "ids", "numbers", "successes", "results", "arguments", "times")
    _all_are(flows, "flows", names, link.execute(_FLOWS, told).fetchone())
    names = ("rows", "ids", "places", "successes", "scripts", "arguments", "results", "times")
    _all_are(flows * steps, "steps", names, link.execute(_STEPS, told).fetchone())
    row = link.execute(_ORDER, told).fetchone()
    assert row is not None
    pairs, undurable, least_durable, early, least, writes = row
    assert pairs == flows * (steps - 1)
    _few(early, least, pairs, "began before the one before was over")
    if flow.options.durability == "step":
        _few(undurable, least_durable, pairs, "began before the one before was durable")
    elif flow.options.dedicated:
        # Written once, at the end: which also shows that the check above can tell.
        assert writes == flows, f"{flows} flows of durability flow were written {writes} times"
        assert undurable > pairs / 2, "flows of durability flow look as if each step had been written"
    verify_rest(link)


def verify_growth(link: Link, flow: FlowText, flows: int, steps: int) -> None:
    """Raise unless each flow of a `long_chain` has all its steps, and each read the first result."""
    row = link.execute(_LONG, {"path": flow.path, "flow": flow.hash, "short": TOLERANCE_SECONDS}).fetchone()
    assert row is not None
    found, early, least, *counts = row
    assert found == flows, f"{found} runs of {flow.path} are in history, not {flows}"
    names = ("rows", "ids", "places", "successes", "arguments", "results")
    _all_are(flows * steps, f"steps of {flow.path}", names, tuple(counts))
    _few(early, least, counts[0], "began before the one before was durable")


def verify_rest(link: Link) -> None:
    """Raise unless nothing is left of what ran, and nothing was tried twice."""
    left = {
        "rows in queue": link.scalar("select count(*) from mill.queue"),
        "open flows": link.scalar("select count(*) from mill.flow_run"),
        "items": link.scalar("select count(*) from mill.flow_item"),
        "attempts": link.scalar("select count(*) from mill.job_attempt"),
        "not successful": link.scalar("select count(*) from mill.completed_job where status <> 'success'"),
        "rescued": link.scalar("select count(*) from mill.completed_job where rescues > 0 or attempt > 1"),
    }
    assert not any(left.values()), f"of this nothing should be there: {left}"


def verify_loop(
    link: Link, flow: FlowText, *, iterations: int, in_order: bool = True, flow_id: str | None = None
) -> None:
    """Raise unless a loop's runs, or one of them, have each iteration's job once, with what it returned.

    In order: none of them began before the one before was durable.
    """
    told = {"path": flow.path, "flow": flow.hash, "id": flow_id, "short": TOLERANCE_SECONDS}
    row = link.execute(_LOOPS, told).fetchone()
    assert row is not None
    flows, early, least, *counts = row
    assert flows > 0, f"no run of {flow.path}"
    names = ("jobs", "ids", "places", "successes", "results", "times")
    _all_are(flows * iterations, f"iterations of {flow.path}", names, tuple(counts))
    if in_order:
        _few(early, least, counts[0], "of a loop began before the iteration before was durable")


def settle_flows(link: Link) -> None:
    """Begin alike, as `drain` does: statistics fresh, no dead rows, nothing left to write."""
    for table in ("queue", "completed_job", "flow_run"):
        link.execute(sql.SQL("vacuum (analyze) mill.{}").format(sql.Identifier(table)))
    link.execute("checkpoint")


def _all_are(count: int, what: str, names: tuple[str, ...], row: tuple[Any, ...] | None) -> None:
    assert row is not None
    told = dict(zip(names, row, strict=True))
    assert all(value == count for value in row), f"{count} {what} should have come to as many of each: {told}"


def _few(early: int, least: float, pairs: int, what: str) -> None:
    assert least >= -LONGEST_TOLERANCE_SECONDS, f"a step {what}, by {-least * 1000:.3f} ms"
    assert early <= pairs * MOST_SLOW, f"{early} of {pairs} steps {what}, by up to {-least * 1000:.3f} ms"
