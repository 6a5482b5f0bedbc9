"""`mill run`: one job, its logs while they are printed, its result; steps, if it is a flow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mill_actors.cli.arguments import read_arguments
from mill_actors.cli.database import open_client
from mill_actors.cli.faults import FAILED, INTERRUPTED
from mill_actors.cli.output import Json, duration, raw_json, say, show, show_json
from mill_actors.cli.settings import DATABASE, Settings, with_settings
from mill_actors.cli.waiting import why_it_waits
from mill_actors.errors import StoreUnavailable

if TYPE_CHECKING:
    from mill_actors.store.client import Client
    from mill_actors.store.jobs import Job, JobResult
    from mill_actors.store.logs import LogChunk

#: What is printed within this time is printed with the end; only later is there anything to tell.
QUICK_SECONDS = 0.15
#: How often new lines of a running job are fetched: its node writes them every 0.1 s.
LOGS_SECONDS = 0.2
#: How often it is asked what the job waits for.
STATE_SECONDS = 1.0


@with_settings(*DATABASE)
def run(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The script or flow: f/folder/name.")],
    settings: Settings,
    *,
    arg: Annotated[
        list[str] | None,
        typer.Option(
            "--arg", "-a", metavar="KEY=VALUE", help="One argument; a value that is no JSON is text."
        ),
    ] = None,
    args: Annotated[
        str | None, typer.Option("--args", metavar="JSON|@FILE", help="All arguments, as a JSON object.")
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="What the job needs of a worker.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=100, help="Higher ones go first.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="S", help="How long the job may run.")] = None,
    delay: Annotated[float | None, typer.Option(metavar="S", help="Not before so many seconds.")] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Idempotency key: a repeat answers with the first job.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or print the id.")] = True,
    json: Json = False,
) -> None:
    """Run a script or a flow as one job: stream its logs, print its result.

    The result goes to standard output, logs and everything else to standard error; of a flow also
    each step as it ends. Exit code 0: it succeeded; 1: it failed or was cancelled. Ctrl-C stops the
    waiting and not the job.

    \b
    Example:
      mill run f/examples/hello --arg name=Ada --arg times=3
      mill run f/examples/hello --args @arguments.json --json
    """
    arguments = read_arguments(arg or [], args)
    options: dict[str, Any] = {
        "tag": tag,
        "priority": priority,
        "timeout_seconds": timeout,
        "scheduled_in_seconds": delay,
        "key": key,
    }
    run_job(settings, path, arguments, options, wait=wait, json=json)


def run_job(
    settings: Settings,
    path: str,
    arguments: dict[str, Any],
    options: dict[str, Any],
    *,
    wait: bool,
    json: bool,
) -> None:
    """Do what `mill run` and `mill flow run` do."""
    with open_client(settings.load()) as client:
        if not wait:
            job = client.submit(path, arguments, **options)
            show_json({"id": job}) if json else show(job)
            return
        job, future = client.start(path, arguments, **options)
        result = follow(client, job, future, json=json)
    raise typer.Exit(0 if is_good(result.status) else FAILED)


def follow(client: Client, job: str, future: Future[JobResult], *, json: bool) -> JobResult:
    """Wait for a job's end, tell what it does on the way, and print its result."""
    try:
        if client.job(job).is_flow:
            from mill_actors.cli.flow_following import FlowFollowing

            result = FlowFollowing(client, job, future).wait()
        else:
            result = Following(client, job, future).wait()
    except KeyboardInterrupt:
        say(f"\nmill: job {job} goes on; `mill job cancel {job}` stops it, `mill job get {job}` shows it")
        raise typer.Exit(INTERRUPTED) from None
    _print(client.job(job), result, json=json)
    return result


def is_good(status: str) -> bool:
    """Whether a job ended well: a flow that stopped early is `skipped`."""
    return status in {"success", "skipped"}


def print_log(chunk: LogChunk) -> None:
    """Write a piece of a job's log on standard error."""
    sys.stderr.write(chunk.text)
    sys.stderr.flush()


class Following:
    """One job from now until its end; what it waits for is told on standard error."""

    def __init__(
        self,
        client: Client,
        job: str,
        future: Future[JobResult],
        print_log: Callable[[LogChunk], None] = print_log,
    ) -> None:
        self._client = client
        self._job = job
        self._future = future
        self._print_log = print_log
        self._seen = (0, -1)
        self._told: str | None = None
        self._asked = 0.0
        self._is_away = False

    def wait(self) -> JobResult:
        """Return the result; what the job prints is passed on on the way."""
        pause = QUICK_SECONDS
        while True:
            try:
                result = self._future.result(pause)
            except NotYet:
                pause = LOGS_SECONDS
                self._look()
            else:
                self._tell_logs()
                return result

    def _look(self) -> None:
        try:
            self._tell_state()
            self._tell_logs()
        except StoreUnavailable:
            # The job is in the database, which comes back; the Future outlives the outage too.
            if not self._is_away:
                say(f"mill: the database is away; job {self._job} is waited for")
            self._is_away = True
        else:
            self._is_away = False

    def _tell_logs(self) -> None:
        for chunk in self._client.logs(self._job, self._seen):
            if chunk.attempt != self._seen[0] > 0:
                say(f"mill: attempt {chunk.attempt}")
            self._seen = (chunk.attempt, chunk.position)
            self._print_log(chunk)

    def _tell_state(self) -> None:
        if self._told is not None and monotonic() - self._asked < STATE_SECONDS:
            return
        self._asked = monotonic()
        job = self._client.job(self._job)
        told = why_it_waits(job, self._client.tags_served(), datetime.now(UTC)) or ""
        # "not due before … (in 3 s)" changes by itself; what changes in kind is told.
        kind = told.partition(" (in ")[0]
        if told and kind != self._told:
            say(f"mill: job {self._job} waits: {told}")
        self._told = kind


def _print(job: Job, result: JobResult, *, json: bool) -> None:
    error = None if is_good(result.status) else error_of(result.value)
    if json:
        show_json(
            {
                "id": job.id,
                "status": result.status,
                "result": raw_json(result.raw),
                "duration_us": job.duration_us,
                "attempt": job.attempt,
            }
        )
    elif not error:
        # A flow that failed has a result of its own: what its failure module made of it.
        show(pretty(result.raw))
    if error:
        say(error)
    again = f", attempt {job.attempt}" if job.attempt > 1 else ""
    say(f"mill: job {job.id} {result.status} in {duration(job.duration_us)}{again}")


def pretty(raw: str | None) -> str:
    """Return a result as it should be printed: indented on a terminal, else as it is."""
    if raw is None:
        return "null"
    if not sys.stdout.isatty():
        return raw
    import json as standard

    # The standard library keeps numbers of any size, and every text.
    return standard.dumps(standard.loads(raw), indent=2, ensure_ascii=False)


def error_of(value: Any) -> str:
    """Return a failed job's error for people: the stack, which ends with name and message."""
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return ""
    stack = str(error.get("stack") or "").rstrip()
    line = f"{error.get('name', 'Error')}: {error.get('message', '')}"
    return stack if line in stack else "\n".join(part for part in (line, stack) if part)
