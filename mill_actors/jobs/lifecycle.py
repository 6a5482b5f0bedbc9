"""The finite state machine of a job: every legal move, and nothing else.

`queued → running → success | failure | cancelled | skipped`, `running → queued` (retry, rescue,
release), `queued → cancelled`. Writers ask `move` before they write; an illegal move raises
`IllegalMove` and is never a silent write. What a move returns is the event that in-process
subscribers see (`mill_actors.events`): nothing is observed by polling what we did ourselves.
"""

from __future__ import annotations

import enum

from mill_actors.errors import IllegalMove


class State(enum.StrEnum):
    """Where a job is. The first two live in `queue`, the others in `completed_job`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        """Whether the job is over: no move leads out of a final state."""
        return self not in (State.QUEUED, State.RUNNING)


class Action(enum.StrEnum):
    """What moves a job."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    SKIP = "skip"
    CANCEL = "cancel"
    EXPIRE = "expire"
    RETRY = "retry"
    RELEASE = "release"
    RESCUE = "rescue"
    LOSE = "lose"


MOVES: dict[tuple[State, Action], State] = {
    (State.QUEUED, Action.CLAIM): State.RUNNING,
    (State.QUEUED, Action.CANCEL): State.CANCELLED,
    (State.QUEUED, Action.EXPIRE): State.CANCELLED,
    (State.RUNNING, Action.SUCCEED): State.SUCCESS,
    (State.RUNNING, Action.FAIL): State.FAILURE,
    (State.RUNNING, Action.SKIP): State.SKIPPED,
    (State.RUNNING, Action.CANCEL): State.CANCELLED,
    (State.RUNNING, Action.RETRY): State.QUEUED,
    (State.RUNNING, Action.RELEASE): State.QUEUED,
    (State.RUNNING, Action.RESCUE): State.QUEUED,
    (State.RUNNING, Action.LOSE): State.FAILURE,
}


def move(state: State, action: Action, job: str = "") -> State:
    """Return the state that `action` leads to; raise `IllegalMove` if it may not happen.

    >>> move(State.RUNNING, Action.SUCCEED)
    <State.SUCCESS: 'success'>
    """
    try:
        return MOVES[state, action]
    except KeyError:
        raise IllegalMove(job, state.value, action.value) from None
