"""User code writes into the pipe of the answers: nobody loses a result by it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.actors.noise import MAX_LINES, Noise
from mill_actors.runtimes.frames import Done, Fail


def answer(number: int, value: str = "null") -> bytes:
    return f'["done","job-{number}","claim-{number}",7,11,{value}]'.encode()


def jobs(replies: Sequence[object]) -> list[str]:
    return [reply.job_id for reply in replies if isinstance(reply, Done | Fail)]


@pytest.mark.parametrize(
    "line",
    [
        b"hello", b'["done"]', b"[]", b"{}", b"\xff\xfe", b"\0" * 100, b'["ready","x",0]', b'["run",1]', b'["done","',
        b"[" * 5000, b'["broken"',
    ],
)  # fmt: skip
def test_a_line_that_is_no_answer_is_left_out(line: bytes) -> None:
    noise = Noise()
    assert jobs(noise.sound(b"\n".join([answer(1), line, answer(2)]) + b"\n", 0)) == ["job-1", "job-2"]
    assert noise.lines == 1


def test_empty_lines_are_nothing() -> None:
    noise = Noise()
    assert jobs(noise.sound(b"\n\n" + answer(1) + b"\n\n", 0)) == ["job-1"]
    assert noise.lines == 0


@pytest.mark.parametrize("before", [b"garbage", b'["done","job-0",', b'{"a": [', b"\xff", b'"', b"[["])
def test_what_stands_before_an_answer_costs_nothing(before: bytes) -> None:
    (reply,) = Noise().sound(before + answer(1, '{"x":1}') + b"\n", 0)
    assert isinstance(reply, Done)
    assert (reply.job_id, reply.out, reply.duration_us) == ("job-1", 7, 11)
    assert json.loads(bytes(reply.result)) == {"x": 1}


def test_an_answer_with_something_in_it_fails_its_job() -> None:
    whole = answer(1, json.dumps("x" * 100))
    (reply,) = Noise().sound(whole[:60] + b"\x00garbage" + whole[60:] + b"\n", 99)
    assert isinstance(reply, Fail)
    assert (reply.job_id, reply.claim, reply.out) == ("job-1", "claim-1", 99)
    assert json.loads(bytes(reply.error))["name"] == "ProtocolBroken"


def test_much_is_too_much() -> None:
    noise = Noise()
    noise.sound(b"x\n" * MAX_LINES, 0)
    assert not noise.is_too_much
    noise.sound(b"x\n", 0)
    assert noise.is_too_much


@given(st.lists(st.one_of(st.none(), st.binary(max_size=30)), max_size=10))
def test_every_whole_answer_is_found(lines: list[bytes | None]) -> None:
    """None stands for an answer; anything else for what somebody wrote, with a newline or without."""
    data, expected = b"", []
    for number, line in enumerate(lines):
        if line is None:
            data += answer(number) + b"\n"
            expected.append(f"job-{number}")
        else:
            data += line
    found = jobs(Noise().sound(data + b"\n", 0))
    assert [job for job in found if job.startswith("job-")] == expected
