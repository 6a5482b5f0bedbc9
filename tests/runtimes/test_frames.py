"""Frames as the node writes and reads them."""

from __future__ import annotations

import json

import pytest

from mill_actors.runtimes.frames import (
    BadFrame,
    Broken,
    Done,
    Fail,
    Init,
    Ready,
    decode,
    encode_context,
    encode_init,
    encode_run,
)


def test_what_the_node_writes() -> None:
    init = Init(script="/s.py", path="f/a", env={"A": "é"})
    assert json.loads(encode_init(init)) == [
        "init",
        {
            "script": "/s.py",
            "path": "f/a",
            "env": {"A": "é"},
            "max_result_bytes": 32 * 1024 * 1024,
            "arguments": "strict",
        },
    ]
    assert encode_context({"A": "b\n"}) == b'["context",{"A":"b\\n"}]\n'
    assert encode_run(7, "j", "c", '{"a": 1}', "t") == b'["run",7,"j","c",{"a": 1},"t"]\n'
    assert encode_run(7, "j", "c", b'{"a": 1}', "t") == b'["run",7,"j","c",{"a": 1},"t"]\n'
    for args in ('{"a": 1}', b'{"a": 1}'):
        frame = encode_run(7, "j", "c", args, "té", {"A": "b\n", "É": '"'})
        assert frame == '["run",7,"j","c",{"a": 1},"té",{"A":"b\\n","É":"\\""}]\n'.encode()
        assert encode_run(7, "j", "c", args, "t", {}) == b'["run",7,"j","c",{"a": 1},"t",{}]\n'


@pytest.mark.parametrize("args", ['{\n"a":\r\n1}', b'{\n"a":\r\n1}'])
def test_a_frame_is_one_line(args: str | bytes) -> None:
    frame = encode_run(0, "j", "c", args, "t")
    assert frame.count(b"\n") == 1
    assert json.loads(frame)[4] == {"a": 1}


def test_what_a_process_answers() -> None:
    ready, done, fail, broken = decode(
        b'["ready",5,10]\n["done","j","c",20,3,{"a": 1}]\n["fail","k","c",30,4,{"name":"E"}]\n["broken",{}]\n'
    )
    assert isinstance(ready, Ready)
    assert (ready.pid, ready.out) == (5, 10)
    assert isinstance(done, Done)
    assert (done.job_id, done.claim, done.out, done.duration_us) == ("j", "c", 20, 3)
    assert bytes(done.result) == b'{"a": 1}'
    assert isinstance(fail, Fail)
    assert bytes(fail.error) == b'{"name":"E"}'
    assert isinstance(broken, Broken)
    assert decode(b"") == []


@pytest.mark.parametrize(
    "raw",
    [
        r'"\u0000"',
        r'"\ud83d\ude00"',
        r'"\ud800"',
        r'{"\udfff": ["\ud800 and more", 1]}',
        "1" + "0" * 400,
        "1e999",
        '"é€😀"',
        "[" * 200 + "]" * 200,
        '"],[\\"done\\""',
    ],
)
def test_results_pass_through_untouched(raw: str) -> None:
    block = f'["done","a","c",1,2,{raw}]\n["fail","b","c",1,2,{raw}]\n'.encode()
    done, fail = decode(block)
    assert isinstance(done, Done)
    assert isinstance(fail, Fail)
    assert bytes(done.result) == bytes(fail.error) == raw.encode()


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[]",
        b'["done"]',
        b'["gone","a","c",1,2,3]',
        b'["done","a","c",1,2,NaN]',
        b'["done","a","c",1,2,"\\ud800" 5]',
        b'["done","a","c",1,2,"\\ud8]',
        b'["done","a","c",1,2,3]x',
        b'["done","a","c","1",2,3]',
        b'["done","a","c",1,2,' + b"[" * 100_000 + b"]" * 100_000 + b"]",
    ],
)
def test_a_line_that_is_no_answer_is_named(line: bytes) -> None:
    with pytest.raises(BadFrame) as caught:
        decode(b'["ready",5,0]\n' + line + b"\n")
    assert caught.value.line == line
    assert repr(line[:20].decode())[1:-1] in str(caught.value)
