"""What a job's result may make of an answer, and what a browser may make of that."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import Api

ECHO = "def main(result):\n    return result\n"


@pytest.fixture(scope="module", autouse=True)
def echo(api: Api) -> None:
    api.script("f/a/echo", ECHO)


def answered(api: Api, result: Any) -> Any:
    return api.post("jobs/run_wait_result/p/f/a/echo", json={"result": result})


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "transfer-encoding", "Connection", "Keep-Alive", "Upgrade", "Trailer", "TE",
     "Proxy-Authenticate", "Access-Control-Allow-Origin ", "a b",
     "a:b", "", "ü"],
)  # fmt: skip
def test_a_result_says_nothing_about_the_connection(api: Api, name: str) -> None:
    """… nor who is signed in: other answers share both."""
    answer = answered(api, {"windmill_headers": {name: "3", "X-Mine": "yes"}, "result": {"some": "thing"}})
    assert answer.status_code == 200
    assert answer.json() == {"some": "thing"}
    assert answer.headers["X-Mine"] == "yes"
    assert "3" not in answer.headers.values()
    assert api.get("/version").status_code == 200


def test_a_results_own_type_may_stand_among_its_headers(api: Api) -> None:
    answer = answered(api, {"windmill_headers": {"Content-Type": "text/plain"}, "result": "text"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain")


def test_a_result_signs_nobody_in(api: Api) -> None:
    for name in ("Set-Cookie", "set-cookie"):
        answer = answered(api, {"windmill_headers": {name: " Token=theirs"}, "result": 1})
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (200, False)
    answer = answered(api, {"windmill_headers": {"Set-Cookie": "mine=1"}, "result": 1})
    assert answer.headers["Set-Cookie"] == "mine=1"
    api.client.cookies.clear()


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "text/plain"])
def test_a_page_that_a_job_makes_has_no_part_in_this_origin(api: Api, kind: str) -> None:
    """Whoever looks at it in a browser may be signed in: its scripts must not speak for him."""
    html = "<script>fetch('/api/w/default/variables/list')</script>"
    for own in ({}, {"content-security-policy": "default-src *"}):
        told = {"windmill_content_type": kind, "windmill_headers": own, "result": html}
        answer = answered(api, told)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert (answer.text, answer.headers["Content-Type"]) == (html, kind)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox")
        assert "allow-same-origin" not in policy


@pytest.mark.parametrize("kind", ["text/html", None])
def test_half_a_character_in_a_result_is_no_bug(api: Api, kind: str | None) -> None:
    told = b'{"windmill_content_type": %s, "result": "a\\ud800b", "windmill_headers": {"X": "\\ud800"}}'
    body = b'{"result": ' + told + b"}"
    answer = api.post("jobs/run_wait_result/p/f/a/echo", content=body % json.dumps(kind).encode())
    assert answer.status_code == 200, answer.text


def test_odd_headers_are_no_bug(api: Api) -> None:
    told = urlsplit(api.url)
    with socket.create_connection((told.hostname, told.port), 10) as own:
        path = "/api/w/default/jobs/run/p/f/a/echo?include_header=x-odd"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n".encode()
        own.sendall(
            head
            + b"Connection: close\r\nX-Odd: \xff\xfe\r\nIdempotency-Key: \xff\r\nContent-Length: 2\r\n\r\n{}"
        )
        text = own.recv(4000)
        assert text.startswith((b"HTTP/1.1 201", b"HTTP/1.1 400")), text
    with socket.create_connection((told.hostname, told.port), 10) as own:
        plain = b"GET /api/users/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        own.sendall(plain + b"Authorization: Bearer \xff\xfe\r\n\r\n")
        assert own.recv(4000).startswith(b"HTTP/1.1 401")
