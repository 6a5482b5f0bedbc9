"""What is new about a job, for somebody who has seen a part of it."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Raw, Struct
from msgspec.structs import replace

from mill_actors.api.answers import JsonAnswer
from mill_actors.errors import InvalidArgs, JobNotFound
from mill_actors.jobs.jsons import encode
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import job_id
from mill_actors.store.flow_status import read_flow_status
from mill_actors.store.job_notes import progress
from mill_actors.store.job_reading import JobGlance, job_glance
from mill_actors.store.logs import read_logs

#: Readers whose place in a log is remembered.
MOST_PLACES = 10_000


class JobUpdate(JsonAnswer):
    """What is not there has not changed."""

    running: bool | None = None
    completed: bool | None = None
    new_logs: str | None = None
    #: what to send the next time: how many UTF-16 units of the log have been told
    log_offset: int | None = None
    progress: int | None = None
    flow_status: Raw | None = None


class Place(Struct, frozen=True):
    """Where in a job's log somebody is: in UTF-16 units, and after which piece."""

    offset: int = 0
    after: tuple[int, int] = (0, -1)


class Places:
    """Remembers where the pieces end that readers have got: most readers go on from there."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], Place] = OrderedDict()

    def find(self, job: str, offset: int) -> Place:
        """Return the place with this offset, or the beginning."""
        return self._known.get((job, offset), Place())

    def keep(self, job: str, place: Place) -> None:
        """Remember a place."""
        self._known[job, place.offset] = place
        self._known.move_to_end((job, place.offset))
        if len(self._known) > MOST_PLACES:
            self._known.popitem(last=False)


class Seen(Struct):
    """What somebody has seen of a job, and wants to see."""

    running: bool | None = None
    place: Place = Place()
    #: where in the log he is; before the place's end if he counts otherwise than we do
    log_offset: int = 0
    flow_status: bytes | None = None
    logs: bool = True
    #: whether he asks how far it is
    progress: bool = False
    percent: int | None = None


def look(connection: Connection, workspace: str, job: str, seen: Seen) -> tuple[JobGlance, JobUpdate, Seen]:
    """Return what is new, and what has been seen then; raise `JobNotFound`."""
    head = job_glance(connection, workspace, job)
    # The end first: what it tells must not be older than its end.
    text, place = "", seen.place
    if seen.logs:
        text, place = _read_on(connection, workspace, job, seen)
    status = flow_status_text(connection, workspace, job) if head.is_flow else None
    changed = status is not None and status != seen.flow_status
    percent = progress(connection, workspace, job_id(job)) if seen.progress else None
    update = JobUpdate(
        running=_running(head, seen.running),
        completed=head.status is not None,
        new_logs=text or None,
        log_offset=place.offset if seen.logs else None,
        # Nobody has done all before the end.
        progress=None if percent is None else min(max(percent, 0), 99),
        flow_status=Raw(status) if changed and status is not None else None,
    )
    running = head.is_running if head.status is None else seen.running
    after = replace(
        seen, running=running, place=place, log_offset=place.offset, flow_status=status, percent=percent
    )
    return head, update, after


def is_news(head: JobGlance, update: JobUpdate, before: Seen, after: Seen) -> bool:
    """Whether there is something that an observer has not seen."""
    if head.status is not None or update.new_logs is not None:
        return True
    if before.flow_status is not None and update.flow_status is not None:
        return True
    if before.percent is not None and before.percent != after.percent:
        return True
    return before.running is not None and before.running != head.is_running


def flow_status_text(connection: Connection, workspace: str, job: str) -> bytes | None:
    """Return a flow's FlowStatus as JSON; None if it has been forgotten meanwhile."""
    try:
        return encode(read_flow_status(connection, workspace, job))
    except (JobNotFound, InvalidArgs):
        return None


def utf16_length(text: str) -> int:
    """Return the length as JavaScript counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def utf16_from(text: str, offset: int) -> str:
    """Return what comes after so many UTF-16 units."""
    if text.isascii():
        return text[offset:]
    return text.encode("utf-16-le")[2 * offset :].decode("utf-16-le", "replace")


def _running(head: JobGlance, told: bool | None) -> bool | None:  # noqa: FBT001  what the caller believes
    if head.status is not None:
        return False
    if head.is_running:
        return True if told is not True else None
    return None


def _read_on(connection: Connection, workspace: str, job: str, seen: Seen) -> tuple[str, Place]:
    chunks = read_logs(connection, workspace, job, seen.place.after)
    text = "".join(chunk.text for chunk in chunks)
    after = (chunks[-1].attempt, chunks[-1].position) if chunks else seen.place.after
    place = Place(seen.place.offset + utf16_length(text), after)
    return utf16_from(text, max(0, seen.log_offset - seen.place.offset)), place
