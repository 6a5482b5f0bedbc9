"""`mill flow test`: a flow run in memory, with real processes and no database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mill_actors.cli.arguments import read_arguments, read_json
from mill_actors.cli.faults import FAILED
from mill_actors.cli.flow_words import approvals
from mill_actors.cli.output import Json, raw_json, say, show, show_json
from mill_actors.cli.run import error_of, is_good, pretty
from mill_actors.cli.settings import PLACE, Settings, with_settings
from mill_actors.errors import InvalidArgs

if TYPE_CHECKING:
    from mill_actors.flows.run import Run
    from mill_actors.flows.state import Resume

#: The settings that processes obey.
_PROCESSES = (
    "node.pass_env",
    "node.python",
    "node.bun",
    "worker.processes",
    "worker.memory_mb",
    "worker.max_result_bytes",
    "worker.default_timeout_seconds",
)


@with_settings(*PLACE, *_PROCESSES)
def rehearse(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The flow's folder, or its YAML or JSON.")],
    settings: Settings,
    *,
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", "-a", metavar="KEY=VALUE", help="One input; a value that is no JSON is text."),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option("--input", metavar="JSON|@FILE", help="All inputs, as a JSON object.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Approve whatever is asked.")] = False,
    variable: Annotated[
        list[str] | None, typer.Option("--variable", metavar="PATH=TEXT", help="What $var:PATH means.")
    ] = None,
    resource: Annotated[
        list[str] | None, typer.Option("--resource", metavar="PATH=JSON", help="What $res:PATH means.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a flow in memory: no database, and nothing of it is kept.

    Steps run in the same processes as on a node. Scripts and flows that it names are looked for
    in the folder that its f/ or u/ lies in. Pauses are told and not waited for. Who is asked for
    an approval answers on the terminal: y, n, or JSON, which approves with a value.

    \b
    Example:
      mill flow test f/billing/run.flow -a month=3
      mill flow test run.flow.yaml --input @inputs.json --approve --json
    """
    from mill_actors.actors.rehearsal_runner import Troupe
    from mill_actors.cli.flow_direction import Direction
    from mill_actors.cli.flow_sources import any_flow, root_of
    from mill_actors.cli.flow_world import Disk, read_version
    from mill_actors.flows.rehearsal import Rehearsal, World
    from mill_actors.jobs.jsons import encode

    arguments = read_arguments(arg or [], inputs, whole_name="--input")
    variables = dict(_pair("--variable", each) for each in variable or [])
    resources = {
        path: encode(read_json(f"--resource {path}", text))
        for path, text in (_pair("--resource", each) for each in resource or [])
    }
    source = any_flow(Path(file))
    flow = read_version(source)
    disk = Disk(root_of(source))
    world = World(script=disk.script, flow=disk.flow, variables=variables, resources=resources)
    with Troupe(settings.load(), shares=flow.program.value.same_worker) as troupe:
        rehearsal = Rehearsal(flow, encode(arguments), world)
        Direction(rehearsal, troupe, world, _approve if approve else _ask).run()
    assert rehearsal.status is not None
    raw = (rehearsal.result or b"null").decode()
    good = is_good(rehearsal.status)
    if json:
        show_json({"status": rehearsal.status, "result": raw_json(raw)})
    elif good:
        show(pretty(raw))
    if not good:
        from mill_actors.jobs.jsons import decode

        say(error_of(decode(raw)) or raw)
    say(f"mill: {flow.path} {rehearsal.status}")
    raise typer.Exit(0 if good else FAILED)


def _approve(_run: Run, _required: int) -> Resume:
    from mill_actors.flows.state import Resume

    return Resume(approved=True, value=b"null", approver="approver")


def _ask(run: Run, required: int) -> Resume:
    """Ask on the terminal; whoever has none says --approve."""
    from mill_actors.flows.state import Resume
    from mill_actors.jobs.jsons import encode

    step = run.body.steps[run.state.at - 1].id
    say(f"mill: step {step} asks for {approvals(required)}: y, n, or JSON that approves with a value?")
    line = sys.stdin.readline()
    if not line:
        raise InvalidArgs("--approve", f"nobody answers what step {step} asks")
    answer = line.strip()
    if answer.lower() in {"", "y", "yes", "n", "no"}:
        return Resume(approved=answer.lower() in {"y", "yes"}, value=b"null", approver="terminal")
    return Resume(approved=True, value=encode(read_json("the answer", answer)), approver="terminal")


def _pair(option: str, text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not path or not equals:
        raise InvalidArgs(option, f"{text!r} is not PATH=VALUE")
    return path, value
