"""npm's `windmill-client` inside jobs that Bun runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import HELLO
from tests.clients.conftest import Desk
from tests.clients.test_wmill import DOUBLE, code

INSIDE = Path(__file__).with_name("f") / "inside.ts"


@pytest.fixture(scope="module", autouse=True)
def hashes(desk: Desk, packages: Path) -> dict[str, str]:
    """Scripts and flows, and the scripts' hashes; the packages lie where jobs' code looks for them."""
    (desk.folder / "node_modules").symlink_to(packages)
    desk.flow("f/c/doubles", {"id": "a", "value": code(DOUBLE, x="flow_input.x")})
    return {
        "hello": desk.api.script("f/c/hello", HELLO),
        "fails": desk.api.script("f/c/fails", "def main():\n    raise ValueError('no luck')\n"),
        "inside": desk.api.script("f/c/inside", INSIDE.read_text(), "bun"),
    }


def inside(desk: Desk, name: str, /, **args: Any) -> Any:
    """Run a function of f/inside.ts as a job."""
    return desk.run("f/c/inside", _ENTRYPOINT_OVERRIDE=name, **args)


def test_each_job_knows_itself_and_sends_its_own_token(desk: Desk) -> None:
    """A process outlives its jobs, and a job's token does not: the client's was found at its import."""
    told = [desk.run("f/c/inside") for _ in range(2)]
    jobs = [each.pop("job") for each in told]
    assert jobs[0] != jobs[1]
    assert all(desk.api.store.job(job).path == "f/c/inside" for job in jobs)
    assert told == 2 * [
        {"workspace": "default", "email": "admin@localhost", "username": "admin", "raw": "QueuedJob"}
    ]


LATE = """
export async function main() {
  const wmill = await import("windmill-client");
  return [wmill.OpenAPI.TOKEN === process.env.WM_TOKEN, (await wmill.UserService.globalWhoami()).email];
}
"""


def test_so_it_does_when_the_client_is_imported_in_a_job(desk: Desk) -> None:
    desk.api.script("f/c/late", LATE, "bun")
    assert [desk.run("f/c/late") for _ in range(3)] == [[True, "admin@localhost"]] * 3


def test_a_job_starts_others(desk: Desk, hashes: dict[str, str]) -> None:
    told = inside(desk, "children", path="f/c/hello", digest=hashes["hello"], flow="f/c/doubles")
    assert told == {
        "waited": ["Hello a", "Hello b", "Hello c", {"double": 2}],
        "parents": [True, True, True, False],
        "roots": told["roots"],
        "byPath": "Hello d",
        "byHash": "Hello e",
        "deprecated": "Hello f",
        "flow": {"double": 8},
    }


def test_a_failure_and_a_path_that_means_nothing(desk: Desk) -> None:
    assert "no luck" in inside(desk, "fails", path="f/c/fails")
    assert 400 <= inside(desk, "missing") < 500


def test_variables_and_resources(desk: Desk) -> None:
    told = inside(desk, "values")
    assert "u/admin/nothing" in told.pop("refused")
    resource = {"key": "hush", "more": [1, None]}
    assert told == {
        "plain": "two",
        "secret": "hush",
        "resource": resource,
        "prefixed": resource,
        "nothing": "nothing",
    }


def test_states(desk: Desk) -> None:
    first = {"before": None, "after": {"seen": 2}, "elsewhere": "elsewhere"}
    assert inside(desk, "states") == first
    assert inside(desk, "states") == {**first, "before": {"seen": 2}}


def later(desk: Desk) -> str:
    """A job that waits for its time."""
    return desk.api.post("jobs/run/p/f/c/hello", params={"scheduled_in_secs": 3600}, json={}).text


def test_progress(desk: Desk) -> None:
    assert inside(desk, "progress", other=later(desk)) == [None, 33, 66]


def test_a_job_is_cancelled(desk: Desk) -> None:
    assert "no longer wanted" in inside(desk, "cancels", job=later(desk))


def test_an_address(desk: Desk) -> None:
    assert inside(desk, "address") == "admin@localhost"


def test_what_is_missing_says_so(desk: Desk) -> None:
    for name, told in inside(desk, "refused").items():
        assert "not run here" in told or "unsupported" in told, name


KEEPS = """
import * as wmill from "windmill-client";
export async function main(x: number) {
  await wmill.setFlowUserState("seen", { x }, true);
  return [await wmill.getFlowUserState("seen"), await wmill.getFlowUserState("nothing")];
}
"""
READS = """
import * as wmill from "windmill-client";
export async function main() {
  await wmill.setState(process.env.WM_STATE_PATH);
  return [await wmill.getFlowUserState("seen"), await wmill.getRootJobId(), await wmill.getState()];
}
"""
ASKS = """
import * as wmill from "windmill-client";
export async function main() {
  return wmill.getResumeUrls("Ada", true);
}
"""


def typescript(content: str, **inputs: str) -> dict[str, Any]:
    return {**code(content, **inputs), "language": "bun"}


def test_steps_of_a_flow_share_values_and_ask(desk: Desk) -> None:
    asks = {"id": "c", "value": typescript(ASKS), "suspend": {"required_events": 1}}
    gather = "def main(**args):\n    return args\n"
    desk.flow(
        "f/c/typed",
        {"id": "a", "value": typescript(KEEPS, x="flow_input.x")},
        {"id": "b", "value": typescript(READS)},
        asks,
        {"id": "d", "value": code(gather, a="results.a", b="results.b", said="resume", who="approvers")},
    )
    job = desk.api.post("jobs/run/f/f/c/typed", json={"x": 1}).text
    third = {"type": "WaitingForPriorSteps"}
    while third["type"] not in {"Success", "Failure"}:
        desk.api.get(f"jobs_u/getupdate/{job}", params={"running": "true"})
        third = desk.api.get(f"jobs_u/get/{job}").json()["flow_status"]["modules"][2]
        assert desk.api.get(f"jobs_u/get/{job}").json()["type"] == "QueuedJob"
    urls = desk.api.get(f"jobs_u/completed/get_result/{third['job']}").json()
    assert desk.api.client.post(urls["resume"], json={"ok": 1}).status_code == 201
    told = desk.api.wait(job).value
    assert told == {
        "a": [{"x": 1}, None],
        "b": [{"x": 1}, job, "f/c/typed/b_user"],
        "said": {"ok": 1},
        "who": ["Ada"],
    }
