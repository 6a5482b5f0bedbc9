"""Answering approvals over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from mill_actors.ids import new_id
from tests.api.conftest import Api
from tests.api.flows import code, deploy_flow, suspended
from tests.api.people import folder, member, stranger

ASKS = "def main():\n    return {'description': 'Is it right?'}\n"
HEARS = "def main(told, who):\n    return [told, who]\n"
FORM = {"schema": {"type": "object", "properties": {"amount": {"type": "integer"}}}}


def asking(api: Api, path: str, **suspend: Any) -> None:
    ask = code("a", ASKS, suspend={"required_events": 1, **suspend}, summary="Check it")
    hear = code("b", HEARS, {"told": "resume", "who": "approvers"})
    deploy_flow(api, path, ask, hear, summary="A flow that asks")


@pytest.fixture(scope="module", autouse=True)
def deployed(api: Api) -> None:
    folder(api.dsn, "a", starter=False, auditor=False)
    asking(api, "f/a/plain", resume_form=FORM)
    asking(api, "f/a/two", required_events=2)
    asking(api, "f/a/members", user_auth_required=True)
    asking(api, "f/a/others", user_auth_required=True, self_approval_disabled=True)
    asking(api, "f/a/auditors", user_groups_required={"type": "static", "value": ["auditors"]})
    asking(api, "f/a/chosen", user_groups_required={"type": "javascript", "expr": "[flow_input.group]"})


@pytest.fixture(scope="module")
def starter(api: Api) -> str:
    return member(api.dsn, "starter")


@pytest.fixture(scope="module")
def auditor(api: Api) -> str:
    return member(api.dsn, "auditor", groups=("auditors",))


Start = Callable[..., tuple[str, dict[str, str]]]


@pytest.fixture
def start(api: Api) -> Start:
    """Start a flow, wait until it asks, and return its job with the links that answer."""

    def begin(
        path: str, number: int = 1, approver: str | None = None, **options: Any
    ) -> tuple[str, dict[str, str]]:
        flow = api.post(f"jobs/run/f/f/a/{path}", **{"json": {}, **options}).text
        suspended(api, flow)
        answer = api.get(f"jobs/resume_urls/{flow}/{number}", params={"approver": approver or ""})
        assert answer.status_code == 200, answer.text
        return flow, answer.json()

    return begin


def send(method: str, url: str, token: str | None = None, **options: Any) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.request(method, url, headers=headers, **options)


def test_a_link_approves_without_a_token_and_only_once(api: Api, start: Start) -> None:
    flow, urls = start("plain", approver="Ada & Bob")
    assert urls["resume"].startswith(f"{api.url}/api/w/default/jobs_u/resume/{flow}/1/")
    assert urls["approvalPage"].startswith(f"{api.url}/approve/default/{flow}?token=")
    first = send("POST", urls["resume"], json={"amount": 7})
    assert (first.status_code, first.content) == (201, b"")
    assert api.wait(flow).value == [{"amount": 7}, ["Ada & Bob"]]


def test_the_same_answer_twice_is_a_conflict(api: Api, start: Start) -> None:
    flow, urls = start("two")
    assert send("POST", urls["resume"]).status_code == 201
    again = send("POST", urls["resume"])
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    other = api.get(f"jobs/resume_urls/{flow}/2").json()
    assert send("GET", other["resume"]).status_code == 201
    assert api.wait(flow).status == "success"
    over = send("POST", other["resume"])
    assert (over.status_code, over.json()["code"]) == (400, "refused")


def test_a_get_brings_its_payload_along(api: Api, start: Start) -> None:
    flow, urls = start("plain")
    payload = base64.b64encode(b'{"amount": 8}').decode()
    assert send("GET", urls["resume"], params={"payload": payload}).status_code == 201
    assert api.wait(flow).value[0] == {"amount": 8}


def test_a_link_refuses(api: Api, start: Start) -> None:
    flow, urls = start("plain")
    assert send("GET", urls["cancel"]).status_code == 201
    told = api.wait(flow)
    assert (told.status, told.value["error"]["name"]) == ("failure", "SuspendedDisapproved")


def test_a_link_of_a_step_answers_before_anybody_asks(api: Api) -> None:
    content = (
        "import os, urllib.request, json\n"
        "def main():\n"
        "    base, job = os.environ['BASE_INTERNAL_URL'], os.environ['WM_JOB_ID']\n"
        "    url = f'{base}/api/w/default/jobs/resume_urls/{job}/5?approver='\n"
        "    headers = {'Authorization': 'Bearer ' + os.environ['WM_TOKEN']}\n"
        "    urls = json.load(urllib.request.urlopen(urllib.request.Request(url, headers=headers)))\n"
        "    request = urllib.request.Request(urls['resume'], data=b'\"early\"', method='POST')\n"
        "    return urllib.request.urlopen(request).status\n"
    )
    ask = code("a", content, suspend={"required_events": 1, "timeout": 30})
    deploy_flow(api, "f/a/early", ask, code("b", HEARS, {"told": "resume", "who": "approvers"}))
    told = api.post("jobs/run_wait_result/f/f/a/early")
    assert (told.status_code, told.json()[0]) == (200, "early"), told.text


def test_a_step_cannot_approve_itself_where_a_member_must(api: Api) -> None:
    content = (
        "import os, urllib.request, urllib.error, json\n"
        "def main():\n"
        "    base, job = os.environ['BASE_INTERNAL_URL'], os.environ['WM_JOB_ID']\n"
        "    headers = {'Authorization': 'Bearer ' + os.environ['WM_TOKEN']}\n"
        "    url = f'{base}/api/w/default/jobs/resume_urls/{job}/5'\n"
        "    urls = json.load(urllib.request.urlopen(urllib.request.Request(url, headers=headers)))\n"
        "    try:\n"
        "        request = urllib.request.Request(urls['resume'], data=b'1', headers=headers, method='POST')\n"
        "        urllib.request.urlopen(request)\n"
        "    except urllib.error.HTTPError as error:\n"
        "        raise ValueError(error.code)\n"
    )
    ask = code("a", content, suspend={"required_events": 1, "timeout": 30, "user_auth_required": True})
    deploy_flow(api, "f/a/sly", ask, code("b", ASKS))
    told = api.post("jobs/run_wait_result/f/f/a/sly")
    assert (told.status_code, told.json()["error"]["message"]) == (422, "403")


def test_a_link_for_the_flow_is_made_from_its_step(api: Api, start: Start) -> None:
    flow, _ = start("plain")
    step = api.store.flow_status(flow)["modules"][0]["job"]
    own = api.get(f"jobs/resume_urls/{step}/3").json()
    assert f"/{step}/3/" in own["resume"]
    above = api.get(f"jobs/resume_urls/{step}/3", params={"flow_level": "true"}).json()
    assert f"/{flow}/3/" in above["resume"]
    assert send("POST", own["resume"]).status_code == 201
    assert api.wait(flow).status == "success"


@pytest.mark.parametrize("path", ["members", "others", "auditors"])
def test_where_a_member_must_answer_a_link_is_not_enough(
    api: Api, start: Start, starter: str, auditor: str, path: str
) -> None:
    flow, urls = start(path, approver="somebody", token=starter)
    for token in (None, "nonsense", stranger(api.dsn)):
        refused = send("POST", urls["resume"], token)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert send("POST", urls["cancel"], token).status_code == 403
    if path != "members":
        assert send("POST", urls["resume"], starter).status_code == 403
        assert api.post(f"jobs/flow/resume/{flow}", token=starter).status_code == 403
        assert api.post(f"jobs_u/flow/resume_suspended/{flow}", token=starter, json={}).status_code == 403
    assert send("POST", urls["resume"], auditor).status_code == 201
    assert api.wait(flow).value == [None, ["auditor"]]


def test_an_admin_may_answer_everything(api: Api, start: Start) -> None:
    flow, urls = start("others")
    assert send("POST", urls["resume"], api.token).status_code == 201
    assert api.wait(flow).value[1] == ["admin"]


def test_groups_may_be_told_by_what_the_flow_was_given(
    api: Api, start: Start, starter: str, auditor: str
) -> None:
    flow, urls = start("chosen", json={"group": "auditors"})
    assert send("POST", urls["resume"], starter).status_code == 403
    assert send("POST", urls["resume"], auditor).status_code == 201
    assert api.wait(flow).status == "success"
    _, urls = start("chosen", json={"group": 7})
    assert send("POST", urls["resume"], auditor).status_code == 403
    assert send("POST", urls["resume"], api.token).status_code == 201


def test_an_early_answer_needs_the_same_right(api: Api, starter: str) -> None:
    flow = api.post("jobs/run/f/f/a/auditors", params={"scheduled_in_secs": 3600}).text
    urls = api.get(f"jobs/resume_urls/{flow}/1").json()
    assert send("POST", urls["resume"]).status_code == 403
    assert send("POST", urls["resume"], starter).status_code == 403
    assert send("POST", urls["resume"], api.token).status_code == 201


def test_who_may_run_the_flow_answers_it(api: Api, start: Start, starter: str) -> None:
    flow, _ = start("plain")
    answer = api.post(f"jobs/flow/resume/{flow}", token=starter, json={"amount": 1})
    assert (answer.status_code, answer.content) == (201, b"")
    assert api.wait(flow).value == [{"amount": 1}, ["starter"]]
    assert api.post(f"jobs/flow/resume/{flow}", token=starter).status_code == 400


def test_the_token_of_the_page_answers(api: Api, start: Start) -> None:
    flow, urls = start("plain", approver="Ada")
    token = urls["approvalPage"].partition("token=")[2]
    path = f"{api.url}/api/w/default/jobs_u/flow/resume_suspended/{flow}"
    other = new_id()
    assert send("POST", path.replace(flow, other), json={"approval_token": token}).status_code == 403
    assert send("POST", path, json={"approval_token": token + "x"}).status_code == 403
    assert send("POST", path, json={}).status_code == 401
    told = {"approval_token": token, "payload": {"amount": 36893488147419103232}}
    assert send("POST", path, json=told).status_code == 201
    assert api.wait(flow).value == [{"amount": 36893488147419103232}, ["Ada"]]


def test_what_is_asked_is_told_to_who_has_the_link(api: Api, start: Start, starter: str) -> None:
    flow, urls = start("others", token=starter)
    token = urls["approvalPage"].partition("token=")[2]
    path = f"{api.url}/api/w/default/jobs_u/flow/approval_info/{flow}"
    assert send("GET", path).status_code == 403
    assert send("GET", path, params={"token": "a.b.c.d"}).status_code == 403
    told = send("GET", path, params={"token": token}).json()
    assert told == {
        "flow_id": flow,
        "can_approve": False,
        "user_auth_required": True,
        "skin": "detailed",
        "approvers": [],
        "approval_conditions": {
            "user_auth_required": True,
            "user_groups_required": [],
            "self_approval_disabled": True,
        },
        "description": "Is it right?",
        "hide_cancel": False,
        "step_summary": "Check it",
        "flow_summary": "A flow that asks",
    }
    assert send("GET", path, api.token).json()["can_approve"] is True
    assert send("GET", path, starter).json()["can_approve"] is False
    plain, _ = start("plain")
    info = send("GET", path.replace(flow, plain), starter).json()
    assert (info["can_approve"], info["form_schema"]) == (True, FORM["schema"])
    for job in (flow, plain):
        api.post(f"jobs_u/queue/cancel/{job}")


def test_a_link_shows_the_flow_that_it_is_about(api: Api, start: Start) -> None:
    flow, urls = start("two", approver="Ada")
    place = urls["resume"].replace("/resume/", "/get_flow/")
    send("POST", urls["resume"])
    told = send("GET", place).json()
    assert (told["job"]["id"], told["job"]["type"], told["job"]["job_kind"]) == (flow, "QueuedJob", "flow")
    assert told["approvers"] == [{"resume_id": 1, "approver": "Ada"}]
    step = api.store.flow_status(flow)["modules"][0]["job"]
    own = api.get(f"jobs/resume_urls/{step}/9").json()["resume"].replace("/resume/", "/get_flow/")
    assert send("GET", own).json()["job"]["id"] == flow
    assert send("GET", place.replace("/1/", "/2/")).status_code == 403
    api.post(f"jobs_u/queue/cancel/{flow}")


def test_links_of_other_jobs_and_other_names_are_worth_nothing(api: Api, start: Start) -> None:
    flow, urls = start("plain", approver="Ada")
    url, _, _ = urls["resume"].partition("?")
    signature = url.rsplit("/", 1)[1]
    signed = api.get(f"jobs/job_signature/{flow}/1", params={"approver": "Ada"})
    assert (signed.text, signed.headers["Content-Type"]) == (signature, "text/plain; charset=utf-8")
    for wrong in (
        url,  # without the name
        f"{url}?approver=Bob",
        url.replace(f"/{flow}/", f"/{new_id()}/") + "?approver=Ada",
        url.replace("/1/", "/2/") + "?approver=Ada",
        url.replace(signature, "0" * 64) + "?approver=Ada",
        url.replace(signature, "é") + "?approver=Ada",
        url.replace("/w/default/", "/w/nowhere/") + "?approver=Ada",
    ):
        answer = send("POST", wrong)
        assert answer.status_code in {403, 404}, answer.text
    assert api.store.job(flow).status == "running"
    api.post(f"jobs_u/queue/cancel/{flow}")


def test_links_are_made_for_who_may_run_the_flow(api: Api, start: Start) -> None:
    flow, _ = start("plain")
    outsider = member(api.dsn, "outsider")
    for path in ("resume_urls", "job_signature"):
        assert api.get(f"jobs/{path}/{flow}/1", token=outsider).status_code == 403
    assert api.post(f"jobs/flow/resume/{flow}", token=outsider).status_code == 403
    api.post(f"jobs_u/queue/cancel/{flow}")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("jobs/resume_urls/NO_ID/1", 400),
        ("jobs/resume_urls/{flow}/x", 400),
        ("jobs/resume_urls/{flow}/4294967296", 400),
        ("jobs/resume_urls/{flow}/" + "9" * 5000, 400),
        ("jobs/resume_urls/{flow}/-1", 400),
        ("jobs/resume_urls/{flow}/²", 400),
        ("jobs/resume_urls/{flow}/4294967295", 200),
        ("jobs/resume_urls/{flow}/1?flow_level=perhaps", 400),
        ("jobs/resume_urls/{flow}/1?approver=%00", 400),
        ("jobs/resume_urls/{other}/1", 404),
        ("jobs/resume_urls/{script}/1", 400),
        ("jobs_u/resume/{flow}/x/00", 400),
        ("jobs_u/resume/x/1/00", 400),
        ("jobs_u/flow/approval_info/x", 400),
    ],
)
def test_nonsense_is_refused(api: Api, path: str, status: int) -> None:
    later = {"scheduled_in_secs": 3600}
    flow = api.post("jobs/run/f/f/a/plain", params=later).text
    api.script("f/a/hello")
    script = api.post("jobs/run/p/f/a/hello", params=later).text
    answer = api.get(path.format(flow=flow, other=new_id(), script=script))
    assert answer.status_code == status, answer.text
