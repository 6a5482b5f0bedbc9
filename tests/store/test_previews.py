"""Versions that no path means, and how long they stay."""

from __future__ import annotations

import psycopg
import pytest

from mill_actors.jobs.script import is_preview, make_script
from mill_actors.store.flow_versions import FlowText, make_flow
from mill_actors.store.maintenance import prune
from mill_actors.store.previews import put_preview
from mill_actors.store.scripts import deploy_script
from tests.store.floor import Floor

VALUE = b'{"modules":[{"id":"a","value":{"type":"rawscript","language":"python3","content":"x"}}]}'


@pytest.fixture
def floor(own_floor: Floor) -> Floor:
    return own_floor


def script_of(floor: Floor, content: str = "x") -> str:
    script = make_script("default", "f/a/b", "python3", content, preview=True)
    put_preview(floor.connection, script, "u/admin")
    return script.hash


def flow_of(floor: Floor) -> FlowText:
    flow = make_flow("default", "f/a/b", VALUE, preview=True)
    put_preview(floor.connection, flow, "u/admin")
    return flow


def age(floor: Floor, days: int) -> None:
    for table in ("script", "flow"):
        floor.do(f"update mill.{table} set created_at = now() - make_interval(days => %s)", days)


def left(floor: Floor) -> set[str]:
    rows = floor.rows("select hash from mill.script union all select hash from mill.flow")
    return {row[0] for row in rows if is_preview(row[0])}


def test_a_preview_is_another_version_than_what_is_deployed() -> None:
    deployed, preview = (make_script("default", "f/a/b", "python3", "x", preview=p) for p in (False, True))
    assert deployed.hash[1:] == preview.hash[1:]
    assert (is_preview(deployed.hash), is_preview(preview.hash)) == (False, True)


def test_no_path_can_mean_a_preview(floor: Floor) -> None:
    script = make_script("default", "f/a/b", "python3", "x", preview=True)
    with pytest.raises(psycopg.errors.CheckViolation):
        deploy_script(floor.connection, script, "u/admin")


def test_what_nobody_runs_any_more_goes_with_history(floor: Floor) -> None:
    script_of(floor)
    flow_of(floor)
    assert len(left(floor)) == 3  # the flow's step has code too
    age(floor, 30)
    assert prune(floor.connection, 30, 7).previews_dropped == 0
    age(floor, 32)
    assert prune(floor.connection, 30, 7).previews_dropped == 3
    assert left(floor) == set()


def test_what_is_deployed_stays(floor: Floor) -> None:
    floor.deploy("f/a/b", content="other")
    age(floor, 1000)
    prune(floor.connection, 30, 7)
    assert floor.value("select count(*) from mill.script") >= 1


def test_what_runs_again_is_kept_anew(floor: Floor) -> None:
    script_of(floor)
    age(floor, 32)
    kept = script_of(floor)
    prune(floor.connection, 30, 7)
    assert left(floor) == {kept}


def test_what_an_open_job_needs_stays(floor: Floor) -> None:
    kept, other = script_of(floor), script_of(floor, "y")
    floor.submit(path="f/a/b", hash=kept, kind="script")
    floor.do("update mill.queue set submitted_at = now() - interval '40 days'")
    age(floor, 40)
    prune(floor.connection, 30, 7)
    assert left(floor) == {kept}
    assert other not in left(floor)


def test_an_open_flow_keeps_the_code_of_its_steps(floor: Floor) -> None:
    flow = flow_of(floor)
    floor.submit(path="f/a/b", hash=flow.hash, kind="flow")
    floor.do("update mill.queue set submitted_at = now() - interval '40 days'")
    age(floor, 40)
    prune(floor.connection, 30, 7)
    assert len(left(floor)) == 2
