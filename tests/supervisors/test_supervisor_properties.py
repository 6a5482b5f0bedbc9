"""The pure parts against oracles that are too simple to be wrong."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import supervisors.frames
import supervisors.intensity
import supervisors.reasons
import supervisors.strategy
from supervisors import (
    ABANDONED,
    NORMAL,
    SHUTDOWN,
    Crashed,
    Reason,
    Restart,
    Shutdown,
    Strategy,
)
from supervisors.frames import Frames, FrameTooLong
from supervisors.intensity import add_restart
from supervisors.strategy import Next, is_expected, judge, plan

REASONS = st.sampled_from([NORMAL, SHUTDOWN, Shutdown("x"), Crashed(ValueError()), ABANDONED])
RESTARTS = st.sampled_from(Restart)
# Eighths are exact in binary, so the oracle and the code may subtract either way round.
SECONDS = st.integers(0, 80).map(lambda eighths: eighths / 8)


@pytest.mark.parametrize(
    "module",
    [supervisors.frames, supervisors.intensity, supervisors.reasons, supervisors.strategy],
    ids=lambda module: module.__name__,
)
def test_doctests(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@given(st.lists(SECONDS, max_size=30), st.integers(0, 5), SECONDS)
def test_intensity_counts_the_window(gaps: list[float], max_restarts: int, max_seconds: float) -> None:
    assume(max_seconds > 0)
    now, all_times, window = 0.0, list[float](), tuple[float, ...]()
    for gap in gaps:
        now += gap
        all_times.append(now)
        window, too_many = add_restart(window, now, max_restarts=max_restarts, max_seconds=max_seconds)
        inside = [at for at in all_times if now - at <= max_seconds]
        assert list(window) == inside
        assert too_many == (len(inside) > max_restarts)


@given(st.lists(st.text(max_size=3), min_size=1, unique=True), st.data(), st.sampled_from(Strategy))
def test_a_plan_stops_in_reverse_what_it_starts(ids: list[str], data: Any, strategy: Strategy) -> None:
    dead = data.draw(st.sampled_from(ids))
    stop, start = plan(strategy, ids, dead)
    assert stop == start[::-1]
    assert list(start) == sorted(start, key=ids.index)
    touched = {
        Strategy.ONE_FOR_ONE: {dead},
        Strategy.ONE_FOR_ALL: set(ids),
        Strategy.REST_FOR_ONE: {each for each in ids if ids.index(each) >= ids.index(dead)},
    }
    assert set(start) == touched[strategy]


@given(RESTARTS, REASONS)
def test_judge_is_otps_table(restart: Restart, reason: Reason) -> None:
    clean = reason in {NORMAL, SHUTDOWN, Shutdown("x")}
    table = {
        (Restart.PERMANENT, True): (Next.RESTART, True),
        (Restart.PERMANENT, False): (Next.RESTART, True),
        (Restart.TRANSIENT, True): (Next.KEEP, False),
        (Restart.TRANSIENT, False): (Next.RESTART, True),
        (Restart.TEMPORARY, True): (Next.FORGET, False),
        (Restart.TEMPORARY, False): (Next.FORGET, True),
    }
    assert tuple(judge(restart, reason)) == table[restart, clean]


@given(RESTARTS, REASONS)
def test_only_shutdown_is_silent_for_all_in_an_ordered_stop(restart: Restart, reason: Reason) -> None:
    silent = {SHUTDOWN} if restart is Restart.PERMANENT else {NORMAL, SHUTDOWN, Shutdown("x")}
    assert is_expected(restart, reason) == (reason in silent)


CHUNKS = st.lists(st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"0123456789"])).map(b"".join), max_size=20)


@given(CHUNKS)
def test_frames_lose_and_reorder_nothing(chunks: list[bytes]) -> None:
    frames, got = Frames(1 << 20), b""
    for chunk in chunks:
        data = frames.feed(bytearray(chunk + b"junk of an earlier read\n"), len(chunk))
        assert data == b"" or data.endswith(b"\n")
        got += data
    sent = b"".join(chunks)
    assert got == sent[: sent.rfind(b"\n") + 1]


@given(CHUNKS, st.integers(0, 12))
def test_a_frame_too_long_is_found_and_those_before_it_delivered(chunks: list[bytes], limit: int) -> None:
    frames, got, is_too_long = Frames(limit), b"", False
    fed = b""
    for chunk in chunks:
        fed += chunk
        try:
            got += frames.feed(bytearray(chunk), len(chunk))
        except FrameTooLong as error:
            got += error.complete
            is_too_long = True
            break
    *lines, rest = fed.split(b"\n")
    good = b""
    for line in lines:
        if len(line) > limit:
            break
        good += line + b"\n"
    assert is_too_long == any(len(line) > limit for line in [*lines, rest])
    assert got == good
