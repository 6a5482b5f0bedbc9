"""`mill deploy`: files become what their paths mean from now on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mill_actors.cli.database import open_client
from mill_actors.cli.output import Json, say, show_json, show_table
from mill_actors.cli.settings import DATABASE, Settings, with_settings
from mill_actors.errors import ConfigError, InvalidArgs, MillError

if TYPE_CHECKING:
    from mill_actors.cli.flow_sources import ReadFlow
    from mill_actors.jobs.script import Script
    from mill_actors.store.client import Client
    from mill_actors.store.flow_versions import FlowText


class NotDeployable(ConfigError):
    """What was to be deployed has faults."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        count = "There is a fault" if len(self.faults) == 1 else f"There are {len(self.faults)} faults"
        lines = "".join(f"\n  {fault}" for fault in self.faults)
        MillError.__init__(self, f"{count}, and nothing was deployed:{lines}")


@with_settings(*DATABASE)
def deploy(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Scripts, flows, or folders of them.")],
    settings: Settings,
    *,
    path: Annotated[
        str | None, typer.Option("--path", metavar="PATH", help="The path of a single file: f/folder/name.")
    ] = None,
    dedicated: Annotated[
        bool | None,
        typer.Option("--dedicated/--no-dedicated", help="Keep a warm process wherever it is served."),
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="What its jobs need of a worker.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="S", help="How long a job may run.")] = None,
    priority: Annotated[int | None, typer.Option(metavar="0…100", help="Higher ones go first.")] = None,
    concurrency_limit: Annotated[
        int | None, typer.Option(metavar="N", help="At most so many jobs at a time, over all workers.")
    ] = None,
    concurrency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="What the limit counts by: $workspace, $args[name].")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and deploy nothing.")] = False,
    json: Json = False,
) -> None:
    """Deploy scripts and flows.

    A folder holds the folders f/ and u/, with the scripts and flows in them.

    Paths are Windmill's: the file f/billing/charge.py becomes f/billing/charge. Options come from
    f/billing/charge.script.yaml beside it, in Windmill's layout, and flags go over them. A version
    never changes: jobs keep the one that their path meant when they were submitted.

    A flow is a folder f/billing/run.flow (or run__flow) with a flow.yaml or flow.json and the code of
    its steps, or a file f/billing/run.flow.yaml (.yml, .json) of its own.

    \b
    Example:
      mill deploy examples/scripts
      mill deploy charge.py --path f/billing/charge --dedicated --timeout 30
    """
    given: dict[str, Any] = {
        "dedicated": dedicated,
        "tag": tag,
        "timeout_seconds": timeout,
        "priority": priority,
        "concurrency_limit": concurrency_limit,
        "concurrency_key": concurrency_key,
    }
    flags = {name: value for name, value in given.items() if value is not None}
    config = settings.load()
    found = _read(config.workspace, paths, path, flags)
    for note in found.notes:
        say(f"mill: {note}")
    changes: list[bool | None] = [None] * (len(found.scripts) + len(found.flows))
    if not dry_run:
        with open_client(config) as client:
            # All scripts first: a flow may run as soon as it is there.
            deployed = [_deploy(client.deploy, script) for script in found.scripts]
            deployed += [_deploy(client.deploy_flow, flow) for flow in found.flows]
            changes = list(deployed)
            for note in _missing(client, found.read):
                say(f"mill: {note}")
    versions: list[Script | FlowText] = [*found.scripts, *found.flows]
    told = list(zip(versions, changes, strict=True))
    if json:
        show_json([_as_json(each, changed) for each, changed in told])
    else:
        show_table(
            ["path", "language", "version", "tag", ""],
            [(e.path, _language(e) or "flow", e.hash, e.tag, _word(changed)) for e, changed in told],
        )


class _Found:
    """What is on disk."""

    def __init__(
        self,
        scripts: list[Script],
        flows: list[FlowText],
        read: list[ReadFlow],
        notes: list[str],
    ) -> None:
        self.scripts = scripts
        self.flows = flows
        self.read = read
        self.notes = notes


def _read(workspace: str, paths: Sequence[str], path: str | None, flags: Mapping[str, Any]) -> _Found:
    """Read all that is named; raise with every fault of it, `InvalidArgs` for what can be nothing."""
    from mill_actors.cli.flow_sources import find_flows, is_flow, make_flows, read_flows
    from mill_actors.cli.sources import find_sources, make_scripts

    if path is not None and len(paths) != 1:
        raise InvalidArgs("--path", "goes with a single file")
    others = [each for each in paths if not (Path(each).exists() and is_flow(Path(each)))]
    sources, notes = find_sources(others, path)
    flow_sources, flow_notes = find_flows([Path(each) for each in paths], path)
    files = [*(each.file for each in sources), *(each.file for each in flow_sources)]
    for each in map(Path, others):
        if each.is_dir() and not any(file.is_relative_to(each) for file in files):
            raise InvalidArgs(str(each), "has no scripts or flows below f/ or u/")
    faults: list[str] = []
    scripts: list[Script] = []
    more: list[str] = []
    try:
        scripts, more = make_scripts(workspace, sources, flags)
    except ConfigError as error:
        faults += error.faults
    read, flow_faults = read_flows(flow_sources, flags)
    faults += flow_faults
    if faults:
        raise NotDeployable(faults)
    return _Found(scripts, make_flows(workspace, read), read, [*notes, *flow_notes, *more])


def _missing(client: Client, flows: list[ReadFlow]) -> list[str]:
    from mill_actors.cli.flow_sources import find_missing

    if not flows:
        return []
    scripts = {script.path for script in client.scripts()}
    return find_missing(flows, scripts, {flow.path for flow in client.flows()})


def _deploy(call: Callable[[Any], bool], what: Script | FlowText) -> bool:
    try:
        return call(what)
    except Exception as error:
        if getattr(error, "sqlstate", None) == "23503":  # its workspace has no row
            raise InvalidArgs("--workspace", f"there is no workspace {what.workspace!r}") from None
        raise


def _word(changed: bool | None) -> str:
    return "not deployed" if changed is None else "deployed" if changed else "unchanged"


def _language(what: Script | FlowText) -> str | None:
    return getattr(what, "language", None)


def _as_json(what: Script | FlowText, changed: bool | None) -> dict[str, object]:
    language = _language(what)
    return {
        "path": what.path,
        "hash": what.hash,
        "kind": "flow" if language is None else "script",
        "language": language,
        "tag": what.tag,
        "dedicated": what.options.dedicated,
        "changed": changed,
    }
