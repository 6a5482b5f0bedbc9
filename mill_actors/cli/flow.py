"""`mill flow validate|run|show|test|resume|restart|status`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mill_actors.cli.arguments import read_arguments, read_json
from mill_actors.cli.database import open_client
from mill_actors.cli.faults import FAILED
from mill_actors.cli.flow_rehearsal import rehearse
from mill_actors.cli.output import Json, draw, raw_json, say, show, show_json
from mill_actors.cli.run import follow, is_good, run_job
from mill_actors.cli.settings import DATABASE, Settings, with_settings
from mill_actors.errors import InvalidArgs, InvalidFlow

if TYPE_CHECKING:
    from mill_actors.flows.tally import Tallies

flow = typer.Typer(
    help="Check flows, run them, look at them, answer what they ask.\n\n"
    "\b\nExample:\n  mill flow validate f/billing\n  mill flow run f/billing/run --arg month=3",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Id = Annotated[str, typer.Argument(metavar="JOB", help="The id of the flow's job.")]
Arg = Annotated[
    list[str] | None,
    typer.Option("--arg", "-a", metavar="KEY=VALUE", help="One argument; a value that is no JSON is text."),
]
Args = Annotated[
    str | None, typer.Option("--args", metavar="JSON|@FILE", help="All arguments, as a JSON object.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or print the id.")]

flow.command("test")(rehearse)


@flow.command("validate")
def validate(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Flows, or folders of them.")],
    json: Json = False,
) -> None:
    """Check flows, without a database.

    Every fault of every flow is told, each with its place. Exit code 1 if there is one.

    \b
    Example:
      mill flow validate f/billing/run.flow
    """
    from mill_actors.cli.flow_sources import any_flow, find_flows, is_flow, read_flows

    sources = []
    for each in map(Path, paths):
        if each.is_dir() and not is_flow(each):
            found, _ = find_flows([each])
            if not found:
                raise InvalidArgs(str(each), "has no flows below f/ or u/")
            sources += found
        else:
            sources.append(any_flow(each))
    is_bad = False
    told = []
    for source in sources:
        _, faults = read_flows([source])
        is_bad |= bool(faults)
        told.append({"file": str(source.file), "faults": [_without(fault, source.file) for fault in faults]})
        if not json:
            for fault in faults:
                show(fault)
    if json:
        show_json(told)
    elif not is_bad:
        say(f"mill: {len(sources)} {'flow' if len(sources) == 1 else 'flows'} without faults")
    raise typer.Exit(FAILED if is_bad else 0)


@flow.command("run")
@with_settings(*DATABASE)
def run(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The flow: f/folder/name.")],
    settings: Settings,
    *,
    arg: Arg = None,
    args: Args = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="What its jobs need of a worker.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=100, help="Higher ones go first.")] = None,
    delay: Annotated[float | None, typer.Option(metavar="S", help="Not before so many seconds.")] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Idempotency key: a repeat answers with the first job.")
    ] = None,
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Run a flow: tell each step as it ends, print the result.

    What steps print comes with their names before it, on standard error. Ctrl-C stops the waiting
    and not the flow.

    \b
    Example:
      mill flow run f/billing/run --arg month=3
    """
    options: dict[str, Any] = {
        "tag": tag,
        "priority": priority,
        "scheduled_in_seconds": delay,
        "key": key,
        "kind": "flow",
    }
    run_job(settings, path, read_arguments(arg or [], args), options, wait=wait, json=json)


