"""What is inside the loops and branches of a run, in counts. A real node runs them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mill_actors.flows.tally import Tally
from mill_actors.flows.version import FlowOptions
from mill_actors.store.connection import SETTINGS
from mill_actors.store.flow_versions import make_flow
from mill_actors.store.queries import sql
from tests.store.test_flow_status import ASKS, identity, loop, raw
from tests.store.test_plans import PLACEHOLDER, Plan, read_plan
from tests.system.engine import SECONDS, Engine, Gate
from tests.system.proxy import wait_until

FAILS = "def main(): raise ValueError('no')"
#: What a worker holds whole is written for the first time when a step of it is over.
FIRST = raw("first")


@pytest.fixture
def engine(shared_dsn: str, tmp_path: Path) -> Iterator[Engine]:
    with Engine(shared_dsn, tmp_path) as engine:
        yield engine


Run = Callable[..., str]


@pytest.fixture(params=[False, True], ids=["ordinary", "held whole"])
def run(request: pytest.FixtureRequest, engine: Engine) -> Run:
    """Submit a flow of these modules to a node that begins it."""

    def make(*modules: Any, ends: bool = True, **more: Any) -> str:
        path = f"f/tallies/flow_{uuid.uuid4().hex}"
        value = json.dumps({"modules": modules, **more}).encode()
        options = FlowOptions(dedicated=request.param)
        engine.client.deploy_flow(make_flow("default", path, value, options=options))
        engine.node(worker__dedicated=[path])
        job, future = engine.client.start(path)
        if ends:
            future.result(SECONDS)
        return job

    return make


def waits(step: str, gate: Gate, **options: Any) -> dict[str, Any]:
    """A script that stands before a gate."""
    return raw(step, f"def main():\n    open({gate.path!r}).close()", **options)


def test_approvals_and_pauses_inside_are_counted(run: Run, engine: Engine) -> None:
    job = run(
        loop("asks", raw("a", **ASKS), identity("b"), over=3, parallel=True),
        ends=False,
    )
    client = engine.client
    wait_until(lambda: client.flow_tallies(job).steps["b"].asking == 3, "all three ask", SECONDS)
    told = client.flow_tallies(job)
    assert told.steps["a"] == Tally(3, done=3)
    assert told.steps["b"] == Tally(3, asking=3)
    assert told.bodies["asks"] == Tally(3, running=3)
    body = client.flow_status(job)["modules"][0]["flow_jobs"][0]
    assert client.flow_tallies(body).bodies == {}
    client.cancel(job)


def test_a_long_pause_inside_is_told(run: Run, engine: Engine) -> None:
    pause = {"type": "static", "value": 3600}
    job = run(loop("l", identity("a", sleep=pause), identity("b"), over=[1]), ends=False)
    wait_until(
        lambda: engine.client.flow_tallies(job).steps["b"] == Tally(1, sleeping=1), "it sleeps", SECONDS
    )
    engine.client.cancel(job)


def test_what_runs_beside_each_other_and_what_is_to_come(run: Run, engine: Engine) -> None:
    """Iterations that are one plain script have no body, and in a flow that is held whole no row either."""
    gate = engine.gate()
    job = run(FIRST, loop("l", waits("x", gate), over=40, parallel=True, parallelism=2), ends=False)
    client = engine.client
    wait_until(lambda: client.flow_tallies(job).steps["x"].running == 2, "two run", SECONDS)
    assert client.flow_tallies(job).steps["x"] == Tally(40, running=2)
    assert client.flow_tallies(job).bodies["l"] == Tally(40, running=2)
    gate.open()
    wait_until(lambda: client.flow_tallies(job).steps["x"] == Tally(40, done=40), "all is done", SECONDS)


def test_the_branch_that_runs_is_told(run: Run, engine: Engine) -> None:
    gate = engine.gate()
    branches = [
        {"expr": "false", "modules": [identity("p")]},
        {"expr": "true", "modules": [waits("q", gate)]},
    ]
    either = {"id": "e", "value": {"type": "branchone", "branches": branches, "default": []}}
    job = run(FIRST, either, ends=False)
    client = engine.client
    wait_until(lambda: client.flow_tallies(job).steps["q"] == Tally(1, running=1), "it runs", SECONDS)
    assert client.flow_tallies(job).bodies == {"e.0": Tally(), "e.1": Tally(), "e.2": Tally(1, running=1)}
    gate.open()
    wait_until(lambda: client.flow_tallies(job).steps["q"] == Tally(1, done=1), "it is done", SECONDS)


def test_failed_tries_are_not_counted_and_failure_modules_are(run: Run, engine: Engine) -> None:
    tries = {"retry": {"constant": {"attempts": 2, "seconds": 0}}}
    job = run(
        loop("l", raw("x", FAILS, **tries), identity("y"), over=3, skip_failures=True),
        loop(
            "m", loop("n", raw("z", FAILS), over=2, skip_failures=False), over=1, skip_failures=True, **tries
        ),
        failure_module=raw("failure"),
    )
    told = engine.client.flow_tallies(job)
    assert (told.steps["x"], told.steps["y"]) == (Tally(3, failed=3), Tally(3))
    assert told.bodies["l"] == Tally(3, failed=3)
    assert (told.steps["z"], told.bodies["n"]) == (Tally(1, failed=1), Tally(1, failed=1))
    assert told.steps["failure"] == Tally(4, done=4)


def test_a_nested_flow_is_one_step_whatever_its_steps_are_called(run: Run, engine: Engine) -> None:
    inner = json.dumps({"modules": [loop("l", identity("a"), identity("f"), over=5)]}).encode()
    engine.client.deploy_flow(make_flow("default", "f/tallies/nested", inner))
    nested = {"type": "flow", "path": "f/tallies/nested", "input_transforms": {}}
    job = run(loop("l", identity("a"), {"id": "f", "value": nested}, over=2))
    told = engine.client.flow_tallies(job)
    assert (told.steps["a"], told.steps["f"]) == (Tally(2, done=2), Tally(2, done=2))


def test_runs_of_a_loop_without_iterations_are_told_beside(run: Run, engine: Engine) -> None:
    inner = loop("m", identity("a"), identity("b"), over=[])
    inner["value"]["iterator"] = {"type": "javascript", "expr": "flow_input.iter.value"}
    job = run(loop("l", {**inner, "skip_if": {"expr": "flow_input.iter.index == 2"}}, over=[[1, 2], [], [3]]))
    told = engine.client.flow_tallies(job)
    assert (told.steps["m"], told.bodies["m"]) == (Tally(3, done=1, skipped=1), Tally(2, done=2))
    assert (told.steps["b"], told.bodies["l"]) == (Tally(2, done=2), Tally(3, done=3))


def test_iterations_from_before_a_restart_count(engine: Engine) -> None:
    engine.node()
    path = f"f/tallies/flow_{uuid.uuid4().hex}"
    value = json.dumps({"modules": [loop("l", identity("a"), identity("b"), over=5)]}).encode()
    engine.client.deploy_flow(make_flow("default", path, value))
    job, future = engine.client.start(path)
    future.result(SECONDS)
    again = engine.client.restart(job, "l", 3)
    engine.client.expect(again).result(SECONDS)
    told = engine.client.flow_tallies(again)
    # What is inside an iteration is found below the run it was in.
    assert (told.bodies["l"], told.steps["a"]) == (Tally(5, done=5), Tally(5, done=2))


# ---------------------------------------------------------------- plans

ITERATIONS = 20_000
STRANGERS = 100_000
ROWS = """
insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at,
  scheduled_for, completed_at, args, result, created_by, worker, attempt, rescues, parent_job, step,
  iteration, is_flow)
