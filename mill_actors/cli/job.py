"""`mill job get|logs|cancel|list`."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mill_actors.cli.database import open_client
from mill_actors.cli.faults import FAILED
from mill_actors.cli.flow_words import show_steps, why_flow_waits
from mill_actors.cli.job_fields import show_job
from mill_actors.cli.output import (
    Json,
    duration,
    moment,
    raw_json,
    say,
    show,
    show_json,
    show_table,
)
from mill_actors.cli.run import Following, error_of
from mill_actors.cli.settings import DATABASE, Settings, with_settings
from mill_actors.cli.waiting import unserved, why_it_waits
from mill_actors.errors import InvalidArgs

if TYPE_CHECKING:
    from mill_actors.store.flow_status import FlowStepRow
    from mill_actors.store.jobs import Attempt, Job, ListedJob
    from mill_actors.store.logs import LogChunk

#: Steps that `get` lists of a flow.
MOST_STEPS = 1000

job = typer.Typer(
    help="Look at jobs, and cancel them.\n\n\b\nExample:\n  mill job list\n  mill job get ID",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


class Status(StrEnum):
    """What `--status` knows."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


@job.command("get")
@with_settings(*DATABASE)
def get(id_: Id, settings: Settings, json: Json = False) -> None:
    """Show one job: state, times, attempts, why it waits, arguments, result; a flow's steps.

    \b
    Example:
      mill job get 01a20426-f3a9-747d-8fb4-085a8b191ae0 --json
    """
    with open_client(settings.load()) as client:
        found = client.job(_checked(id_))
        attempts = client.attempts(found.id)
        waits = why_it_waits(found, client.tags_served(), datetime.now(UTC))
        steps = client.flow_steps([found.id], found.submitted_at, limit=MOST_STEPS) if found.is_flow else []
        if found.is_flow and found.status == "running":
            waits = why_flow_waits(client.flow_status(found.id), found.id) or waits
    if json:
        show_json(_as_json(found, attempts, waits, steps))
        return
    show_job(found, waits)
    if steps:
        show("")
        show_steps(steps, MOST_STEPS)
    for attempt in attempts:
        took = duration((attempt.ended_at - attempt.started_at).total_seconds() * 1e6)
        when = moment(attempt.ended_at)
        show(f"\nattempt {attempt.attempt} failed after {took} at {when} on {attempt.worker}")
        show(_indented(error_of(attempt.error)))
    if found.status == "failure" and found.result is not None:
        show("")
        show(_indented(error_of(_loads(found.result))))


@job.command("logs")
@with_settings(*DATABASE)
def logs(
    id_: Id,
    settings: Settings,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    json: Json = False,
) -> None:
    """Print what a job has printed; with --json one object a piece.

    \b
    Example:
      mill job logs 01a20426-f3a9-747d-8fb4-085a8b191ae0 --follow
    """
    job_id = _checked(id_)
    with open_client(settings.load()) as client:
        client.job(job_id)
        print_log = _print_json if json else _print_text
        if follow:
            Following(client, job_id, client.expect(job_id), print_log).wait()
        else:
            for chunk in client.logs(job_id):
                print_log(chunk)


@job.command("cancel")
@with_settings(*DATABASE)
def cancel(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="The jobs' ids.")],
    settings: Settings,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept with the job.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Do not wait for the node that runs it: take the job away.")
    ] = False,
    json: Json = False,
) -> None:
    """Cancel jobs, waiting or running.

    A running job is ended by the node that has it, at once as a rule: `requested` says that it was
    told. Exit code 1 if one of the jobs was over already.

    \b
    Example:
      mill job cancel 01a20426-f3a9-747d-8fb4-085a8b191ae0 --reason "wrong month"
    """
    checked = [_checked(each) for each in ids]
    became = []
    with open_client(settings.load()) as client:
        for each in checked:
            became.append((each, client.cancel(each, reason, force=force)))
            if not json:
                show(f"{each}  {became[-1][1]}")
    if json:
        show_json([{"id": each, "became": told} for each, told in became])
    late = [each for each, told in became if told in {"success", "failure", "skipped"}]
    if late:
        say(f"mill: over already: {', '.join(late)}")
        raise typer.Exit(FAILED)


@job.command("list")
@with_settings(*DATABASE)
def list_(
    settings: Settings,
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    path: Annotated[str | None, typer.Option(metavar="PATH", help="Only jobs of this script.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="At most so many.")] = 30,
    steps: Annotated[bool, typer.Option("--steps", help="The steps of flows too.")] = False,
    json: Json = False,
) -> None:
    """List jobs: open ones first, then finished ones, newest first.

    \b
    Example:
      mill job list --status failure --path f/examples/hello
    """
    with open_client(settings.load()) as client:
        found = client.list(status.value if status else None, path, limit, steps=steps)
        served = client.tags_served() if any(each.status == "queued" for each in found) else frozenset()
    if json:
        show_json([_listed(each, served) for each in found])
        return
    if not found:
        say("mill: no such jobs")
        return
    show_table(
        ["id", "script", "status", "submitted", "#took", "#attempt", "worker"],
        [
            (
                each.id,
                each.path,
                each.status,
                moment(each.submitted_at),
                duration(each.duration_us),
                each.attempt,
                each.worker or "–",
            )
            for each in found
        ],
    )
    for tag in sorted({each.tag for each in found if each.status == "queued"} - served):
        say(f"mill: some wait in vain: {unserved(tag)}")


def _print_text(chunk: LogChunk) -> None:
    sys.stdout.write(chunk.text)
    sys.stdout.flush()


def _print_json(chunk: LogChunk) -> None:
    show_json({"attempt": chunk.attempt, "position": chunk.position, "text": chunk.text})


def _checked(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise InvalidArgs(text, "is not the id of a job, which is a UUID") from None


def _loads(text: str) -> Any:
    import json as standard

    return standard.loads(text)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def _as_json(
    found: Job, attempts: list[Attempt], waits: str | None, steps: Sequence[FlowStepRow]
) -> dict[str, object]:
    import msgspec

    told: dict[str, object] = {name: getattr(found, name) for name in found.__struct_fields__}
    told |= {"args": raw_json(found.args), "result": raw_json(found.result), "waits": waits}
    if found.is_flow:
        told["steps"] = [msgspec.to_builtins(step) for step in steps]
    return told | {"attempts": [msgspec.to_builtins(attempt) for attempt in attempts]}


def _listed(each: ListedJob, served: frozenset[str]) -> dict[str, object]:
    told: dict[str, object] = {name: getattr(each, name) for name in each.__struct_fields__}
    return told | {"served": each.status != "queued" or each.tag in served}
