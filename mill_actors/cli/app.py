"""All commands, and the one place where they end: `run`.

Commands import what they need when they run, so that `mill --help` and small commands start fast.
"""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from mill_actors.cli.deploy import deploy
from mill_actors.cli.faults import ending
from mill_actors.cli.flow import flow
from mill_actors.cli.job import job
from mill_actors.cli.migrate import migrate
from mill_actors.cli.node import dev, worker
from mill_actors.cli.own_process import hide_passwords
from mill_actors.cli.run import run as run_command
from mill_actors.cli.server import server
from mill_actors.cli.shared_values import resource, variable
from mill_actors.cli.submit import submit
from mill_actors.cli.tokens import token
from mill_actors.cli.top import top
from mill_actors.cli.tree import tree
from mill_actors.cli.version import version

HELP = """\
Runs scripts and flows as jobs from a PostgreSQL queue, in warm processes.

\b
  mill dev                                      database and node, in this folder
  mill deploy examples/scripts                  scripts and flows below f/ and u/
  mill run f/examples/hello --arg name=Ada      one job: its logs, its result
  mill submit f/examples/hello < people.ndjson  many jobs
  mill flow test f/billing/run.flow -a month=3  a flow, without a database

Without a database_url (flag, environment, mill.toml) an embedded PostgreSQL below .mill is used,
which all commands of a folder share. Results go to standard output, messages to standard error.

\b
Exit codes: 0 done; 1 the job failed, or what was asked for is not so;
2 usage or configuration, the database among it; 130 interrupted.
"""

# Plain help: examples keep their lines, and nothing of Rich is imported for it. No pretty
# tracebacks: they would print local variables, a database's password among them.
app = typer.Typer(
    name="mill",
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("dev")(dev)
app.command("worker")(worker)
app.command("server")(server)
app.add_typer(token, name="token")
app.add_typer(migrate, name="migrate")
app.command("deploy")(deploy)
app.command("run")(run_command)
app.command("submit")(submit)
app.add_typer(job, name="job")
app.add_typer(flow, name="flow")
app.add_typer(variable, name="variable")
app.add_typer(resource, name="resource")
app.command("tree")(tree)
app.command("top")(top)
app.command("version")(version)


def run() -> NoReturn:
    """Run the command line that this process was started with."""
    hide_passwords(sys.argv)
    with ending():
        app(prog_name="mill")
    raise SystemExit(0)
