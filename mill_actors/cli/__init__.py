"""The `mill` command. One file a command; standard output is data, standard error messages."""

from __future__ import annotations


def main() -> None:
    """Run the command line and leave with its exit code."""
    from mill_actors.cli.app import run

    run()
