"""Following one job for one caller: what is new since his last look."""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mill_actors.api.job_access import need_sight
from mill_actors.api.job_updates import JobUpdate, Place, Seen, is_news, look
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call
from mill_actors.store.job_reading import JobGlance

#: Nobody has a log that is as long.
MOST_OFFSET = 2**40


class UpdateQuery(Struct, kw_only=True):
    """What the caller has seen, and wants."""

    #: what he believes of the job
    running: bool | None = None
    #: how many UTF-16 units of the log he has
    log_offset: int | None = None
    get_progress: bool = False
    no_logs: bool = False
    #: of a stream: the result at its end, and not the job
    only_result: bool = False


class Following:
    """Looks at a job again and again; each look tells what the one before did not."""

    def __init__(self, call: Call[Any, Any], job: str, told: UpdateQuery) -> None:
        offset = told.log_offset or 0
        if not 0 <= offset <= MOST_OFFSET:
            raise Problem(400, "invalid_query", "No log has such an offset.", "$.log_offset")
        self._call = call
        self.job = job
        place = call.services.places.find(job, offset) if offset else Place()
        self.seen = Seen(told.running, place, offset, logs=not told.no_logs, progress=told.get_progress)

    async def look(self) -> tuple[JobGlance, JobUpdate, bool]:
        """Return the job, what is to be told of it, and whether any of that is new.

        Raise `JobNotFound`, or a 403 `Problem`.
        """
        call, before = self._call, self.seen
        glance, update, self.seen = await call.services.run(
            partial(look, workspace=call.workspace, job=self.job, seen=before)
        )
        need_sight(call.who, self.job, glance.path, glance.created_by)
        return glance, update, is_news(glance, update, before, self.seen)

    def believe(self, running: bool | None) -> None:  # noqa: FBT001  as the caller says it
        """Take the caller's word again for whether it runs: he has not heard of the last look."""
        self.seen = replace(self.seen, running=running)

    def keep_place(self) -> None:
        """Remember how far the log was read: he will go on from there."""
        self._call.services.places.keep(self.job, self.seen.place)
