"""`mill deploy`: files become what their paths mean from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mill_actors.cli.database import open_client
from mill_actors.cli.output import Json, say, show_json, show_table
from mill_actors.cli.settings import DATABASE, Settings, with_settings
from mill_actors.errors import InvalidArgs

if TYPE_CHECKING:
    from mill_actors.jobs.script import Script
    from mill_actors.store.client import Client


@with_settings(*DATABASE)
def deploy(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Script files, or folders of them.")],
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
    """Deploy script files and folders.

    A folder holds the folders f/ and u/, with the scripts in them.

    Paths are Windmill's: the file f/billing/charge.py becomes f/billing/charge. Options come from
    f/billing/charge.script.yaml beside it, in Windmill's layout, and flags go over them. A version
    never changes: jobs keep the one that their path meant when they were submitted.

    \b
    Example:
      mill deploy examples/scripts
      mill deploy charge.py --path f/billing/charge --dedicated --timeout 30
    """
    from mill_actors.cli.sources import find_sources, make_scripts

    flags: dict[str, Any] = {
        "dedicated": dedicated,
        "tag": tag,
        "timeout_seconds": timeout,
        "priority": priority,
        "concurrency_limit": concurrency_limit,
        "concurrency_key": concurrency_key,
    }
    config = settings.load()
    sources, notes = find_sources(paths, path)
    scripts, more_notes = make_scripts(
        config.workspace, sources, {name: value for name, value in flags.items() if value is not None}
    )
    for note in [*notes, *more_notes]:
        say(f"mill: {note}")
    if dry_run:
        changes: list[bool | None] = [None] * len(scripts)
    else:
        with open_client(config) as client:
            changes = [_deploy(client, script) for script in scripts]
    told = list(zip(scripts, changes, strict=True))
    if json:
        show_json([_as_json(script, changed) for script, changed in told])
    else:
        show_table(
            ["script", "language", "version", "tag", ""],
            [(s.path, s.language, s.hash, s.tag, _word(changed)) for s, changed in told],
        )


def _deploy(client: Client, script: Script) -> bool:
    try:
        return client.deploy(script)
    except Exception as error:
        if getattr(error, "sqlstate", None) == "23503":  # the script's workspace has no row
            raise InvalidArgs("--workspace", f"there is no workspace {script.workspace!r}") from None
        raise


def _word(changed: bool | None) -> str:
    return "not deployed" if changed is None else "deployed" if changed else "unchanged"


def _as_json(script: Script, changed: bool | None) -> dict[str, object]:
    return {
        "path": script.path,
        "hash": script.hash,
        "language": script.language,
        "tag": script.tag,
        "dedicated": script.dedicated,
        "changed": changed,
    }
