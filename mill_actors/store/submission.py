"""Submit: jobs become rows. What was answered is durable. SQL: `sql/submit.sql`.

A submission may carry a key: the first one makes the job, a repeat answers with its id, and the
same key with other arguments is a conflict. Ids chosen by clients are keys too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
import orjson
import psycopg
from msgspec import Struct
from psycopg import errors

from mill_actors.errors import InvalidArgs, SubmissionConflict
from mill_actors.ids import new_ids
from mill_actors.jobs.retry import RetryPolicy
from mill_actors.store.arrays import JsonArray, literal, numbers
from mill_actors.store.concurrency import Key, fill_key, free_and_admit, put_concurrency_keys
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode
from mill_actors.store.queries import sql
from mill_actors.store.runnables import Runnable, runnable_by_hash, runnable_by_path

#: How long a submission key is remembered after its submission (longer while its job is open).
KEEP_KEYS_SECONDS = 7 * 86_400
#: A job's arguments above this are refused: they would fill a claim of everybody behind them.
MAX_ARGS_BYTES = 64 * 1024 * 1024

_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


class Submission(Struct, frozen=True, kw_only=True):
    """What a caller asks for. None means: as the script says.

    `args` is a JSON object, as a mapping or as its text. `scheduled_for` and `expires_at` are aware
    datetimes; the `…_seconds` forms count from the database's now.
    """

    path: str
    args: Mapping[str, object] | bytes = {}
    workspace: str = "default"
    created_by: str = "u/admin"
    id: str | None = None
    key: str | None = None
    tag: str | None = None
    priority: int | None = None
    scheduled_for: datetime | None = None
    scheduled_in_seconds: float | None = None
    expires_at: datetime | None = None
    expires_in_seconds: float | None = None
    timeout_seconds: float | None = None
    retry: RetryPolicy | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    concurrency_window_s: float | None = None
    parent_job: str | None = None
    awaited: bool = False
    #: "script" or "flow", for a path that is both; None: whichever there is
    kind: Literal["script", "flow"] | None = None
    #: one version of it, by its hash; None: what the path means now
    hash: str | None = None
    #: of a flow: begin with its preprocessor; or at a step, with the results of another run
    preprocess: bool = False
    restart: Restart | None = None


class Restart(Struct, frozen=True):
    """Where a flow begins: at a step of `job`'s, or at one of its iterations or branches."""

    job: str
    step: str
    iteration: int = 0


class Receipt(Struct, frozen=True):
    """The answer to one submission. `duplicate`: the key or id was known, and this is its job."""

    id: str
    duplicate: bool = False


class Row(Struct, gc=False):
    """A submission with everything decided."""

    id: str
    told: Submission
    what: Runnable
    args: bytes
    concurrency_key: str | None
    concurrency_limit: int | None
    concurrency_window_s: float | None = None

    @property
    def tag(self) -> str:
        return self.told.tag or self.what.tag

    @property
    def submission_key(self) -> str | None:
        if self.told.key is not None:
            return self.told.key
        return None if self.told.id is None else f"id:{self.told.id}"


class Submitted(Struct, frozen=True):
    """Receipts in the order of the submissions, and the tags that have work now."""

    receipts: list[Receipt]
    tags: frozenset[str]


def submit(
    connection: Connection,
    submissions: Sequence[Submission],
    ids: Sequence[str] | None = None,
    *,
    inside: bool = False,
) -> Submitted:
    """Write jobs in one transaction: all of them, or none.

    `ids` are fresh ones of our own making, for a caller that must know them beforehand. `inside`: it
    is part of a transaction of the caller's, which may last; so no lock is taken that a worker would
    wait for, and jobs with a concurrency key are admitted by the sweep. Raises `ScriptNotFound`,
    `InvalidArgs`, and `SubmissionConflict` for a key or id that means a job with other arguments.
    """
    try:
        return _submit(connection, submissions, ids, inside=inside)
    except (psycopg.DataError, errors.StatementTooComplex, UnicodeEncodeError, RecursionError) as error:
        subject = submissions[0].path if len(submissions) == 1 else f"{len(submissions)} jobs"
        raise InvalidArgs(subject, str(error).strip()) from error


