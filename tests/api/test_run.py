"""Starting jobs over HTTP, and waiting for their results."""

from __future__ import annotations

import base64
import json
from uuid import UUID

import pytest

from mill_actors.ids import new_id
from tests.api.conftest import Api

SHAPED = """
def main(name):
    return {"windmill_status_code": 418, "windmill_headers": {"X-Tea": name}, "result": {"tea": name}}
"""
EVERYTHING = """
def main(body=None, raw_string=None, x_who=None, page=None, name=None):
    return {"body": body, "raw_string": raw_string, "x_who": x_who, "page": page, "name": name}
"""


@pytest.fixture(scope="module", autouse=True)
def scripts(api: Api) -> None:
    api.script("f/a/hello")
    api.script("f/a/fails", "def main():\n    raise ValueError('no')\n")
    api.script("f/a/shaped", SHAPED)
    api.script("f/a/everything", EVERYTHING)


def test_an_id_is_plain_text_and_durable_when_it_is_answered(api: Api) -> None:
    answer = api.post("jobs/run/p/f/a/hello", json={"name": "Ada"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/plain; charset=utf-8")
    assert str(UUID(answer.text)) == answer.text
    assert api.wait(answer.text).value == "Hello Ada"


def test_a_result_is_waited_for(api: Api) -> None:
    answer = api.post("jobs/run_wait_result/p/f/a/hello", json={"name": "Ada"})
    assert (answer.status_code, answer.json()) == (200, "Hello Ada")


def test_a_failure_is_a_422_with_its_error(api: Api) -> None:
    answer = api.post("jobs/run_wait_result/p/f/a/fails", json={})
    assert answer.status_code == 422
    assert answer.json()["error"]["name"] == "ValueError"


def test_a_get_has_its_arguments_in_the_payload(api: Api) -> None:
    payload = base64.urlsafe_b64encode(b'{"name": "Ada?>"}').decode().rstrip("=")
    answer = api.get("jobs/run_wait_result/p/f/a/hello", params={"payload": payload})
    assert answer.json() == "Hello Ada?>"


def test_a_result_may_say_how_it_is_answered(api: Api) -> None:
    answer = api.post("jobs/run_wait_result/p/f/a/shaped", json={"name": "green"})
    assert (answer.status_code, answer.headers["X-Tea"], answer.json()) == (418, "green", {"tea": "green"})


def test_one_version_runs_by_its_hash(api: Api) -> None:
    old = api.script("f/a/versions", "def main():\n    return 1\n")
    api.script("f/a/versions", "def main():\n    return 2\n")
    assert api.post(f"jobs/run_wait_result/h/{old}").json() == 1
    assert api.post("jobs/run_wait_result/p/f/a/versions").json() == 2
    assert api.post("jobs/run/h/0123456789abcdef").status_code == 404


@pytest.mark.parametrize(
    ("params", "body", "headers", "told"),
    [
        ({}, b"[1, 2]", {}, {"body": [1, 2]}),
        ({}, b'"x"', {}, {"body": "x"}),
        ({"wrap_body": "true"}, b'{"name": 1}', {}, {"body": {"name": 1}}),
        ({"raw": "true"}, b'{"name": 1}', {}, {"name": 1, "raw_string": '{"name": 1}'}),
        ({"raw": "true"}, b"no json", {}, {"raw_string": "no json"}),
        ({"include_header": "X-Who"}, b"", {"X-Who": "Ada"}, {"x_who": "Ada"}),
        ({"include_query": "page", "page": "3"}, b"{}", {}, {"page": "3"}),
        (
            {},
            b"name=Ada&page=2",
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"name": "Ada", "page": "2"},
        ),
        ({}, b'{"name": 7}', {"Content-Type": "application/x-www-form-urlencoded"}, {"name": 7}),
    ],
)
def test_a_body_becomes_arguments_as_windmills_webhooks_have_it(
    api: Api, params: dict[str, str], body: bytes, headers: dict[str, str], told: dict[str, object]
) -> None:
    answer = api.post("jobs/run_wait_result/p/f/a/everything", params=params, content=body, headers=headers)
    nothing = dict.fromkeys(("body", "raw_string", "x_who", "page", "name"))
    assert answer.json() == nothing | told


def test_an_id_of_the_callers_choice_means_one_job(api: Api) -> None:
    chosen = new_id()
    first = api.post("jobs/run/p/f/a/hello", params={"job_id": chosen}, json={"name": "Ada"})
    again = api.post("jobs/run/p/f/a/hello", params={"job_id": chosen}, json={"name": "Ada"})
    other = api.post("jobs/run/p/f/a/hello", params={"job_id": chosen}, json={"name": "Bob"})
    assert (first.text, again.text, other.status_code) == (chosen, chosen, 409)


def test_a_key_makes_a_repeat_answer_the_first_job(api: Api) -> None:
    headers = {"Idempotency-Key": "order 7"}
    ids = {api.post("jobs/run/p/f/a/hello", headers=headers, json={}).text for _ in range(3)}
    assert len(ids) == 1
    waited = api.post("jobs/run_wait_result/p/f/a/hello", headers=headers, json={})
    assert waited.json() == "Hello you"


def test_a_job_may_wait_for_its_time(api: Api) -> None:
    job = api.post("jobs/run/p/f/a/hello", params={"scheduled_in_secs": 3600}, json={}).text
    found = api.store.job(job)
    assert (found.scheduled_for - found.submitted_at).total_seconds() == pytest.approx(3600, abs=1)
    assert found.status == "queued"


@pytest.mark.parametrize(
    ("path", "options", "status", "code"),
    [
        ("jobs/run/p/f/a/nope", {}, 404, "not_found"),
        ("jobs/run/p/f/a/hello", {"content": b"{"}, 400, "invalid_args"),
        ("jobs/run/p/f/a/hello", {"content": b"[" * 100_000}, 400, "invalid_body"),
        ("jobs/run/p/f/a/hello", {"params": {"scheduled_in_secs": "soon"}}, 400, "invalid_query"),
        ("jobs/run/p/f/a/hello", {"params": {"retry": "{"}}, 400, "invalid_query"),
        ("jobs/run/p/f/a/hello", {"params": {"job_id": "x"}}, 400, "invalid_args"),
        ("jobs/run/p/f/a/he%00llo", {}, 400, "invalid_path"),
        ("/nope", {}, 404, "not_found"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_shape(
    api: Api, path: str, options: dict[str, object], status: int, code: str
) -> None:
    answer = api.post(path, **options)
    told = answer.json()
    assert (answer.status_code, told["status"], told["code"]) == (status, status, code)
    assert told["message"]


def test_many_wait_at_once(api: Api) -> None:
    """Submissions that arrive together share commits, and each waits for its own result."""
    from concurrent.futures import ThreadPoolExecutor

    def run(number: int) -> object:
        return api.post("jobs/run_wait_result/p/f/a/hello", content=json.dumps({"name": str(number)})).json()

    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(run, range(200))) == [f"Hello {n}" for n in range(200)]


PREPROCESSED = {
    "summary": "",
    "value": {
        "preprocessor_module": {
            "id": "preprocessor",
            "value": {
                "type": "rawscript",
                "language": "python3",
                "content": "def preprocessor(event):\n    return {'seen': [event['kind'], event['body'],"
                " event['query'].get('page'), event['headers']['x-who'], 'authorization' in event['headers']]}\n",
                "input_transforms": {},
            },
        },
        "modules": [
            {
                "id": "a",
                "value": {"type": "identity"},
            }
        ],
    },
}


def test_a_flows_preprocessor_makes_its_input_of_the_request(api: Api) -> None:
    assert api.post("flows/create", json={"path": "f/a/pre", **PREPROCESSED}).status_code == 201
    options = {"params": {"page": "3"}, "headers": {"X-Who": "Ada"}, "json": {"name": 1}}
    answer = api.post("jobs/run_wait_result/f/f/a/pre", **options)
    assert answer.json() == {"seen": ["webhook", {"name": 1}, "3", "Ada", False]}
    options["params"] = {"skip_preprocessor": "true"}
    assert api.post("jobs/run_wait_result/f/f/a/pre", **options).json() == {"name": 1}
    assert api.post("jobs/run/f/f/a/pre", content=b"{").status_code == 400
