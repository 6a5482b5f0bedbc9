"""Permits: every frame is started by the process or taken back by the node, never both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mill_actors.runtimes.permits import Permits
from tests.runtimes.conftest import Start
from tests.runtimes.harness import Warm, result_of, until
from tests.runtimes.test_protocol import PROGRAMS


@pytest.fixture(params=PROGRAMS)
def warm(request: pytest.FixtureRequest, start: Start) -> Warm:
    warm = start(request.param, PROGRAMS[request.param])
    warm.ready()
    return warm


def test_a_permit_is_taken_once() -> None:
    permits = Permits()
    assert permits.fd > 4
    assert not os.get_inheritable(permits.fd)
    permits.grant(0, 2000)
    assert os.read(permits.fd, 8) == bytes(8)
    assert permits.take_back() == 1999
    assert permits.take_back() == 0
    permits.close()


def test_jobs_behind_a_busy_one_are_taken_back(warm: Warm, tmp_path: Path) -> None:
    file = tmp_path / "started"
    head = warm.send({"file": str(file), "busy": 0.3})
    behind = [warm.send() for _ in range(20)]
    until(file.exists)
    assert warm.permits.take_back() == len(behind)
    assert warm.answer().job_id == head
    # What is sent now runs; what was taken back never does.
    after = warm.run()
    assert result_of(after) == 2


def test_a_job_taken_back_may_be_sent_again(warm: Warm, tmp_path: Path) -> None:
    file = tmp_path / "started"
    warm.send({"file": str(file), "busy": 0.2})
    again = [warm.send({"text": str(number)}) for number in range(3)]
    until(file.exists)
    assert warm.permits.take_back() == 3
    for number in (2, 0, 1):
        warm.send({"text": str(number)}, job=again[number])
    replies = [warm.answer() for _ in range(4)]
    assert [reply.job_id for reply in replies[1:]] == [again[2], again[0], again[1]]
    assert [warm.log(reply) for reply in replies] == ["", "2\n", "0\n", "1\n"]


def test_a_frame_without_a_permit_is_dropped(warm: Warm) -> None:
    warm.send_unpermitted(warm.next_number())
    warm.send_unpermitted(warm.next_number(), raw="[" * 5000 + "]" * 5000)
    assert result_of(warm.run()) == 1


def test_every_job_is_answered_or_taken_back_and_never_both(warm: Warm) -> None:
    answered: list[str] = []
    taken: list[str] = []
    for _ in range(40):
        batch = [warm.send({"busy": 0.0003}) for _ in range(20)]
        first = warm.answer().job_id
        back = warm.permits.take_back()
        kept = batch[: len(batch) - back]
        taken += batch[len(kept) :]
        answered += [first, *(warm.answer().job_id for _ in kept[1:])]
        assert answered[-len(kept) :] == kept
    assert taken, "nothing was ever in time to be taken back"
    assert result_of(warm.run()) == len(answered) + 1