@flow.command("show")
@with_settings(*DATABASE)
def show_(
    what: Annotated[
        str, typer.Argument(metavar="PATH|FILE|JOB", help="A deployed flow, one on disk, or a run.")
    ],
    settings: Settings,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="As text for Mermaid.")] = False,
    json: Json = False,
) -> None:
    """Draw a flow; of a run with the states of its steps.

    Steps inside loops are told in counts. With --json: the flow's document as it was deployed, the run's
    status, and the counts of what is inside its loops and branches.

    \b
    Example:
      mill flow show f/billing/run
      mill flow show 01a20426-f3a9-747d-8fb4-085a8b191ae0 --mermaid
    """
    import msgspec

    from mill_actors.cli.flow_graph import draw_tree, mermaid
    from mill_actors.cli.flow_states import RunStates
    from mill_actors.flows.program import compile_flow
    from mill_actors.jobs.jsons import encode

    status: dict[str, Any] | None = None
    tallies: Tallies | None = None
    address = ""
    if _is_id(what):
        with open_client(settings.load()) as client:
            found = client.flow_job(what)
            status = client.flow_status(what)
            tallies = client.flow_tallies(what)
            title = f"{found.version.path}  {found.ending or 'open'}"
            address = found.body.address
            document = client.flow_version(found.version.hash).document
    elif Path(what).exists():
        title, document = _on_disk(Path(what))
    else:
        with open_client(settings.load()) as client:
            deployed = client.flow(what)
        title = deployed.path + (f"  {deployed.summary}" if deployed.summary else "")
        document = deployed.document
    program = compile_flow(encode(document["value"]))
    body = program.bodies[address]
    if json:
        inside = None if tallies is None else msgspec.to_builtins(tallies)
        show_json({"document": raw_json(encode(document).decode()), "status": status, "inside": inside})
    elif as_mermaid:
        show(mermaid(program, body, RunStates(address, status, tallies)))
    else:
        draw(draw_tree(title, program, body, RunStates(address, status, tallies)))


@flow.command("status")
@with_settings(*DATABASE)
def status(id_: Id, settings: Settings) -> None:
    """Print the FlowStatus of a run, as Windmill's API has it.

    \b
    Example:
      mill flow status 01a20426-f3a9-747d-8fb4-085a8b191ae0 | jq .modules
    """
    with open_client(settings.load()) as client:
        show_json(client.flow_status(id_))


@flow.command("resume")
@with_settings(*DATABASE)
def resume(
    id_: Id,
    settings: Settings,
    value: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What `resume` is then.")] = None,
    disapprove: Annotated[bool, typer.Option("--disapprove", help="Say no.")] = False,
    approver: Annotated[str | None, typer.Option(metavar="NAME", help="Who answers.")] = None,
    json: Json = False,
) -> None:
    """Answer the approval that a flow waits for, or something inside it.

    An answer that comes before anybody asks is kept for the first step that does.

    \b
    Example:
      mill flow resume 01a20426-f3a9-747d-8fb4-085a8b191ae0 --value '{"limit": 100}'
    """
    told = None if value is None else read_json("--value", value)
    with open_client(settings.load()) as client:
        name = client.user.removeprefix("u/") if approver is None else approver
        answered = client.resume(id_, told, name, approved=not disapprove)
    show_json({"job": answered, "approved": not disapprove}) if json else show(answered)


@flow.command("restart")
@with_settings(*DATABASE)
def restart(
    id_: Id,
    settings: Settings,
    *,
    step: Annotated[str, typer.Option("--step", metavar="ID", help="The step to begin with.")],
    iteration: Annotated[
        int, typer.Option(min=0, metavar="N", help="… and its iteration or branch; the first is 0.")
    ] = 0,
    arg: Arg = None,
    args: Args = None,
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Run a finished flow again from a step on, with the results it had before it.

    It runs as its path means it now, with the arguments of the old run unless some are given.

    \b
    Example:
      mill flow restart 01a20426-f3a9-747d-8fb4-085a8b191ae0 --step charge --iteration 12
    """
    arguments = read_arguments(arg or [], args) if arg or args is not None else None
    with open_client(settings.load()) as client:
        job = client.restart(id_, step, iteration, arguments)
        if not wait:
            show_json({"id": job}) if json else show(job)
            return
        result = follow(client, job, client.expect(job), json=json)
    raise typer.Exit(0 if is_good(result.status) else FAILED)


def _on_disk(given: Path) -> tuple[str, dict[str, Any]]:
    from mill_actors.cli.flow_sources import NOWHERE, any_flow, read_flows

    source = any_flow(given)
    flows, faults = read_flows([source])
    if faults:
        raise InvalidFlow(faults)
    title = str(given) if source.path == NOWHERE else source.path
    return title, flows[0].document.whole


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _without(fault: str, file: Path) -> str:
    return fault.removeprefix(f"{file}: ")
