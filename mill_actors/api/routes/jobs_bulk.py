"""Starting jobs by the thousand: a line is a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import Struct

from mill_actors.api.dispatch import BODY_SECONDS
from mill_actors.api.permissions import as_told
from mill_actors.api.problems import Problem, problem_of
from mill_actors.api.routes.jobs_run import Kind, retry_of
from mill_actors.api.routing import Call, Routes
from mill_actors.store.bulk import InvalidLine, submit_lines
from mill_actors.store.submission import Submission

routes = Routes("jobs")

#: So many lines are one transaction …
BATCH = 1000
#: … or so many bytes.
BATCH_BYTES = 8 * 1024 * 1024
#: Whoever sends before he reads has his ids kept in memory: so many are 40 MB.
MOST_LINES = 1_000_000
NDJSON = "application/x-ndjson"


class BulkQuery(Struct, kw_only=True):
    """What all jobs of a request have in common."""

    scheduled_for: datetime | None = None
    scheduled_in_secs: float | None = None
    tag: str | None = None
    #: the retry policy as JSON
    retry: str | None = None
    #: seconds
    timeout: float | None = None


class _Ids:
    """Sends ids as fast as they are read, and keeps those that are not: nobody waits for the other."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self._waiting: list[bytes] = []
        self._more = asyncio.Event()
        self._over = False
        self._task = asyncio.create_task(self._send())

    def put(self, text: bytes) -> None:
        self._waiting.append(text)
        self._more.set()

    async def close(self) -> None:
        """Wait until all is sent."""
        self._over = True
        self._more.set()
        await self._task

    def drop(self) -> None:
        """Whoever read has gone."""
        self._task.cancel()

    async def _send(self) -> None:
        while not (self._over and not self._waiting):
            await self._more.wait()
            self._more.clear()
            text, self._waiting = b"".join(self._waiting), []
            if text:
                await self._response.write(text)


async def _bulk(call: Call[BulkQuery, None], kind: Kind) -> web.StreamResponse:
    told = _common(call, kind)
    key = call.request.headers.get("Idempotency-Key")
    response = web.StreamResponse(status=201, headers={"Content-Type": NDJSON})
    ids: _Ids | None = None
    done = 0
    try:
        async for first, lines in _batches(call):
            keys = None if key is None else [f"{key}#{first + place}" for place in range(len(lines))]
            try:
                made = await call.services.run(
                    lambda connection, lines=lines, keys=keys: submit_lines(connection, told, lines, keys)  # type: ignore[misc]  # bound now
                )
            except InvalidLine as error:
                raise _wrong_line(None if error.index is None else first + error.index, error.why) from error
            done += len(made)
            if ids is None:
                await response.prepare(call.request)
                ids = _Ids(response)
            ids.put(b'"' + b'"\n"'.join(job.encode() for job in made) + b'"\n')
    except (ConnectionError, asyncio.CancelledError):
        # What was submitted is; nobody is there to be told.
        if ids is not None:
            ids.drop()
        raise
    except Exception as error:
        if ids is None:
            raise
        # The status is sent: the last line says what is wrong, and that it is no id.
        problem = problem_of(as_told(error, call.who))
        problem.more = {**problem.more, "submitted": done}
        ids.put(problem.body() + b"\n")
    if ids is None:
        await response.prepare(call.request)
    else:
        await ids.close()
    await response.write_eof()
    return response


def _common(call: Call[BulkQuery, None], kind: Kind) -> Submission:
    query, who = call.query, call.who
    who.need_run(kind, call.path)
    return Submission(
        workspace=call.workspace,
        path=call.path,
        kind=kind,
        created_by=who.owner,
        tag=query.tag or None,
        scheduled_for=query.scheduled_for,
        scheduled_in_seconds=query.scheduled_in_secs,
        timeout_seconds=query.timeout,
        retry=retry_of(query.retry),
    )


async def _batches(call: Call[BulkQuery, None]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Yield the number of a first line, counted from 1, and the lines from there on."""
    largest = call.services.config.server.max_body_bytes
    content = call.request.content
    begun: list[bytes] = []
    begun_bytes = 0
    batch: list[bytes] = []
    batch_bytes = 0
    first = number = 1
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                chunk = await content.readany()
        except TimeoutError:
            raise Problem(408, "timeout", f"Nothing came for {BODY_SECONDS:.0f} s.") from None
        ended = not chunk
        begun_bytes += len(chunk)
        if begun_bytes > largest + len(chunk):
            raise _wrong_line(number, f"it has more than {largest:,} bytes")
        begun.append(chunk)
        if not ended and b"\n" not in chunk:
            continue
        *lines, rest = b"".join(begun).split(b"\n")
        if ended and rest:
            lines, rest = [*lines, rest], b""
        begun, begun_bytes = [rest], len(rest)
        for line in lines:
            if number > MOST_LINES:
                raise _wrong_line(number, f"a request has up to {MOST_LINES:,} lines")
            number += 1
            batch.append(line)
            batch_bytes += len(line)
            if len(batch) >= BATCH or batch_bytes >= BATCH_BYTES:
                yield first, batch
                first, batch, batch_bytes = number, [], 0
        if ended:
            if batch:
                yield first, batch
            return


def _wrong_line(number: int | None, why: str) -> Problem:
    where = "A line" if number is None else f"Line {number:,}"
    return Problem(400, "invalid_line", f"{where}: {why}.", line=number)


_BULK: dict[str, Any] = {
    "query": BulkQuery,
    "returns": str,
    "status": 201,
    "form": "ndjson",
    "action": "run",
}


@routes.post("/w/{workspace}/jobs/run/batch/p/{path*}", **_BULK)
async def run_script_batch(call: Call[BulkQuery, None]) -> web.StreamResponse:
    """Start a script many times: a line of the body is a JSON object of arguments, one of the answer an id.

    Ids come in the order of the lines, 1,000 at a time, and what has one is durable. If something is wrong
    with a line, its batch is not submitted and nothing after it is: before the first id that is a 400, and
    after it the last line is an object with `status`, `message`, `line` and how many were `submitted`. An
    `Idempotency-Key` makes a repeat of the same lines answer the same ids.
    """
    return await _bulk(call, "script")


@routes.post("/w/{workspace}/jobs/run/batch/f/{path*}", **_BULK)
async def run_flow_batch(call: Call[BulkQuery, None]) -> web.StreamResponse:
    """Start a flow many times; the same as for a script."""
    return await _bulk(call, "flow")
