"""A job as a list of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mill_actors.cli.flow_words import place_of
from mill_actors.cli.output import duration, moment, show_fields
from mill_actors.cli.run import pretty

if TYPE_CHECKING:
    from mill_actors.store.jobs import Job


def show_job(found: Job, waits: str | None) -> None:
    """Print it; `waits` is why it does not run."""
    retried = f"{found.attempt}" if found.attempt > 1 else None
    show_fields(
        [
            ("job", found.id),
            ("flow" if found.is_flow else "script", f"{found.path} ({found.script})"),
            ("step", _step_words(found)),
            ("status", found.status),
            ("waits", waits),
            ("tag", found.tag),
            ("priority", found.priority or None),
            ("by", found.created_by),
            ("submitted", moment(found.submitted_at)),
            ("due", _due(found)),
            ("expires", moment(found.expires_at) if found.expires_at else None),
            ("started", moment(found.started_at) if found.started_at else None),
            ("completed", moment(found.completed_at) if found.completed_at else None),
            ("took", None if found.duration_us is None else duration(found.duration_us)),
            ("worker", found.worker),
            ("attempt", retried),
            ("rescues", found.rescues or None),
            ("key", found.concurrency_key),
            ("cancelled", _cancel_words(found)),
            ("args", pretty(found.args)),
            ("result", None if found.result is None or found.status == "failure" else pretty(found.result)),
        ]
    )


def _cancel_words(found: Job) -> str | None:
    if found.cancelled_by is None:
        return None
    return f"by {found.cancelled_by}" + (f": {found.cancel_reason}" if found.cancel_reason else "")


def _due(found: Job) -> str | None:
    # Of a flow that has begun it is when it looks again at what it waits for.
    is_under_way = found.is_flow and found.status != "queued"
    return None if is_under_way or found.scheduled_for == found.submitted_at else moment(found.scheduled_for)


def _step_words(found: Job) -> str | None:
    if found.step is None:
        return None
    return f"{place_of(found.step, found.iteration)} of {found.parent_job}"
