"""`mill migrate` and `mill migrate status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mill_actors.cli.database import open_dsn
from mill_actors.cli.output import Json, moment, say, show, show_json, show_table
from mill_actors.cli.settings import DATABASE, Settings, with_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mill_actors.store.migrations import Migration

migrate = typer.Typer(rich_markup_mode=None)


@migrate.callback(invoke_without_command=True)
@with_settings(*DATABASE)
def apply(
    settings: Settings,
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL and change nothing.")] = False,
    json: Json = False,
) -> None:
    """Bring the schema of the database up to date.

    Forward only, and safe to run from many places at once. A role without the rights to change the
    schema passes where nothing is missing, and is told otherwise who must run what.

    \b
    Example:
      mill migrate --database-url postgresql://owner@db/mill
      mill migrate --dry-run > missing.sql
      mill migrate status
    """
    if context.invoked_subcommand is not None:
        # `mill migrate --database-url … status`: the subcommand reads the flags from here.
        context.obj = settings.flags
        return
    from mill_actors.store.migrate import migrate as bring_up_to_date

    with open_dsn(settings.load(), makes=not dry_run) as dsn:
        done = bring_up_to_date(dsn, dry_run=dry_run)
    if json:
        show_json([_named(migration, with_sql=dry_run) for migration in done])
    elif dry_run:
        show(_script(done) if done else "-- nothing is missing")
    else:
        say(f"applied {', '.join(str(migration) for migration in done)}" if done else "nothing was missing")


@migrate.command("status")
@with_settings(*DATABASE)
def status(settings: Settings, context: typer.Context, json: Json = False) -> None:
    """Show every migration; exit code 1 if one is missing.

    \b
    Example:
      mill migrate status --json
    """
    from mill_actors.store.migrate import status as read_status

    above = context.obj or {}
    settings.flags |= {path: value for path, value in above.items() if settings.flags.get(path) is None}
    with open_dsn(settings.load()) as dsn:
        found = read_status(dsn)
    missing = [each for each in found if each.applied_at is None]
    if json:
        show_json(
            [
                {
                    "version": each.version,
                    "name": each.name,
                    "breaking": each.is_breaking,
                    "applied_at": each.applied_at,
                    "known": each.is_known,
                }
                for each in found
            ]
        )
    else:
        show_table(
            ["migration", "applied", ""],
            [
                (
                    each,
                    moment(each.applied_at) if each.applied_at else "missing",
                    "" if each.is_known else "of a newer mill",
                )
                for each in found
            ],
        )
    raise typer.Exit(1 if missing else 0)


def _named(migration: Migration, *, with_sql: bool) -> dict[str, object]:
    named: dict[str, object] = {
        "version": migration.version,
        "name": migration.name,
        "breaking": migration.is_breaking,
    }
    return named | {"sql": migration.text} if with_sql else named


def _script(missing: Sequence[Migration]) -> str:
    return "\n".join(_statements(missing))


def _statements(missing: Sequence[Migration]) -> Iterator[str]:
    from mill_actors.store.migrate import BOOKKEEPING

    yield BOOKKEEPING
    for migration in missing:
        breaking = str(migration.is_breaking).lower()
        row = (
            "insert into mill.migration (version, name, breaking) "  # noqa: S608  printed, never sent
            f"values ({migration.version}, '{migration.name}', {breaking});"
        )
        yield f"-- {migration}"
        if migration.in_transaction:
            yield f"begin;\n{row}\n{migration.text.rstrip()}\ncommit;\n"
        else:
            yield f"{migration.text.rstrip()}\n{row}\n"
