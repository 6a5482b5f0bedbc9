"""What nobody sends who means well: broken bodies, odd encodings, odd paths; each is answered with a 4xx."""

from __future__ import annotations

import gzip
import socket
from urllib.parse import urlsplit

import pytest

from mill_actors.api.routes import ALL
from tests.api.conftest import Api

RUN = "jobs/run/p/f/a/hello"
WAIT = "jobs/run_wait_result/p/f/a/hello"


@pytest.fixture(scope="module", autouse=True)
def scripts(api: Api) -> None:
    api.script("f/a/hello", "def main(**given):\n    return given\n")


def raw(api: Api, text: bytes) -> bytes:
    """Send bytes; return all that is answered until the server hangs up, or the first answer."""
    told = urlsplit(api.url)
    with socket.create_connection((told.hostname, told.port), 4) as own:
        own.sendall(text)
        answer = b""
        while piece := own.recv(1 << 16):
            answer += piece
    return answer


def head(api: Api, method: str, path: str, *lines: str) -> bytes:
    lines = (*lines, "Connection: close") if "Connection: keep-alive" not in lines else lines
    first = [f"{method} /api/w/default/{path} HTTP/1.1", "Host: x", f"Authorization: Bearer {api.token}"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


BODIES = [
    b"[" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"a":' + b"[" * 1015 + b"]" * 1015 + b"}",
    b'{"value":' + b"[" * 1015 + b"]" * 1015 + b"}",
    b'{"value":' + b"[" * 500 + b"]" * 500 + b', "path": "f/a/b", "language": "python3", "content": "x"}',
    b'{"value": "\xff\xfe", "path": "f/a/b", "args": "\xff", "summary": "\xff"}',
    b'{"value": {"modules": "\\q"}, "args": {"a": "\\q"}}',
    b'{"value": {"modules": [], "a": "\\ud800"}, "path": "f/a/b", "summary": "\\ud800", "args": {"a": "\\ud800"}}',
    b'{"value": 1e999, "path": "f/a/b", "args": {"a": 1e999}}',
    b'{"value": {"modules": [1e999]}, "summary": ""}',
    b'{"value": ' + b"9" * 5000 + b', "args": {"a": ' + b"9" * 5000 + b"}}",
    b'{"value": NaN, "args": NaN}',
    b"\xef\xbb\xbf{}",
    b"\0",
    b'{"value": "\\u0000", "path": "f/a/\\u0000", "content": "\\u0000", "language": "python3"}',
]


@pytest.mark.parametrize(
    "route", [route for route in ALL if route.body is not None], ids=lambda r: f"{r.method} {r.path}"
)
def test_no_body_is_an_error_of_the_servers(api: Api, route: object) -> None:
    if route.path.endswith(("logout", "/leave")):  # type: ignore[attr-defined]
        return
    path = route.path  # type: ignore[attr-defined]
    for name, value in (
        ("{workspace}", "default"), ("{path*}", "f/a/nope"), ("{hash}", "0123456789abcdef"), ("{kind}", "folder"),
    ):  # fmt: skip
        path = path.replace(name, value)
    path = path.replace("{", "").replace("}", "").replace("*", "")
    for body in BODIES:
        for headers in ({}, {"Idempotency-Key": "k"}) if "/run/" in path else ({},):
            answer = api.call(route.method, path, content=body, headers=headers)  # type: ignore[attr-defined]
            assert answer.status_code < 500, (body[:80], answer.text)


@pytest.mark.parametrize("query", ["", "?raw=true", "?wrap_body=true", "?include_query=a", "?timeout=nan",
    "?timeout=-1", "?timeout=1e308", "?scheduled_in_secs=1e308", "?scheduled_in_secs=inf", "?job_id=x", "?tag=%00",
    "?scheduled_for=0001-01-01T00:00:00Z", "?scheduled_for=9999-12-31T23:59:59Z", "?parent_job=x", "?tag=" + "x" * 5000,
    "?cache_ttl=99999999999999999999", "?retry=%5B%5D", "?payload=%C3%A9", "?payload=" + "W1tb" * 1500])  # fmt: skip
def test_no_arguments_are(api: Api, query: str) -> None:
    for body in BODIES:
        for headers in ({}, {"Idempotency-Key": "k"}):
            answer = api.post(RUN + query, content=body, headers=headers)
            assert answer.status_code < 500, (body[:80], answer.text)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Encoding: gzip", "Content-Length: 5"], b"hello"),
        (["Content-Encoding: gzip", "Content-Length: 20"], gzip.compress(b"{}")[:-1] + b"x" * 20),
        (["Content-Encoding: gzip", "Content-Length: 12"], gzip.compress(b"{}" * 100)[:12]),
        (["Content-Encoding: br", "Content-Length: 5"], b"hello"),
        (["Content-Encoding: what", "Content-Length: 2"], b"{}"),
        (["Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"2\r\n{}x\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked", "Content-Length: 2"], b"2\r\n{}\r\n0\r\n\r\n"),
        (["Transfer-Encoding: gzip, chunked"], b"2\r\n{}\r\n0\r\n\r\n"),
        (["Content-Length: x"], b"{}"),
        (["Content-Length: -1"], b"{}"),
        (["Content-Type: \xe9;;;=;charset=\xff", "Content-Length: 2"], b"{}"),
        (["Content-Type: application/x-www-form-urlencoded", "Content-Length: 9"], b"a=%ff%00&b"),
        (["Expect: something", "Content-Length: 2"], b"{}"),
        (['Cookie: token="\\777; ;=;', "Content-Length: 2"], b"{}"),
    ],
)
def test_a_broken_body_is_the_callers(api: Api, lines: list[str], body: bytes) -> None:
    answer = raw(api, head(api, "POST", RUN, *lines) + body)
    status = answer.split(b" ", 2)[1]
    assert status < b"500", answer
    assert (
        status == b"201" or b'"status"' in answer or answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 417"))
    ), answer


def test_a_body_may_come_in_chunks(api: Api) -> None:
    answer = api.post(WAIT, content=iter([b'{"name"', b': "Ada"}']))
    assert answer.json() == {"name": "Ada"}


def test_a_caller_may_ask_before_he_sends(api: Api) -> None:
    answer = raw(api, head(api, "POST", RUN, "Expect: 100-continue", "Content-Length: 2") + b"{}")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201")


def test_the_last_of_two_with_one_name_counts(api: Api) -> None:
    assert api.post(WAIT, content=b'{"a": 1, "a": 2}').json() == {"a": 2}


@pytest.mark.parametrize("path", ["f%2Fa%2Fhello", "f/a/hello", "%66/a/hell%6F"])
def test_a_path_may_be_escaped(api: Api, path: str) -> None:
    assert api.post(f"jobs/run_wait_result/p/{path}", json={"a": 1}).json() == {"a": 1}


@pytest.mark.parametrize(
    "path",
    ["f/a/hello/", "f/a/h%C3%A9llo", "f/a/%FF", "f//hello", "%2F", "f/a/%E2%80%AE", "f/a/" + "x" * 7000],
)
def test_a_path_that_nobody_has(api: Api, path: str) -> None:
    answer = api.post(f"jobs/run_wait_result/p/{path}", json={})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["status"] == answer.status_code


# -- methods that nobody wrote a handler for ---------------------------------------------------


def test_a_head_runs_nothing(api: Api) -> None:
    before = len(api.store.list())
    for path in (RUN, WAIT, "jobs/run_and_stream/p/f/a/hello", "jobs/run/preview"):
        answer = api.call("HEAD", path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert len(api.store.list()) == before


@pytest.mark.parametrize("path", ["/version", "jobs/list", "/ready"])
def test_a_head_of_what_is_read_is_that_of_its_answer(api: Api, path: str) -> None:
    answer = api.call("HEAD", path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == api.get(path).headers["Content-Length"]
    assert api.call("HEAD", "jobs/list", token="wrong").status_code == 401


def test_a_page_of_another_origin_may_run(api: Api) -> None:
    origin = {"Origin": "https://example.com"}
    asked = {**origin, "Access-Control-Request-Method": "POST"}
    answer = api.client.options(f"{api.url}/api/w/default/{RUN}", headers=asked)
    assert answer.status_code == 204
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
    for path, status in ((RUN, 201), (WAIT, 200), (f"{WAIT}x", 404)):
        answer = api.post(path, json={}, headers=origin)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, "*")
        assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Access-Control-Allow-Origin" not in api.post(RUN, json={}).headers


def test_a_page_of_another_origin_may_do_nothing_else(api: Api) -> None:
    answer = api.client.options(f"{api.url}/api/w/default/jobs/list")
    assert answer.status_code == 405
    assert "Access-Control-Allow-Origin" not in api.get("jobs/list", headers={"Origin": "https://x"}).headers
