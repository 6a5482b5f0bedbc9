"""`mill submit`: a line of standard input is a job."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from mill_actors.cli.database import open_client
from mill_actors.cli.faults import INTERRUPTED
from mill_actors.cli.output import Json, duration, say, show, show_json
from mill_actors.cli.settings import DATABASE, Settings, with_settings
from mill_actors.cli.waiting import unserved
from mill_actors.errors import MillError

if TYPE_CHECKING:
    from mill_actors.cli.lines import Batch
    from mill_actors.store.client import Client
    from mill_actors.store.submission import Receipt, Submission

#: Jobs in one transaction.
BATCH = 1000
#: A batch that is not full goes when nothing came for this long: standard input may be a live stream.
PATIENCE_SECONDS = 0.1


@with_settings(*DATABASE)
def submit(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The script: f/folder/name.")],
    settings: Settings,
    *,
    with_options: Annotated[
        bool,
        typer.Option("--with-options", help='A line is {"args": {…}, …}, with options of its own.'),
    ] = False,
    key_field: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The argument whose value is the job's idempotency key."),
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="What the jobs need of a worker.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=100, help="Higher ones go first.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="S", help="How long a job may run.")] = None,
    ids: Annotated[
        bool, typer.Option("--ids", help="Print the id of each job, in the order of the lines.")
    ] = False,
    json: Json = False,
) -> None:
    """Submit a job for each line of input.

    A line of standard input holds the arguments of one job, as a JSON object. They go in
    transactions of up to 1,000. A line that is no JSON object ends the command with 2; what was
    submitted before it is said, and stays. With --key-field, lines that were submitted before make no new
    job, so that the same command can be repeated. With --with-options a line may have key, id,
    priority, tag, scheduled_for, scheduled_in_seconds, expires_at, expires_in_seconds,
    timeout_seconds, retry, concurrency_key and concurrency_limit beside its args.

    \b
    Example:
      mill submit f/examples/hello < people.ndjson
      zcat orders.gz | mill submit f/demo/enrich --key-field order_id --json
    """
    from mill_actors.cli.lines import LineReader, Lines

    defaults = {"tag": tag, "priority": priority, "timeout_seconds": timeout}
    config = settings.load()
    with open_client(config) as client:
        what = client.runnable(path)
        lines = Lines(
            path, config.workspace, client.user, defaults, with_options=with_options, key_field=key_field
        )
        if sys.stdin.isatty():
            say("mill: reading lines of JSON from the terminal; Ctrl-D ends")
        stream = Stream(client, json=json, ids=ids)
        try:
            for batch in LineReader(sys.stdin.buffer, BATCH, PATIENCE_SECONDS):
                stream.submit([lines.read(number, line) for number, line in batch], batch)
        except KeyboardInterrupt:
            stream.close()
            raise typer.Exit(INTERRUPTED) from None
        except BaseException:
            stream.close()
            raise
        stream.close()
        if (tag or what.tag) not in client.tags_served():
            say(f"mill: the jobs wait: {unserved(tag or what.tag)}")


class Stream:
    """What was submitted so far, and how that is shown."""

    def __init__(self, client: Client, *, json: bool, ids: bool) -> None:
        from mill_actors.cli.progress import Counting

        self._client = client
        self._json = json
        self._ids = ids
        self._began = monotonic()
        self._jobs = 0
        self._duplicates = 0
        self._progress = Counting("submitted")

    def submit(self, batch: Sequence[Submission], lines: Batch) -> None:
        """Submit all of them, or none."""
        try:
            receipts = self._client.submit_many(batch)
        except MillError:
            say(f"mill: nothing of lines {lines[0][0]} to {lines[-1][0]} was submitted")
            raise
        self._jobs += len(receipts)
        self._duplicates += sum(receipt.duplicate for receipt in receipts)
        self._progress.show(self._jobs)
        if self._ids:
            self._print(receipts)

    def close(self) -> None:
        """Say how many there were; it is true also after an error."""
        self._progress.close()
        seconds = monotonic() - self._began
        if self._json and not self._ids:
            show_json({"submitted": self._jobs, "duplicates": self._duplicates, "seconds": round(seconds, 3)})
        else:
            known = f", {self._duplicates:,} of them known" if self._duplicates else ""
            (say if self._ids else show)(f"{self._jobs:,} jobs submitted{known} in {duration(seconds * 1e6)}")

    def _print(self, receipts: list[Receipt]) -> None:
        for receipt in receipts:
            if self._json:
                show_json({"id": receipt.id, "duplicate": receipt.duplicate})
            else:
                show(receipt.id)
