"""A job as server-sent events: what is new, as it comes, and the job or its result at the end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Raw, Struct

from mill_actors.api.job_following import Following, UpdateQuery
from mill_actors.api.job_updates import JobUpdate
from mill_actors.api.problems import problem_of
from mill_actors.api.routing import Call
from mill_actors.api.watcher import News
from mill_actors.api.whole_job import whole_job
from mill_actors.errors import JobNotFound, MillError, StoreUnavailable
from mill_actors.store.connection import Connection
from mill_actors.store.job_reading import job_glance, job_view

logger = logging.getLogger(__name__)

#: A stream that has nothing to tell says that it lives.
PING_SECONDS = 5.0
#: … and a client of Windmill's comes again after this.
STREAM_SECONDS = 60.0
#: How long until the next look when the database was away.
AGAIN_SECONDS = 0.5
#: What a job printed last may be written a moment after its result.
LAST_WORDS_SECONDS = 0.1

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    # nginx shall not gather it.
    "X-Accel-Buffering": "no",
}


class UpdateEvent(JobUpdate, tag="update", tag_field="type"):
    """What is new; with the last one comes the job, or its result alone."""

    job: Raw | None = None
    only_result: Raw | None = None


class OtherEvent(Struct, omit_defaults=True):
    """All other events; `timeout`: come again."""

    type: Literal["ping", "timeout", "notfound", "error"]
    error: str | None = None


async def stream_job(call: Call[Any, Any], job: str, told: UpdateQuery) -> web.StreamResponse:
    """Answer a job's events until it is over, or a minute has passed."""
    following = Following(call, job, told)
    response = web.StreamResponse(headers=HEADERS)
    try:
        glance, update, _ = await following.look()
        await response.prepare(call.request)
        stream = _Stream(call, response, following, told)
        await stream.tell(update, ended=glance.status is not None)
        if glance.status is None:
            async with call.services.watcher.watching(job) as news:
                await stream.follow(news)
    except JobNotFound:
        await response.prepare(call.request)
        await _send(response, OtherEvent("notfound"))
    except ConnectionResetError:
        return response
    except MillError as error:
        if not response.prepared:
            raise
        await _send(response, OtherEvent("error", str(problem_of(error))))
    await response.write_eof()
    return response


class _Stream:
    def __init__(
        self, call: Call[Any, Any], response: web.StreamResponse, following: Following, told: UpdateQuery
    ) -> None:
        self._call = call
        self._response = response
        self._following = following
        self._told = told

    async def follow(self, news: News) -> None:
        now = asyncio.get_running_loop().time
        end = now() + STREAM_SECONDS
        while (left := end - now()) > 0 and not news.is_closing:
            if not await news.wait(min(left, PING_SECONDS)):
                if left > PING_SECONDS and not news.is_closing:
                    await _send(self._response, OtherEvent("ping"))
                continue
            before = self._following.seen
            try:
                glance, update, is_new = await self._following.look()
                if is_new:
                    await self.tell(update, ended=glance.status is not None)
            except StoreUnavailable as error:
                # The stream goes on when the database does, with what has not been told.
                self._following.seen = before
                logger.warning("streaming job %s: %s", self._following.job, error)
                await _send(self._response, OtherEvent("ping"))
                await asyncio.sleep(AGAIN_SECONDS)
                news.ring()
                continue
            if glance.status is not None:
                return
        await _send(self._response, OtherEvent("timeout"))

    async def tell(self, update: JobUpdate, *, ended: bool) -> None:
        event = UpdateEvent(**msgspec.structs.asdict(update))
        if ended:
            if not self._told.no_logs:
                await asyncio.sleep(LAST_WORDS_SECONDS)
                _, last, _ = await self._following.look()
                event.new_logs = (event.new_logs or "") + (last.new_logs or "") or None
                event.log_offset = last.log_offset
                event.flow_status = last.flow_status or event.flow_status
            if self._told.only_result:
                event.only_result = await self._result()
            else:
                event.job = await self._job()
        await _send(self._response, event)

    async def _result(self) -> Raw:
        call = self._call
        glance = await call.services.run(
            lambda c: job_glance(c, call.workspace, self._following.job, result=True)
        )
        return Raw(b"null" if glance.raw is None else glance.raw.encode())

    async def _job(self) -> Raw:
        call = self._call

        def read(connection: Connection) -> Raw:
            found = job_view(connection, call.workspace, self._following.job)
            told = whole_job(connection, call.workspace, found, logs=False, code=False)
            return Raw(msgspec.json.encode(told))

        return await call.services.run(read)


async def _send(response: web.StreamResponse, event: Struct) -> None:
    await response.write(b"data: " + msgspec.json.encode(event) + b"\n\n")
