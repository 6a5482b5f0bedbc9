"""Every message between the actors of a node; frozen, because they are not copied.

`tell` goes up, `ask` goes down or to an earlier sibling. Batches, not single jobs: at 50,000 jobs
a second a message a job would be the cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from pykka import ActorRef

from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome
from mill_actors.jobs.script import Script
from mill_actors.store.logs import LogChunk
from mill_actors.store.settlement import Retrial

#: Jobs that ended without a start say nothing about how long the next ones take.
NOT_RUN = -1


# -- to the Puller ---------------------------------------------------------------------


class Wake(Struct, frozen=True):
    """There may be work for these tags; None: look."""

    tags: frozenset[str] | None = None


class Poll(Struct, frozen=True):
    """The safety net's timer: look, whether somebody rang or not."""


class Due(Struct, frozen=True):
    """A scheduled job falls due about now; `later`: or it is time to ask when the next one does."""

    later: bool = False


class Ready(Struct, frozen=True):
    """This Runner's process has imported its script."""

    runner: int
    started_in_seconds: float


class Broke(Struct, frozen=True):
    """This Runner's process could not import its script; `error` is a failed job's result."""

    runner: int
    error: bytes


class Progress(Struct, frozen=True):
    """So many jobs left this Runner's hands; `spent_us` is their time in the process, or `NOT_RUN`."""

    runner: int
    jobs: int
    spent_us: int
    result_bytes: int = 0


class Returned(Struct, frozen=True):
    """This Runner gives back jobs that it has not started; `serial` counts its `Returned`s.

    `ends`: its process is being killed or is dead, so nothing more shall come its way.
    """

    runner: int
    jobs: Sequence[ClaimedJob]
    serial: int
    ends: bool = False


class Settled(Struct, frozen=True):
    """The Completer has dealt with so many jobs; `flows`: so many that it held whole are out of hand."""

    jobs: int
    result_bytes: int
    flows: int = 0


class Handed(Struct, frozen=True):
    """The next steps of flows, inserted as ours already; `serial` counts the Completer's `Handed`s."""

    jobs: Sequence[ClaimedJob]
    serial: int


class CancelRequested(Struct, frozen=True):
    """Somebody wants these jobs cancelled; whoever holds one settles it."""

    jobs: frozenset[str]


class Deployed(Struct, frozen=True):
    """A path means another version now; empty: some may, a ring was lost."""

    name: str


class Reconcile(Struct, frozen=True):
    """Compare what the database says we hold with what we hold."""


class Sweep(Struct, frozen=True):
    """Look after jobs that could not be dispatched, and Runners nobody needs."""


# -- to a Runner -----------------------------------------------------------------------


class Run(Struct, frozen=True):
    """Run these, in this order."""

    jobs: Sequence[ClaimedJob]


class Cancel(Struct, frozen=True):
    """Cancel those of these that you hold."""

    jobs: frozenset[str]


class Drain(Struct, frozen=True):
    """Give back what has not started, finish what runs, and end."""


class Adopt(Struct, frozen=True):
    """A new Puller has started: report to it. Asked; answered with an `Adopted`."""

    puller: ActorRef[Any]


class Adopted(Struct, frozen=True):
    """What a Runner is, for a Puller that did not start it."""

    runner: int
    script: Script
    jobs: frozenset[str]
    ready: bool
    draining: bool


class Tick(Struct, frozen=True):
    """Look at the job that runs: timeout, memory, output, and who waits behind it."""


class Tidy(Struct, frozen=True):
    """Look at the file of what is printed while nothing runs."""


class Holding(Struct, frozen=True):
    """Which jobs do you hold? Asked; answered with a frozenset of ids.

    Whoever is asked also names those on their way to the Puller: what he has sent after his `returns`th
    message. A Completer is told which steps Runners and Puller hold (`here`): those of its flows in hand
    have no row that could tell.
    """

    returns: int = 0
    here: frozenset[str] = frozenset()


# -- to the Completer ------------------------------------------------------------------


class Outcomes(Struct, frozen=True):
    """Ended attempts: final ones, ones to try again, and the last of what they printed."""

    finished: Sequence[Outcome]
    retried: Sequence[Retrial] = ()
    logs: Sequence[LogChunk] = ()


class Begin(Struct, frozen=True):
    """Flows that were claimed: begin them, or look what has become of them."""

    jobs: Sequence[ClaimedJob]


class CancelFlows(Struct, frozen=True):
    """Somebody wants these flows cancelled; those that are held whole are."""

    flows: frozenset[str]


class FlowTimer(Struct, frozen=True):
    """In a flow held whole, a body's pause is over, or a step's before its next attempt."""

    flow: str
    what: str


class Release(Struct, frozen=True):
    """Give these back to the queue: they were not started, or not by their fault interrupted."""

    jobs: Sequence[ClaimedJob]


# -- to the LogWriter ------------------------------------------------------------------


class Printed(Struct, frozen=True):
    """What running jobs have printed so far."""

    chunks: Sequence[LogChunk]


# -- to Heartbeat, Rescuer, Pruner, Listener -------------------------------------------


class Beat(Struct, frozen=True):
    """Time to beat."""


class Beats(Struct, frozen=True):
    """Everybody's counters as one successful read found them; None: the read failed."""

    beats: Mapping[str, int] | None
    admissions_wait: bool = False
    expiries_wait: bool = False


class FindDead(Struct, frozen=True):
    """A lease has run out; the node's row is compared once more before anybody is declared dead."""


class Admit(Struct, frozen=True):
    """Look whether a place under a concurrency key is free."""


class FindOrphans(Struct, frozen=True):
    """Look for jobs whose node has no row."""


class Prune(Struct, frozen=True):
    """Make and drop partitions, forget what has expired."""


class DeleteDue(Struct, frozen=True):
    """Delete arguments and results that are to be gone by now."""


class Listen(Struct, frozen=True):
    """Listen a little longer."""
