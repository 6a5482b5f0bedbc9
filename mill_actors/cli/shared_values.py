"""`mill variable` and `mill resource`: what `$var:` and `$res:` mean."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mill_actors.cli.arguments import read_json
from mill_actors.cli.database import open_client
from mill_actors.cli.output import Json, raw_json, say, show, show_json, show_table
from mill_actors.cli.run import pretty
from mill_actors.cli.settings import DATABASE, Settings, with_settings

if TYPE_CHECKING:
    from mill_actors.store.variables import Variable

Path = Annotated[str, typer.Argument(metavar="PATH", help="f/folder/name")]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.")]

variable = typer.Typer(
    help="Texts that flows and scripts share.\n\n\b\nExample:\n  mill variable set f/billing/url http://stub",
    rich_markup_mode=None,
    no_args_is_help=True,
)
resource = typer.Typer(
    help="JSON values that flows and scripts share.\n\n"
    '\b\nExample:\n  mill resource set f/billing/api \'{"url": "http://stub"}\'',
    rich_markup_mode=None,
    no_args_is_help=True,
)


@variable.command("set")
@with_settings(*DATABASE)
def set_variable(
    path: Path,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The text; - reads standard input.")],
    settings: Settings,
    description: Description = None,
    secret: Annotated[
        bool | None,
        typer.Option("--secret/--no-secret", help="Encrypt it; lists and logs never show it."),
    ] = None,
) -> None:
    """Set a variable.

    A secret is encrypted with its workspace's key, which the same database holds: who reads one table reads
    no secret, who reads the whole database does. Once a secret, it remains one until --no-secret.

    \b
    Example:
      mill variable set f/billing/url http://localhost:9000
      pass show billing | mill variable set f/billing/key - --secret
    """
    text = sys.stdin.read() if value == "-" else value
    with open_client(settings.load()) as client:
        client.set_variable(path, text, description, secret=secret)


@variable.command("get")
@with_settings(*DATABASE)
def get_variable(path: Path, settings: Settings, json: Json = False) -> None:
    """Print a variable's text.

    \b
    Example:
      mill variable get f/billing/url
    """
    with open_client(settings.load()) as client:
        found = client.variable(path)
    if json:
        show_json(_variable(found))
    else:
        show(found.value)


@variable.command("list")
@with_settings(*DATABASE)
def list_variables(settings: Settings, json: Json = False) -> None:
    """List variables; texts are in --json only, and of secrets not even there.

    \b
    Example:
      mill variable list
    """
    with open_client(settings.load()) as client:
        found = client.variables()
    if json:
        show_json([_variable(v) for v in found])
    elif found:
        show_table(
            ["path", "#characters", "description"],
            [(v.path, "secret" if v.is_secret else len(v.value), v.description) for v in found],
        )
    else:
        say("mill: no variables")


def _variable(found: Variable) -> dict[str, Any]:
    told: dict[str, Any] = {"path": found.path, "value": found.value, "description": found.description}
    if found.is_secret:
        # Lists have none.
        told = {**told, "value": found.value or None, "is_secret": True}
    return told


@variable.command("delete")
@with_settings(*DATABASE)
def delete_variable(path: Path, settings: Settings) -> None:
    """Delete a variable.

    \b
    Example:
      mill variable delete f/billing/url
    """
    with open_client(settings.load()) as client:
        client.delete_variable(path)


@resource.command("set")
@with_settings(*DATABASE)
def set_resource(
    path: Path,
    value: Annotated[str, typer.Argument(metavar="JSON|@FILE", help="The value.")],
    settings: Settings,
    type_: Annotated[str | None, typer.Option("--type", metavar="NAME", help="Its resource type.")] = None,
    description: Description = None,
) -> None:
    """Set a resource.

    \b
    Example:
      mill resource set f/billing/api '{"url": "http://localhost:9000", "key": "$var:f/billing/key"}'
    """
    told: Any = read_json("VALUE", value)
    with open_client(settings.load()) as client:
        client.set_resource(path, told, type_, description)


@resource.command("get")
@with_settings(*DATABASE)
def get_resource(path: Path, settings: Settings, json: Json = False) -> None:
    """Print a resource's value, as JSON.

    \b
    Example:
      mill resource get f/billing/api
    """
    with open_client(settings.load()) as client:
        found = client.resource(path)
    if json:
        show_json(
            {
                "path": found.path,
                "value": raw_json(found.raw),
                "resource_type": found.resource_type,
                "description": found.description,
            }
        )
    else:
        show(pretty(found.raw))


@resource.command("list")
@with_settings(*DATABASE)
def list_resources(settings: Settings, json: Json = False) -> None:
    """List resources; values are in --json only.

    \b
    Example:
      mill resource list
    """
    with open_client(settings.load()) as client:
        found = client.resources()
    if json:
        show_json(
            [
                {
                    "path": r.path,
                    "value": raw_json(r.raw),
                    "resource_type": r.resource_type,
                    "description": r.description,
                }
                for r in found
            ]
        )
    elif found:
        show_table(["path", "type", "description"], [(r.path, r.resource_type, r.description) for r in found])
    else:
        say("mill: no resources")


@resource.command("delete")
@with_settings(*DATABASE)
def delete_resource(path: Path, settings: Settings) -> None:
    """Delete a resource.

    \b
    Example:
      mill resource delete f/billing/api
    """
    with open_client(settings.load()) as client:
        client.delete_resource(path)
