"""Flows in words: what steps are called, what a flow waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mill_actors.cli.output import duration, say, show_table

if TYPE_CHECKING:
    from mill_actors.store.flow_status import FlowStepRow


def place_of(step: str, iteration: int | None) -> str:
    """Return what a job is called within its flow.

    >>> place_of("a", None), place_of("b", 2), place_of("a~0", None)
    ('a', 'b[2]', 'a (try 1)')
    """
    name, tilde, tries = step.partition("~")
    place = name if iteration is None else f"{name}[{iteration}]"
    return f"{place} (try {int(tries) + 1})" if tilde else place


def approval_of(status: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the step that an approval gates, and how many it takes; None: nobody is asked."""
    for module in status["modules"]:
        if module["type"] == "WaitingForEvents":
            return module["id"], module["count"]
    return None


def approvals(count: int) -> str:
    """Return a number of approvals."""
    return "an approval" if count == 1 else f"{count} approvals"


def why_flow_waits(status: Mapping[str, Any], job: str) -> str | None:
    """Return why a flow that has begun waits; None: it does not, or for its steps."""
    asks = approval_of(status)
    if asks is None:
        return None
    return f"step {asks[0]} waits for {approvals(asks[1])}: `mill flow resume {job}`"


def show_steps(steps: Sequence[FlowStepRow], limit: int) -> None:
    """Print a flow's steps as a table; `limit` is how many were asked for."""
    rows = [(place_of(s.step, s.iteration), s.id, s.status, duration(s.duration_us)) for s in steps]
    show_table(["step", "id", "status", "#took"], rows)
    if len(steps) >= limit:
        say(f"mill: there may be more than these {limit:,}")
