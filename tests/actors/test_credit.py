"""Room for the next steps of flows: told by the Puller, used up by the Completer."""

from __future__ import annotations

import threading

import pytest

from mill_actors.actors.credit import Credit


def test_there_is_none_before_it_is_told() -> None:
    assert not Credit().take("python3")


def test_it_is_used_up_job_by_job() -> None:
    credit = Credit()
    credit.tell(["python3", "bun"], 2)
    assert [credit.take(tag) for tag in ("python3", "bun", "bun")] == [True, True, False]


def test_what_this_worker_does_not_serve_takes_no_room() -> None:
    credit = Credit()
    credit.tell(["python3"], 1)
    assert not credit.take("gpu")
    assert credit.take("python3")


@pytest.mark.parametrize(("tags", "room"), [((), 5), (["python3"], 0), (["python3"], -3)])
def test_what_is_told_replaces_what_was(tags: list[str], room: int) -> None:
    credit = Credit()
    credit.tell(["python3"], 9)
    credit.tell(tags, room)
    assert not credit.take("python3")


def test_no_room_is_given_twice() -> None:
    credit = Credit()
    credit.tell(["python3"], 1000)
    taken = []

    def take() -> None:
        taken.append(sum(credit.take("python3") for _ in range(500)))

    threads = [threading.Thread(target=take, name="taker") for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1000