def _submit(
    connection: Connection, submissions: Sequence[Submission], ids: Sequence[str] | None, *, inside: bool
) -> Submitted:
    runnables: dict[tuple[str, str, str | None, str | None], Runnable] = {}
    for told in submissions:
        what = (told.workspace, told.path, told.kind, told.hash)
        if what not in runnables:
            runnables[what] = _runnable(connection, told)
    fresh = iter(ids or new_ids(len(submissions)))
    rows = [_decide(t, runnables[t.workspace, t.path, t.kind, t.hash], next(fresh)) for t in submissions]
    if all(_is_plain(row) for row in rows) and len(rows) > 1:
        _copy(connection, rows)
        return Submitted([Receipt(row.id) for row in rows], frozenset(row.tag for row in rows))
    # The first row of each key; what comes later in the batch is a repeat.
    keyed: dict[Key, Row] = {}
    for row in rows:
        if row.submission_key is not None:
            keyed.setdefault((row.told.workspace, row.submission_key), row)
    limits = {
        (row.told.workspace, row.concurrency_key): (
            row.concurrency_limit or 1,
            row.concurrency_window_s or 0.0,
        )
        for row in rows
        if row.concurrency_key is not None
    }
    if not keyed and not limits:
        _insert(connection, rows)
        return Submitted([Receipt(row.id) for row in rows], frozenset(row.tag for row in rows))
    with connection.transaction():
        known, taken = _take_keys(connection, rows, keyed) if keyed else ({}, set())
        receipts = []
        new = []
        for row in rows:
            name = (row.told.workspace, row.submission_key or "")
            is_new = row.submission_key is None or (name in taken and keyed[name] is row)
            receipts.append(Receipt(row.id) if is_new else Receipt(known[name], duplicate=True))
            if is_new:
                new.append(row)
        try:
            _insert(connection, new)
        except errors.UniqueViolation as error:
            found = _UUID.search(error.diag.message_detail or "")
            raise SubmissionConflict("id", found[0] if found else "") from error
        _refuse_finished(connection, [row.id for row in new if row.told.id is not None])
        tags = {row.tag for row in new if row.concurrency_key is None}
        if limits:
            put_concurrency_keys(connection, limits, inside=inside)
            if not inside:
                tags |= free_and_admit(connection, [], limits)
    return Submitted(receipts, frozenset(tags))


def _runnable(connection: Connection, told: Submission) -> Runnable:
    if told.hash is None:
        return runnable_by_path(connection, told.workspace, told.path, told.kind)
    return runnable_by_hash(connection, told.workspace, told.path, told.kind, told.hash)


def _refuse_finished(connection: Connection, chosen: Sequence[str]) -> None:
    """Raise `SubmissionConflict` for an id that a finished job has, of any workspace."""
    if not chosen:
        return
    row = connection.execute(sql.finished_ids, {"ids": list(chosen)}).fetchone()
    if row is not None:
        raise SubmissionConflict("id", row[0])


def _decide(told: Submission, what: Runnable, fresh: str) -> Row:
    if told.id is not None and not _UUID.fullmatch(told.id):
        raise InvalidArgs(told.path, f"the job id {told.id!r} is not a UUID in its usual form")
    if told.priority is not None and not 0 <= told.priority <= 100:
        raise InvalidArgs(told.path, f"priority {told.priority} is not between 0 and 100")
    if (told.restart or told.preprocess) and not what.is_flow:
        raise InvalidArgs(told.path, "only flows have steps to restart from, or a preprocessor")
    args = encode_args(told)
    limit = told.concurrency_limit or what.concurrency_limit
    key = window = None
    if limit is not None:
        template = told.concurrency_key or what.concurrency_key or f"$workspace/{told.path}"
        key = fill_key(template, told.workspace, args)
        window = what.concurrency_window_s if told.concurrency_window_s is None else told.concurrency_window_s
    return Row(told.id or fresh, told, what, args, key, limit, window)


def encode_args(told: Submission) -> bytes:
    """Return the arguments as one line of JSON; raise `InvalidArgs` if they are no JSON object."""
    try:
        if isinstance(told.args, bytes):
            if not isinstance(decode(told.args), dict):
                raise InvalidArgs(told.path, "the arguments must be a JSON object")
            args = told.args.replace(b"\n", b" ").replace(b"\r", b" ")
        else:
            args = _dump(told.args)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgs(told.path, f"the arguments are not JSON: {error}") from None
    if len(args) > MAX_ARGS_BYTES:
        raise InvalidArgs(
            told.path, f"the arguments have {len(args):,} bytes, the limit is {MAX_ARGS_BYTES:,}"
        )
    return args


