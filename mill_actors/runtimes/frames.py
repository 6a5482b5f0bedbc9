"""The lines between a node and a language process; `docs/frames.md` is their definition.

A frame is one line of JSON, an array that begins with its kind. Arguments and results pass
through as raw JSON: the node never parses either. Measured (3.11): `encode_run` 0.2 us with
`args` as text and 0.45 us as bytes, 0.25 us more with variables; `decode` 0.1 us a reply in blocks of 400.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Raw, Struct, field

from mill_actors.errors import MillError


class BadFrame(MillError):
    """A process wrote a line that is no answer."""

    def __init__(self, line: bytes, why: str) -> None:
        self.line = line
        self.why = why
        super().__init__(f"{why}: {line[:200]!r}")


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """The script is imported and has an entry point; what was printed up to `out` is no job's."""

    pid: int
    out: int


class Broken(Struct, frozen=True, array_like=True, tag="broken"):
    """The script can't be imported or has no entry point; the process exits."""

    error: Raw


class Done(Struct, frozen=True, array_like=True, tag="done"):
    """A job succeeded."""

    job_id: str
    claim: str
    out: int
    duration_us: int
    result: Raw


class Fail(Struct, frozen=True, array_like=True, tag="fail"):
    """A job failed; `error` is an object with name, message and stack."""

    job_id: str
    claim: str
    out: int
    duration_us: int
    error: Raw


class Init(Struct, frozen=True, kw_only=True):
    """What a process needs before its first job."""

    script: str
    path: str
    env: dict[str, str] = field(default_factory=dict)
    max_result_bytes: int = 32 * 1024 * 1024
    arguments: Literal["strict", "windmill"] = "strict"


Reply = Ready | Broken | Done | Fail

_ANSWER = re.compile(rb'\["(done|fail)","([^"]*)","([^"]*)",(\d+),(\d+),(.*)\]')

_decoder: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)
_encoder = msgspec.json.Encoder()


def encode_init(init: Init) -> bytes:
    """Return the first frame of a process."""
    return _encoder.encode(["init", init]) + b"\n"


def encode_context(variables: Mapping[str, str]) -> bytes:
    """Return the frame that replaces the sticky variables of all runs after it."""
    return _encoder.encode(["context", variables]) + b"\n"


def encode_run(
    number: int,
    job_id: str,
    claim: str,
    args: bytes | str,
    token: str,
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """Return the frame of one job; `args` is a JSON object, embedded as it is.

    `number` is its permit's (`permits.py`). Job ids, claims and tokens consist of characters JSON
    does not escape. `variables` are this job's alone; without them the frame has no seventh element,
    and the process nothing to do for it. A newline in `args` can only stand between tokens, where a
    space means the same.
    """
    if isinstance(args, bytes):
        head = f'["run",{number},"{job_id}","{claim}",'.encode()
        tail = b"" if variables is None else b"," + _encoder.encode(variables)
        return b'%b%b,"%b"%b]\n' % (head, args.replace(b"\n", b" "), token.encode(), tail)
    if "\n" in args:
        args = args.replace("\n", " ")
    if variables is None:
        return f'["run",{number},"{job_id}","{claim}",{args},"{token}"]\n'.encode()
    head = f'["run",{number},"{job_id}","{claim}",{args},"{token}",'.encode()
    return head + _encoder.encode(variables) + b"]\n"


def decode(data: bytes) -> list[Reply]:
    """Return the answers in a block of complete lines; `BadFrame` names the line at fault."""
    try:
        return _decoder.decode_lines(data)
    except (msgspec.MsgspecError, RecursionError):
        return [_decode_line(line) for line in data.split(b"\n") if line]


def _decode_line(line: bytes) -> Reply:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        reply = _decode_loosely(line)
        if reply is None:
            raise BadFrame(line, str(error)) from None
        return reply


def _decode_loosely(line: bytes) -> Done | Fail | None:
    # JSON may hold the escape of half a surrogate pair, which msgspec refuses even in a Raw.
    found = _ANSWER.fullmatch(line)
    if found is None:
        return None
    kind, job_id, claim, out, duration, value = found.groups()
    try:
        json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    answer = Done if kind == b"done" else Fail
    return answer(job_id.decode(), claim.decode(), int(out), int(duration), Raw(value))


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