select (%(ids)s || lpad(to_hex(n), 12, '0'))::uuid, 'default', 'f/a/b', 'x', 't', 0,
  case when n %% 100 = 7 then 'failure' else 'success' end, now(), now(), now(), '{}', '1', 'u/a', 'w', 1, 0,
  coalesce(%(parent)s::uuid, (%(parents)s::text || lpad(to_hex(n), 12, '0'))::uuid), %(step)s,
  case when %(is_flow)s then n end, %(is_flow)s
from generate_series(0, %(count)s - 1) n
"""
BODIES = "00000000-0000-7000-8001-"


def explained(engine: Engine, name: str, job: str, mode: str) -> Plan:
    """Explain one of the statements, in a session as the client's are."""
    text: str = sql[name]
    names = list(dict.fromkeys(PLACEHOLDER.findall(text)))
    for place, each in enumerate(names, 1):
        text = text.replace(f"%({each})s", f"${place}")
    found = engine.client.flow_job(job)
    given = {"owners": ["l"], "branching": [], "steps": ["failure", "l", "x", "y"], "choices": []}
    values = {"job": job, "since": found.since, "until": found.until, **given}
    with psycopg.connect(engine.dsn, autocommit=True) as connection:
        connection.execute(SETTINGS)
        connection.execute(f"set plan_cache_mode = {mode}".encode())
        connection.execute(f"prepare counting as {text}".encode())
        told = ", ".join(psycopg.sql.Literal(values[name]).as_string(connection) for name in names)
        row = connection.execute(
            f"explain (analyze, buffers, timing off, format json) execute counting({told})".encode()
        ).fetchone()
    assert row is not None
    return read_plan(row[0])


