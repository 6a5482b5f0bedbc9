"""A job as Windmill's clients read it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Raw

from mill_actors.api.answers import JsonAnswer
from mill_actors.jobs.jsons import decode, encode
from mill_actors.jobs.script import is_preview
from mill_actors.store.job_reading import JobView

JobKind = Literal["script", "preview", "flow", "flowpreview"]

#: A result may label its job.
LABELS = '"wm_labels"'


class QueuedJob(JsonAnswer, tag="QueuedJob", tag_field="type"):
    """A job that is not over."""

    id: str
    workspace_id: str
    running: bool
    canceled: bool
    job_kind: JobKind
    permissioned_as: str
    is_flow_step: bool
    email: str
    visible_to_owner: bool
    tag: str
    created_by: str
    created_at: datetime
    scheduled_for: datetime
    started_at: datetime | None = None
    parent_job: str | None = None
    script_path: str | None = None
    script_hash: str | None = None
    args: Raw | None = None
    logs: str | None = None
    raw_code: str | None = None
    canceled_by: str | None = None
    canceled_reason: str | None = None
    flow_status: Raw | None = None
    raw_flow: Raw | None = None
    language: str | None = None
    priority: int | None = None
    #: of a flow that waits for approval: how many are missing
    suspend: int | None = None
    is_retry: bool | None = None
    worker: str | None = None


class CompletedJob(JsonAnswer, tag="CompletedJob", tag_field="type"):
    """A job that is over."""

    id: str
    workspace_id: str
    created_by: str
    created_at: datetime
    started_at: datetime
    completed_at: datetime
    scheduled_for: datetime
    duration_ms: int
    success: bool
    canceled: bool
    job_kind: JobKind
    permissioned_as: str
    is_flow_step: bool
    is_skipped: bool
    email: str
    visible_to_owner: bool
    tag: str
    #: success, failure, canceled or skipped
    status: str
    parent_job: str | None = None
    script_path: str | None = None
    script_hash: str | None = None
    args: Raw | None = None
    result: Raw | None = None
    logs: str | None = None
    raw_code: str | None = None
    canceled_by: str | None = None
    canceled_reason: str | None = None
    flow_status: Raw | None = None
    raw_flow: Raw | None = None
    language: str | None = None
    priority: int | None = None
    labels: list[str] | None = None
    is_retry: bool | None = None
    worker: str | None = None


Job = QueuedJob | CompletedJob


def is_good(status: str) -> bool:
    """Whether a job has ended well: a flow that stopped early has."""
    return status in {"success", "skipped"}


def job_kind(script: str, *, is_flow: bool) -> JobKind:
    """Return Windmill's word for what a job runs; `script` is its version."""
    if is_preview(script):
        return "flowpreview" if is_flow else "preview"
    return "flow" if is_flow else "script"


def job_answer(workspace: str, found: JobView) -> Job:
    """Return a job with what its row knows: no logs, and nothing of its steps."""
    return _open(workspace, found) if found.completed_at is None else _over(workspace, found)


def _open(workspace: str, found: JobView) -> QueuedJob:
    return QueuedJob(
        id=found.id,
        workspace_id=workspace,
        running=found.is_running,
        canceled=found.is_cancelled,
        job_kind=job_kind(found.script, is_flow=found.is_flow),
        permissioned_as=found.created_by,
        is_flow_step=found.step is not None,
        email=found.email or "",
        visible_to_owner=True,
        tag=found.tag,
        created_by=found.created_by.removeprefix("u/"),
        created_at=found.submitted_at,
        scheduled_for=found.scheduled_for,
        started_at=found.started_at if found.is_running else None,
        parent_job=found.parent_job,
        script_path=found.path or None,
        script_hash=found.script or None,
        args=_raw(found.args),
        raw_code=found.code if is_preview(found.script) else None,
        canceled_by=_name(found.cancelled_by),
        canceled_reason=found.cancel_reason,
        language=found.language,
        priority=found.priority or None,
        is_retry=found.attempt > 1 or None,
        worker=found.worker,
    )


def _over(workspace: str, found: JobView) -> CompletedJob:
    assert found.completed_at is not None
    return CompletedJob(
        id=found.id,
        workspace_id=workspace,
        created_by=found.created_by.removeprefix("u/"),
        created_at=found.submitted_at,
        # What never began has neither begun nor lasted.
        started_at=found.started_at or found.completed_at,
        completed_at=found.completed_at,
        scheduled_for=found.scheduled_for,
        duration_ms=(found.duration_us or 0) // 1000,
        success=is_good(str(found.status)),
        canceled=found.is_cancelled,
        job_kind=job_kind(found.script, is_flow=found.is_flow),
        permissioned_as=found.created_by,
        is_flow_step=found.step is not None,
        is_skipped=found.status == "skipped",
        email=found.email or "",
        visible_to_owner=True,
        tag=found.tag,
        status="canceled" if found.status == "cancelled" else str(found.status),
        parent_job=found.parent_job,
        script_path=found.path or None,
        script_hash=found.script or None,
        args=_raw(found.args),
        result=_raw(found.result),
        raw_code=found.code if is_preview(found.script) else None,
        canceled_by=_name(found.cancelled_by),
        canceled_reason=found.cancel_reason,
        language=found.language,
        priority=found.priority or None,
        labels=labels_of(found.result),
        is_retry=found.attempt > 1 or None,
        worker=found.worker,
    )


def labels_of(result: str | None) -> list[str] | None:
    """Return the labels that a result gives its job."""
    if result is None or LABELS not in result:
        return None
    value = decode(result)
    labels = value.get("wm_labels") if isinstance(value, dict) else None
    return [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else None


def json_at(text: str | None, json_path: str | None) -> str | None:
    """Return the part of a JSON text that `a.b.0` means; None is null, and what is not there."""
    if text is None or not json_path:
        return text
    value = decode(text)
    for name in json_path.split("."):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 10:
            place = int(name)
            value = value[place] if place < len(value) else None
        else:
            return None
    return encode(value).decode()


def _raw(text: str | None) -> Raw | None:
    return None if text is None else msgspec.Raw(text.encode())


def _name(owner: str | None) -> str | None:
    return None if owner is None else owner.removeprefix("u/")