def _dump(args: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(dict(args), option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        # Integers beyond 64 bits and lone surrogates: the standard library knows how.
        return json.dumps(dict(args), separators=(",", ":"), allow_nan=False).encode()


def _is_plain(row: Row) -> bool:
    told = row.told
    return (
        told.key is None
        and told.id is None
        and row.concurrency_key is None
        and not told.awaited
        and told.scheduled_for is None
        and told.scheduled_in_seconds is None
        and told.expires_at is None
        and told.expires_in_seconds is None
        and told.parent_job is None
        and told.restart is None
        and not told.preprocess
    )


def _priority(row: Row) -> int:
    return row.what.priority if row.told.priority is None else row.told.priority


def _retry(row: Row) -> bytes | None:
    return None if row.told.retry is None else msgspec.json.encode(row.told.retry)


def _start(told: Submission) -> bytes | None:
    if told.restart is None and not told.preprocess:
        return None
    return msgspec.json.encode({"preprocess": told.preprocess, "restart": told.restart})


def _copy(connection: Connection, rows: Sequence[Row]) -> None:
    lines = []
    for row in rows:
        told = row.told
        retry = _retry(row)
        fields = (
            row.id,
            told.workspace,
            told.path,
            row.what.hash,
            _text(row.tag),
            str(_priority(row)),
            _text(row.args.decode()),
            str(len(row.args)),
            _text(told.created_by),
            "\\N" if told.timeout_seconds is None else str(told.timeout_seconds),
            "\\N" if retry is None else _text(retry.decode()),
            "t" if row.what.is_flow else "f",
        )
        lines.append("\t".join(fields))
    data = "\n".join(lines) + "\n"
    with connection.cursor().copy(sql.copy_jobs) as copy:
        copy.write(data.encode())


def _text(value: str) -> str:
    """Escape for COPY's text format."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    if not rows:
        return
    told = [row.told for row in rows]
    connection.execute(
        sql.submit_jobs,
        {
            "ids": literal(row.id for row in rows),
            "workspaces": [t.workspace for t in told],
            "paths": [t.path for t in told],
            "scripts": [row.what.hash for row in rows],
            "tags": [row.tag for row in rows],
            "priorities": [_priority(row) for row in rows],
            "scheduled_for": [t.scheduled_for for t in told],
            "delays_seconds": numbers([t.scheduled_in_seconds for t in told]),
            "expires_at": [t.expires_at for t in told],
            "expires_in_seconds": numbers([t.expires_in_seconds for t in told]),
            "args": JsonArray([row.args for row in rows]),
            "args_bytes": literal(str(len(row.args)) for row in rows),
            "created_by": [t.created_by for t in told],
            "timeouts_seconds": numbers([t.timeout_seconds for t in told]),
            "retries": JsonArray([_retry(row) for row in rows]),
            "parent_jobs": [t.parent_job for t in told],
            "concurrency_keys": [row.concurrency_key for row in rows],
            "concurrency_limits": [row.concurrency_limit for row in rows],
            "concurrency_windows_s": numbers([row.concurrency_window_s for row in rows]),
            "awaited": [t.awaited for t in told],
            "are_flows": [row.what.is_flow for row in rows],
            "starts": JsonArray([_start(t) for t in told]),
            "now": None,
        },
    )


def _take_keys(
    connection: Connection, rows: Sequence[Row], keyed: Mapping[Key, Row]
) -> tuple[dict[Key, str], set[Key]]:
    """Return whose job each key means, and the keys that are new.

    Raises `SubmissionConflict` where the arguments differ.
    """
    wanted = {name: (row.id, _meaning(row)) for name, row in keyed.items()}
    for row in rows:
        first = keyed.get((row.told.workspace, row.submission_key or ""), row)
        if first is not row and _meaning(row) != _meaning(first):
            raise SubmissionConflict(row.submission_key or "", first.id)
    names = sorted(wanted)
    parameters = {
        "workspaces": [n[0] for n in names],
        "keys": [n[1] for n in names],
        "jobs": literal(wanted[n][0] for n in names),
        "args_hashes": [wanted[n][1] for n in names],
        "keep_seconds": float(KEEP_KEYS_SECONDS),
        "now": None,
    }
    taken = {(row[0], row[1]) for row in connection.execute(sql.take_submission_keys, parameters).fetchall()}
    found = connection.execute(
        sql.submission_keys, {"workspaces": parameters["workspaces"], "keys": parameters["keys"]}
    ).fetchall()
    known: dict[Key, str] = {}
    for workspace, key, job, args_hash in found:
        if bytes(args_hash) != wanted[workspace, key][1]:
            raise SubmissionConflict(key, job)
        known[workspace, key] = job
    return known, taken


def _meaning(row: Row) -> bytes:
    """Return a digest of what a submission asks for: a repeat has the same."""
    return hashlib.sha256(row.told.path.encode() + b"\0" + _canonical(row.args)).digest()


def _canonical(args: bytes) -> bytes:
    # Numbers beyond 64 bits and lone surrogates go the slow way, and stay what they are.
    value = decode(args)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
