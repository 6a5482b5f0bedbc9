"""All that is told of one job: its row, its log, and where its flow is."""

from __future__ import annotations

from msgspec import Raw

from mill_actors.api.job_models import Job, QueuedJob, job_answer
from mill_actors.api.job_updates import flow_status_text
from mill_actors.jobs.jsons import decode
from mill_actors.store.connection import Connection
from mill_actors.store.flow_versions import flow_by_hash
from mill_actors.store.job_reading import JobView
from mill_actors.store.logs import read_logs


def whole_job(
    connection: Connection, workspace: str, found: JobView, *, logs: bool = True, code: bool = True
) -> Job:
    """Return a job with its logs, and a flow's with its status and its value."""
    told = job_answer(workspace, found)
    if found.is_flow:
        status = flow_status_text(connection, workspace, found.id)
        told.flow_status = None if status is None else Raw(status)
        if isinstance(told, QueuedJob) and status is not None:
            told.suspend = _missing(status)
        if code:
            text = flow_by_hash(connection, workspace, found.script)
            # A body of it is a part of it alone.
            if text is not None and (found.step is None or found.path == text.path):
                told.raw_flow = Raw(text.value)
    if logs:
        told.logs = "".join(chunk.text for chunk in read_logs(connection, workspace, found.id))
    return told


def _missing(status: bytes) -> int | None:
    if b'"WaitingForEvents"' not in status:
        return None
    return next((m["count"] for m in decode(status)["modules"] if m["type"] == "WaitingForEvents"), None)
