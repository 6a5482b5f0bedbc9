"""What one body knows of itself between two transitions, what happens to it, and what it then wants.

A `State` is small and stays so: it counts, and never lists. Which children there are is in the rows
of the jobs, found by `parent_job`, `step` and `iteration`.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec
from msgspec import Struct

from mill_actors.flows.program import Step


class Phase(enum.IntEnum):
    """What a body waits for."""

    NEW = 0
    PREPROCESSOR = 1
    STEP = 2  # its children
    SLEEPING = 3
    SUSPENDED = 4
    FAILURE = 5  # the failure module


#: What a body is in while it has no child: an event or its time wakes it.
RESTING = {Phase.SLEEPING, Phase.SUSPENDED}


class Cause(enum.IntEnum):
    """Why the failure module runs: what it is told is made again from this, should it get lost."""

    RESULT = 0  # the step's own result is the error
    STOP = 1  # `stop_after_if` has an error message
    STOP_ALL = 2  # `stop_after_all_iters_if` has
    BAD_STOP = 3  # `stop_after_if` could not be evaluated
    BAD_STOP_ALL = 4


class State(Struct, array_like=True):
    """`at` is the step in progress; the counters are those of its children."""

    phase: Phase = Phase.NEW
    at: int = 0
    #: the one child of a step that has one at a time: an event about another one is old
    job: str | None = None
    iteration: int = 0
    #: how many there will be; -1: nobody knows (a while loop)
    length: int = 0
    #: how many were started, how many have ended, how many of these badly
    started: int = 0
    ended: int = 0
    failed: int = 0
    width: int = 0
    #: the items of a loop are numbers, and not kept anywhere
    counted: bool = False
    #: retries of this step so far
    tries: int = 0
    #: … and how many seconds the try at work had to wait
    delay: float = 0.0
    #: past the approval that the step before asks for; … and past its sleep
    gated: bool = False
    slept: bool = False
    #: the step before asks for none: it was skipped, or failed and the flow went on
    open_gate: bool = False
    cause: Cause = Cause.RESULT


def encode_state(state: State) -> str:
    """Return it as JSON."""
    return msgspec.json.encode(state).decode()


decode_state = msgspec.json.Decoder(State).decode

Ending = Literal["success", "failure", "cancelled", "skipped"]
#: An early stop that leads further out: `skip` marks the flow as skipped.
Stop = Literal["", "stop", "skip"]

# -- what happens ------------------------------------------------------------------------


class Begin(Struct, frozen=True):
    """The body starts; `at`, `iteration`: not at its beginning, earlier results are there already."""

    at: int = 0
    iteration: int = 0
    preprocess: bool = False


class Ended(Struct, frozen=True):
    """A child has ended. `result` None: it is not at hand (an array, made of others).

    `iteration` None: it is no iteration or branch, its end is that of the step.
    """

    step: str
    iteration: int | None
    job: str
    status: Ending
    result: bytes | None
    stop: Stop = ""
    #: what it was given, if that is at hand: a cached result is found by it
    args: bytes | None = None


class Resume(Struct, frozen=True):
    """One answer to an approval."""

    approved: bool
    value: bytes
    approver: str


class Woken(Struct, frozen=True):
    """A timer is due, or somebody answered; `resumes` in the order they came."""

    due: bool
    resumes: tuple[Resume, ...] = ()


class Lost(Struct, frozen=True):
    """The one child that was under way is nowhere: it has to start again."""


class Recount(Struct, frozen=True):
    """What the rows say of the children of the step at work, after something was lost."""

    ended: int
    failed: int
    missing: tuple[int, ...]


Event = Begin | Ended | Woken | Lost | Recount

# -- what it wants -----------------------------------------------------------------------


class StartJob(Struct, frozen=True):
    """Run a script. `step` is the child's place; `leaf` the module with the code."""

    step: Step
    leaf: Step
    iteration: int | None
    args: bytes
    delay_seconds: float = 0.0
    timeout_seconds: float | None = None
    attempt: int = 1


class StartBody(Struct, frozen=True):
    """Run a sequence of this flow. `overlay` is what its `flow_input` has beside ours: `iter`."""

    step: Step
    iteration: int | None
    address: str
    overlay: bytes
    timeout_seconds: float | None = None


class StartFlow(Struct, frozen=True):
    """Run another flow."""

    step: Step
    leaf: Step
    iteration: int | None
    args: bytes
    timeout_seconds: float | None = None


class Record(Struct, frozen=True):
    """A child that ends without having run: identity, mock, skipped, an empty loop, a failed expression.

    The body hears of its end by an event, like of any other's.
    """

    step: Step
    iteration: int | None
    status: Ending
    args: bytes
    result: bytes


class KeepItems(Struct, frozen=True):
    """The items of a loop, asked for one by one later."""

    step: Step
    items: list[msgspec.Raw]


class Forget(Struct, frozen=True):
    """Set the children of a try that failed aside: the next ones take their place."""

    step: Step
    tries: int


class Sleep(Struct, frozen=True):
    """Wake me after this."""

    seconds: float


class AskApproval(Struct, frozen=True):
    """Wake me when somebody answers, at the latest after `timeout_seconds`. `step` is what was suspended."""

    step: Step
    required: int
    timeout_seconds: float


class KeepResume(Struct, frozen=True):
    """An approval that was refused or came too late, as one more answer to it."""

    step: Step
    value: bytes


class ReplaceInput(Struct, frozen=True):
    """What the preprocessor returned is the flow's input from now on."""

    args: bytes


class ReturnEarly(Struct, frozen=True):
    """Who waits for the flow gets this step's result now."""

    step: Step


class End(Struct, frozen=True):
    """The body is over. `result` None: it is the result of the step `of`."""

    status: Ending
    result: bytes | None
    of: str = ""
    stop: Stop = ""


Command = (
    StartJob
    | StartBody
    | StartFlow
    | Record
    | KeepItems
    | Forget
    | Sleep
    | AskApproval
    | KeepResume
    | ReplaceInput
    | ReturnEarly
    | End
)


class Transition(Struct, frozen=True):
    """The state to write, and what to do in the same transaction, in this order."""

    state: State
    commands: list[Command]
