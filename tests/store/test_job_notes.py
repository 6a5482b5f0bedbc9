"""What jobs said about themselves, and how long it stays."""

from __future__ import annotations

import pytest

from mill_actors.ids import new_id
from mill_actors.store.job_notes import progress, put_progress, put_user_state, user_state
from mill_actors.store.maintenance import prune
from tests.store.floor import Floor


@pytest.fixture
def floor(own_floor: Floor) -> Floor:
    return own_floor


def test_it_goes_with_history_but_not_while_the_job_is_open(floor: Floor) -> None:
    floor.deploy("f/a/b")
    there, gone = floor.submit(), new_id()
    for job in (there, gone):
        put_progress(floor.connection, "default", job, 7)
        put_user_state(floor.connection, "default", job, "k", b'"v"')
    floor.do("update mill.job_progress set set_at = now() - interval '31 days'")
    floor.do("update mill.flow_user_state set set_at = now() - interval '31 days'")
    assert prune(floor.connection, 32, 7).notes_forgotten == 0
    assert prune(floor.connection, 30, 7).notes_forgotten == 2
    assert [progress(floor.connection, "default", job) for job in (there, gone)] == [7, None]
    assert [user_state(floor.connection, "default", job, "k") for job in (there, gone)] == ['"v"', None]


def test_another_workspace_sees_and_changes_nothing(floor: Floor) -> None:
    job = new_id()
    put_progress(floor.connection, "default", job, 7)
    put_progress(floor.connection, "other", job, 8)
    put_user_state(floor.connection, "default", job, "k", b"1")
    assert progress(floor.connection, "default", job) == 7
    assert progress(floor.connection, "other", job) is None
    assert user_state(floor.connection, "other", job, "k") is None
