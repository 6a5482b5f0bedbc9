from __future__ import annotations

import itertools

import pytest

from mill_actors.errors import IllegalMove
from mill_actors.jobs.lifecycle import MOVES, Action, State, move

LEGAL = {
    "queued": {"claim": "running", "cancel": "cancelled", "expire": "cancelled"},
    "running": {
        "succeed": "success", "fail": "failure", "skip": "skipped", "cancel": "cancelled", "retry": "queued",
        "release": "queued", "rescue": "queued", "lose": "failure",
    },
}  # fmt: skip


@pytest.mark.parametrize(("state", "action"), list(itertools.product(State, Action)), ids=str)
def test_every_pair_is_a_move_or_an_error(state: State, action: Action) -> None:
    wanted = LEGAL.get(state, {}).get(action)
    if wanted is not None:
        assert move(state, action) == wanted
        return
    with pytest.raises(IllegalMove) as caught:
        move(state, action, "the job")
    assert (caught.value.job_id, caught.value.state, caught.value.move) == ("the job", state, action)


def test_no_move_leads_out_of_a_final_state() -> None:
    assert {state for state in State if state.is_final} == {"success", "failure", "cancelled", "skipped"}
    assert not any(state.is_final for state, _ in MOVES)


def test_every_state_can_be_reached_and_every_action_does_something() -> None:
    assert set(MOVES.values()) | {State.QUEUED} == set(State)
    assert {action for _, action in MOVES} == set(Action)


def test_every_open_state_leads_to_every_end() -> None:
    reached = {State.QUEUED}
    while more := {after for (before, _), after in MOVES.items() if before in reached} - reached:
        reached |= more
    assert reached == set(State)