def indexes(plan: Plan) -> set[str]:
    """Return how tables are read, without the names of partitions."""
    read = {n.get("Index Name") or n["Node Type"] for n in plan.nodes if "Relation Name" in n}
    return {name.partition("_parent_job_step_")[1] or name for name in read}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("analyzed", [False, True], ids=["taken for empty", "analyzed"])
def test_a_loop_of_many_iterations_is_read_by_its_index(analyzed: bool, dsn: str, tmp_path: Path) -> None:
    """A row of each of its iterations' steps, each found by its parent: history beside it is not read."""
    with Engine(dsn, tmp_path) as engine:
        value = json.dumps({"modules": [loop("l", raw("x"), identity("y"), over=1)]}).encode()
        engine.client.deploy_flow(make_flow("default", "f/tallies/long", value))
        job = engine.client.submit("f/tallies/long", scheduled_in_seconds=3600.0)
        engine.client.cancel(job)
        for ids, parents, step, count in [
            (BODIES, None, "l", ITERATIONS),
            ("00000000-0000-7000-8002-", BODIES, "x", ITERATIONS),
            ("00000000-0000-7000-8003-", BODIES, "y", ITERATIONS),
            ("00000000-0000-7000-8004-", "11111111-1111-7111-8111-", "x", STRANGERS),
        ]:
            told = {"ids": ids, "parents": parents, "step": step, "count": count}
            engine.look.execute(ROWS, {**told, "is_flow": step == "l", "parent": None if parents else job})
        if analyzed:
            engine.look.execute("analyze mill.completed_job")
        ending = Tally(ITERATIONS, done=ITERATIONS * 99 // 100, failed=ITERATIONS // 100)
        found = engine.client.flow_tallies(job)
        assert (found.bodies["l"], found.steps["x"], found.steps["y"]) == (ending, ending, ending)
        for mode in ("force_custom_plan", "force_generic_plan"):
            plan = explained(engine, "flow_ended_inside", job, mode)
            assert indexes(plan) == {"_parent_job_step_", "flow_run_pkey", "flow_run_of_root"}
            # The rows there are, and the way down to them.
            assert plan.pages < 20 * 3 * ITERATIONS
            assert plan.rows <= 3 * ITERATIONS
            plan = explained(engine, "flow_queued_inside", job, mode)
            assert indexes(plan) == {"queue_children", "flow_run_pkey", "flow_run_of_root"}
            plan = explained(engine, "flow_runs_inside", job, mode)
            assert indexes(plan) == {"flow_run_pkey", "flow_run_of_root"}
