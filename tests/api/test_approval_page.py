"""The page on which people answer."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import httpx
import pytest

from mill_actors.api.approval_form import WrongEntry, entered_value, form_html
from tests.api.conftest import Api
from tests.api.flows import code, deploy_flow, suspended
from tests.api.people import folder, member

EVIL = "<script>alert('x')</script>\"'&"
FORM = {
    "type": "object",
    "required": ["amount"],
    "order": ["amount", "why", "sure", "kind", "more"],
    "properties": {
        "more": {"type": "object", "default": {"a": 1}},
        "kind": {"type": "string", "enum": ["new", "old"]},
        "sure": {"type": "boolean", "default": True},
        "why": {"type": "string", "description": EVIL, "default": EVIL},
        "amount": {"type": "integer", "title": "How much"},
    },
}


@pytest.fixture(scope="module", autouse=True)
def deployed(api: Api) -> None:
    folder(api.dsn, "a", somebody=False)
    said = {"description": EVIL, "default_args": {"amount": 7}}
    hear = code("b", "def main(told):\n    return told\n", {"told": "resume"})
    ask = code("a", f"def main():\n    return {said!r}\n", summary=EVIL)
    deploy_flow(
        api,
        "f/a/form",
        ask | {"suspend": {"required_events": 1, "resume_form": {"schema": FORM}}},
        hear,
        summary=EVIL,
    )
    deploy_flow(
        api, "f/a/members", ask | {"suspend": {"required_events": 1, "user_auth_required": True}}, hear
    )
    deploy_flow(api, "f/a/only", ask | {"suspend": {"required_events": 1, "hide_cancel": True}}, hear)


def started(api: Api, path: str) -> tuple[str, str]:
    flow = api.post(f"jobs/run/f/f/a/{path}").text
    suspended(api, flow)
    page: str = api.get(f"jobs/resume_urls/{flow}/1").json()["approvalPage"]
    return flow, page


def test_the_page_shows_what_is_asked_and_lets_nothing_run(api: Api) -> None:
    flow, page = started(api, "form")
    answer = httpx.get(page)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "<script" not in answer.text
    assert EVIL in unescape(answer.text)
    assert "How much" in answer.text
    assert 'value="7"' in answer.text
    assert not re.search(r"(src|href)=", answer.text)
    api.post(f"jobs_u/queue/cancel/{flow}")


def test_what_is_entered_is_what_the_flow_hears(api: Api) -> None:
    flow, page = started(api, "form")
    entered = {"answer": "approve", "field.amount": "12", "field.why": "because", "field.more": '{"b": 2}'}
    wrong = httpx.post(page, data=entered | {"field.amount": "1.5"})
    assert (wrong.status_code, "amount is no whole number" in wrong.text) == (400, True)
    assert "because" in wrong.text
    done = httpx.post(page, data=entered)
    assert (done.status_code, "You approved" in done.text) == (200, True)
    told = {"amount": 12, "why": "because", "sure": False, "more": {"b": 2}}
    assert api.wait(flow).value == told
    over = httpx.post(page, data=entered)
    assert (over.status_code, "is over" in over.text) == (400, True)


def test_who_refuses_need_not_fill_in_anything(api: Api) -> None:
    flow, page = started(api, "form")
    assert "You refused" in httpx.post(page, data={"answer": "refuse"}).text
    assert api.wait(flow).status == "failure"


def test_refusing_may_be_hidden(api: Api) -> None:
    flow, page = started(api, "only")
    assert "Refuse" not in httpx.get(page).text
    api.post(f"jobs_u/queue/cancel/{flow}")


def test_where_a_member_must_answer_he_has_to_be_signed_in(api: Api) -> None:
    flow, page = started(api, "members")
    nobody = httpx.get(page)
    assert "signed in" in nobody.text
    assert "<form" not in nobody.text
    assert httpx.post(page, data={"answer": "approve"}).status_code == 403
    cookies = {"token": member(api.dsn, "somebody")}
    theirs = {"Sec-Fetch-Site": "same-site"}
    assert "<form" in httpx.get(page, cookies=cookies, headers=theirs).text
    # A page of somebody else's may show the way, and answers nothing.
    told = {"answer": "approve"}
    assert httpx.post(page, data=told, cookies=cookies, headers=theirs).status_code == 403
    assert httpx.post(page, data=told, cookies=cookies).status_code == 200
    assert api.wait(flow).status == "success"


@pytest.mark.parametrize("token", ["", "x", "a.b.c.d", "%00", "é.1.2.3"])
def test_a_wrong_link_shows_a_page_too(api: Api, token: str) -> None:
    for method in ("GET", "POST"):
        answer = httpx.request(method, f"{api.url}/approve/default/x?token={token}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (403, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    "schema",
    [None, 7, [], {}, {"properties": 7}, {"properties": {"a": 7}}, {"properties": {}, "order": [[]]}],
)
def test_a_form_that_is_none_has_no_fields_or_plain_ones(schema: Any) -> None:
    assert isinstance(form_html(schema, 7), str)
    assert entered_value(schema, {}) == {}


@pytest.mark.parametrize(
    ("kind", "text"),
    [("integer", "x"), ("integer", "true"), ("number", "NaN"), ("object", "{"), ("array", "[" * 100_000)],
)
def test_entries_that_do_not_fit_are_told(kind: str, text: str) -> None:
    with pytest.raises(WrongEntry):
        entered_value({"properties": {"a": {"type": kind}}}, {"field.a": text})


def test_a_choice_is_one_of_those() -> None:
    schema = {"properties": {"a": {"type": "integer", "enum": [1, 2]}}}
    assert entered_value(schema, {"field.a": "2"}) == {"a": 2}
    with pytest.raises(WrongEntry):
        entered_value(schema, {"field.a": "3"})
