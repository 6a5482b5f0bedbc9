"""Byte ranges of a capture file become pieces of logs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.actors import output as output_module
from mill_actors.actors.output import Output
from mill_actors.runtimes.capture import Capture
from mill_actors.store.logs import LogChunk
from tests.actors.stage import make_job

JOB = make_job()


@pytest.fixture
def capture() -> Iterator[Capture]:
    with Capture() as capture:
        yield capture


def text_of(chunks: list[LogChunk]) -> str:
    positions = [chunk.position for chunk in chunks]
    assert positions == sorted(set(positions)), "a reader puts the pieces together by position"
    return "".join(chunk.text for chunk in chunks)


def test_pieces_follow_each_other(capture: Capture) -> None:
    output = Output(capture, 1000)
    os.write(capture.fd, b"abc")
    first = output.progress(JOB)
    os.write(capture.fd, b"def")
    last = output.end(JOB, capture.size())
    assert [(c.position, c.text) for c in [*first, *last]] == [(0, "abc"), (3, "def")]


def test_silence_is_no_piece(capture: Capture) -> None:
    output = Output(capture, 1000)
    assert output.progress(JOB) == []
    assert output.end(JOB, 0) == []


def test_a_character_is_not_cut(capture: Capture) -> None:
    output = Output(capture, 1000)
    chunks = []
    for byte in "aé€😀z".encode():
        os.write(capture.fd, bytes([byte]))
        chunks += output.progress(JOB)
    chunks += output.end(JOB, capture.size())
    assert text_of(chunks) == "aé€😀z"


def test_what_is_no_utf8_is_replaced(capture: Capture) -> None:
    output = Output(capture, 1000)
    os.write(capture.fd, b"a\xff\xfe\x80b\xe2\x82")
    assert text_of(output.end(JOB, capture.size())) == "a\ufffd\ufffd\ufffdb\ufffd"


def test_an_end_in_the_middle_of_a_character_is_the_next_jobs_beginning(capture: Capture) -> None:
    output = Output(capture, 1000)
    os.write(capture.fd, b"one\xe2")
    end = capture.size()
    os.write(capture.fd, b"two")
    assert text_of(output.end(JOB, end)) == "one\ufffd"
    assert text_of(output.end(JOB, capture.size())) == "two"


def test_no_piece_is_huge(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "MAX_PIECE_BYTES", 10)
    output = Output(capture, 1000)
    os.write(capture.fd, b"x" * 95)
    chunks = output.end(JOB, capture.size())
    assert max(len(chunk.text) for chunk in chunks) == 10
    assert text_of(chunks) == "x" * 95


def test_the_limit_counts_bytes_and_is_said_once(capture: Capture) -> None:
    output = Output(capture, 7)
    os.write(capture.fd, "ééééé".encode())
    chunks = output.progress(JOB)
    os.write(capture.fd, b"more")
    chunks += output.progress(JOB)
    chunks += output.end(JOB, capture.size())
    text = text_of(chunks)
    assert text.startswith("ééé")
    assert text.count("left out") == 1
    assert "more" not in text


def test_a_job_that_empties_the_file_costs_nobody_else_anything(capture: Capture) -> None:
    output = Output(capture, 1000)
    os.write(capture.fd, b"before")
    output.end(JOB, capture.size())
    os.ftruncate(capture.fd, 0)
    os.write(capture.fd, b"abc")
    assert text_of(output.end(JOB, capture.size())) == "abc"
    os.write(capture.fd, b"next")
    assert text_of(output.end(JOB, capture.size())) == "next"


@pytest.mark.parametrize("out", [-1, 1 << 62, 1 << 70])
def test_a_forged_end_is_no_failure(capture: Capture, out: int) -> None:
    output = Output(capture, 1000)
    os.write(capture.fd, b"abc")
    output.end(JOB, out)
    os.write(capture.fd, b"def")
    chunks = [*output.progress(JOB), *output.end(JOB, capture.size())]
    assert text_of(chunks).endswith("def")


PIECES = st.lists(
    st.tuples(st.text(max_size=12), st.sampled_from(["progress", "end", "nothing"])), max_size=12
)


@given(pieces=PIECES, piece_bytes=st.integers(4, 40))
def test_every_byte_is_in_the_log_of_its_job(pieces: list[tuple[str, str]], piece_bytes: int) -> None:
    """Whenever we look, whatever is printed: the logs are what the jobs printed."""
    expected: list[str] = [""]
    found: list[list[LogChunk]] = [[]]
    with Capture() as capture, pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_module, "MAX_PIECE_BYTES", piece_bytes)
        output = Output(capture, 10_000)
        for text, then in [*pieces, ("", "end")]:
            data = text.encode("utf-8", "replace")
            for at in range(len(data)):  # byte by byte, so that we look in the middle of characters
                os.write(capture.fd, data[at : at + 1])
                if then == "progress":
                    found[-1] += output.progress(JOB)
            expected[-1] += data.decode()
            if then == "end":
                found[-1] += output.end(JOB, capture.size())
                found.append([])
                expected.append("")
    assert [text_of(chunks) for chunks in found] == expected


@given(data=st.binary(max_size=60), limit=st.integers(1, 50), looks=st.sets(st.integers(0, 60)))
def test_no_log_is_longer_than_the_limit(data: bytes, limit: int, looks: set[int]) -> None:
    with Capture() as capture:
        output = Output(capture, limit)
        chunks = []
        for at in range(len(data)):
            os.write(capture.fd, data[at : at + 1])
            if at in looks:
                chunks += output.progress(JOB)
        chunks += output.end(JOB, capture.size())
    text = text_of(chunks)
    said, _, note = text.partition("\n[output beyond")
    assert bool(note) == (len(data) > limit)
    assert len(said) <= limit
    assert said == data[:limit].decode("utf-8", "replace")[: len(said)]
    assert len(said.encode("utf-8", "replace")) >= min(len(data), limit) - 3
