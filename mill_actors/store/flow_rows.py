"""Effects of flows as rows: what an `Interpreter` wants, in a few statements. SQL: `sql/flow.sql`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import time

from msgspec import Struct, field

from mill_actors.flows.definition import RawScript, ScriptStep
from mill_actors.flows.effects import Effects, Items, NewJob, NewRow, RunEnd
from mill_actors.flows.program import FAILURE, PREPROCESSOR, Step
from mill_actors.flows.run import Run
from mill_actors.flows.state import encode_state
from mill_actors.jobs.job import ClaimedJob
from mill_actors.store.arrays import JsonArray, TextArray, literal, numbers
from mill_actors.store.concurrency import Key, concurrency_key, free_and_admit, put_concurrency_keys
from mill_actors.store.connection import Connection
from mill_actors.store.flow_values import RoundValues, chunk_texts
from mill_actors.store.flow_versions import FLOW_TAG
from mill_actors.store.holder import Holder
from mill_actors.store.queries import sql

NO_RETRY = b"{}"
#: Whether this worker takes a job at once.
Takes = Callable[[NewJob, str], bool]


class Written(Struct):
    """What follows outside the database once it is committed."""

    handed: list[ClaimedJob] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    awaited: list[str] = field(default_factory=list)
    ended: list[RunEnd] = field(default_factory=list)
    #: claimed flows that somebody wants cancelled: to be ended by `cancel_flow`
    cancelled: list[ClaimedJob] = field(default_factory=list)
    #: what keys of new steps allow, and keys under which flows that ended leave their places
    limits: dict[Key, tuple[int, float]] = field(default_factory=dict)
    leaving: dict[str, Key] = field(default_factory=dict)
    #: … and steps that never started
    unrun: dict[str, Key] = field(default_factory=dict)
    #: steps that run, and whose workers are to be told that they are to end
    asked: list[str] = field(default_factory=list)


def settle_places(
    connection: Connection, written: Written, ended: Sequence[str] = (), keys: Iterable[Key] = ()
) -> set[str]:
    """Free the places of all that ended, and let in who waits, in one go: keys are locked in one order.

    The last thing a transaction does. `ended`, `keys`: of jobs beside those in `written`. Return the tags
    of those let in.
    """
    if written.limits:
        put_concurrency_keys(connection, written.limits)
    named = {*keys, *written.limits, *written.leaving.values(), *written.unrun.values()}
    return free_and_admit(connection, [*ended, *written.leaving], named, unrun=list(written.unrun))


def write_effects(
    connection: Connection,
    effects: Effects,
    values: RoundValues,
    holder: Holder,
    claim: str,
    takes: Takes,
    written: Written,
) -> None:
    """Write what a round wants, in the order in which rows refer to each other."""
    if effects.forgets:
        forget_tries(connection, effects.forgets)
    if effects.rows:
        put_rows(connection, effects.rows, holder)
    for items in effects.items:
        put_items(connection, items, values)
    if effects.started:
        _start_bodies(connection, effects.started)
    if effects.jobs:
        _start_steps(connection, effects.jobs, holder, claim, takes, written)
    started = {run.id for run in effects.started}
    changed = [run for run in effects.changed.values() if run.id not in started]
    if changed:
        connection.execute(
            sql.write_states,
            {
                "ids": literal(run.id for run in changed),
                "states": JsonArray([encode_state(run.state).encode() for run in changed]),
            },
        )
    for run, args in effects.inputs:
        connection.execute(sql.replace_input, {"id": run.id, "args": args.decode()})
    for run, told in effects.resumes:
        put_resume(connection, run.id, told.step.id, -1, approved=True, value=told.value, approver="")
    for run, step in effects.early:
        connection.execute(sql.set_early, {"id": run.id, "step": early_name(step)})
    put_cached(connection, effects)
    if effects.early:
        rows = connection.execute(
            sql.early_awaited, {"ids": literal(run.id for run, _ in effects.early)}
        ).fetchall()
        written.awaited += [row[0] for row in rows]
    # A result that is made of children's is made once they are written: innermost first.
    plain = [end for end in effects.ended if end.result is not None]
    if plain:
        end_runs(connection, plain, holder, written)
    made = [end for end in effects.ended if end.result is None]
    for depth in sorted({end.run.depth for end in made}, reverse=True):
        end_runs(connection, [end for end in made if end.run.depth == depth], holder, written)


def early_name(step: Step) -> str:
    """Return what `flow_run.early` says of a step: `[]` after one whose result is an array."""
    return f"{step.id}[]" if step.is_many else step.id


def put_cached(connection: Connection, effects: Effects) -> None:
    """Keep results that may be used again."""
    for workspace, key, result, seconds in effects.cached:
        connection.execute(
            sql.put_cached,
            {
                "workspace": workspace,
                "key": bytes.fromhex(key),
                "result": result.decode(),
                "seconds": seconds,
                "now": None,
            },
        )


def put_items(connection: Connection, items: Items, values: RoundValues) -> None:
    """Write a loop's items, and keep the first ones at hand."""
    chunks = values.keep_items(items)
    connection.execute(
        sql.put_items,
        {
            "runs": literal(items.run.id for _ in chunks),
            "steps": [items.step.id] * len(chunks),
            "chunks": literal(str(number) for number, _ in chunks),
            "items": JsonArray(chunk_texts(chunk for _, chunk in chunks)),
        },
    )


def forget_tries(connection: Connection, forgets: Sequence[tuple[Run, Step, int]]) -> None:
    """Make place for the children of the next try."""
    connection.execute(
        sql.forget_tries,
        {
            "runs": literal(run.id for run, _, _ in forgets),
            "steps": [step.id for _, step, _ in forgets],
            "tries": [str(tries) for _, _, tries in forgets],
            "since": [run.began for run, _, _ in forgets],
        },
    )


def step_path(job: NewJob | NewRow) -> str:
    """Return the path under which a step's job is listed: its script's, or its own below the flow's."""
    leaf = job.leaf if isinstance(job, NewJob) else job.step
    value = leaf.module.value
    return value.path if isinstance(value, ScriptStep) else f"{job.run.flow.path}/{leaf.id}"


def step_tag(job: NewJob) -> str:
    """Return what a step needs of a worker: a flow's own tag wins, unless it lets steps keep theirs."""
    run, value = job.run, job.leaf.module.value
    own = None
    if isinstance(value, RawScript):
        own = value.tag
    elif isinstance(value, ScriptStep):
        own = value.tag_override
    if run.owner.tag == FLOW_TAG:
        return own or job.script.tag
    own = own or job.script.options.tag
    own = own or job.script.options.tag
    return own if own and run.flow.program.value.preserve_step_tags else run.owner.tag


def step_timeout(job: NewJob) -> float | None:
    """Return how long a step may run: its own limit, its script's, and what is left to what it is in."""
    deadline = job.run.deadline
    if deadline is None:
        return job.timeout_seconds
    limits = [job.timeout_seconds, job.script.options.timeout_seconds, max(deadline - time(), 0.01)]
    return min(limit for limit in limits if limit is not None)


def step_priority(job: NewJob) -> int:
    """Return a step's priority: its own, else its flow's."""
    for module in (job.leaf.module, job.step.module):
        if module.priority is not None:
            return module.priority
    return job.run.owner.priority


def claimed_step(job: NewJob, claim: str, tag: str) -> ClaimedJob:
    """Return a step as its worker holds it."""
    run = job.run
    return ClaimedJob(
        claim,
        job.id,
        run.owner.workspace,
        step_path(job),
        job.script.hash,
        tag,
        job.args.decode(),
        len(job.args),
        run.owner.created_by,
        step_priority(job),
        job.attempt,
        0,
        step_timeout(job),
        None if job.leaf.module.retry is None else {},
        None,
        run.owner.due,
        is_flow=False,
        parent_job=run.id,
        root_job=run.owner.root,
        step=job.step.id,
        iteration=job.iteration,
        depth=run.depth,
        flow_path=run.flow.path,
    )


def _start_steps(
    connection: Connection,
    jobs: Sequence[NewJob],
    holder: Holder,
    claim: str,
    takes: Takes,
    written: Written,
) -> None:
    tags = [step_tag(job) for job in jobs]
    keys = [concurrency_key(job.script, job.run.owner.workspace, step_path(job), job.args) for job in jobs]
    limited_by = [None if key is None else job.script.options for job, key in zip(jobs, keys, strict=True)]
    limits = [None if options is None else options.concurrency_limit for options in limited_by]
    windows = [None if options is None else options.concurrency_window_s for options in limited_by]
    mine = [takes(job, tag) for job, tag in zip(jobs, tags, strict=True)]
    rows = connection.execute(
        sql.start_steps,
        {
            "ids": literal(job.id for job in jobs),
            "workspaces": TextArray([job.run.owner.workspace for job in jobs]),
            "paths": TextArray([step_path(job) for job in jobs]),
            "scripts": TextArray([job.script.hash for job in jobs]),
            "tags": TextArray(tags),
            "priorities": literal(str(step_priority(job)) for job in jobs),
            "args": JsonArray([job.args for job in jobs]),
            "created_by": TextArray([job.run.owner.created_by for job in jobs]),
            "delays_seconds": numbers([job.delay_seconds for job in jobs]),
            "due": numbers([job.run.owner.due for job in jobs]),
            "attempts": literal(str(job.attempt) for job in jobs),
            "timeouts_seconds": numbers([step_timeout(job) for job in jobs]),
            "retries": JsonArray([None if job.leaf.module.retry is None else NO_RETRY for job in jobs]),
            "parents": literal(job.run.id for job in jobs),
            "roots": literal(job.run.owner.root for job in jobs),
            "steps": TextArray([job.step.id for job in jobs]),
            "iterations": numbers([job.iteration for job in jobs]),
            "depths": literal(str(job.run.depth) for job in jobs),
            "flow_paths": TextArray([job.run.flow.path for job in jobs]),
            "concurrency_keys": TextArray(keys),
            "concurrency_limits": numbers(limits),
            "concurrency_windows_s": numbers(windows),
            "mine": literal("t" if each else "f" for each in mine),
            "claim": claim,
            "node": holder.node,
            "worker": holder.worker,
            "now": None,
        },
    ).fetchall()
    running = {row[0] for row in rows if row[1]}
    for job, tag, key in zip(jobs, tags, keys, strict=True):
        if job.id in running:
            written.handed.append(claimed_step(job, claim, tag))
        elif key is None:
            written.tags.add(tag)
        else:
            options = job.script.options
            written.limits[job.run.owner.workspace, key] = (
                options.concurrency_limit or 1,
                options.concurrency_window_s or 0.0,
            )


def put_rows(connection: Connection, rows: Sequence[NewRow], holder: Holder) -> None:
    """Write steps that ended without a process."""
    count = len(rows)
    zeros = literal(["0"] * count)
    connection.execute(
        sql.put_steps,
        {
            "ids": literal(row.id for row in rows),
            "workspaces": [row.run.owner.workspace for row in rows],
            "paths": [step_path(row) for row in rows],
            "scripts": [row.run.flow.hash for row in rows],
            "tags": [row.run.owner.tag for row in rows],
            "priorities": literal(str(row.run.owner.priority) for row in rows),
            "statuses": literal(row.status for row in rows),
            "ages_us": zeros,
            "durations_us": zeros,
            "ended_us": zeros,
            "args": JsonArray([row.args for row in rows]),
            "results": JsonArray([row.result for row in rows]),
            "created_by": [row.run.owner.created_by for row in rows],
            "attempts": literal(["1"] * count),
            "parents": literal(row.run.id for row in rows),
            "steps": [row.name or row.step.id for row in rows],
            "iterations": [row.iteration for row in rows],
            "worker": holder.worker,
            "now": None,
        },
    )


def put_runs(connection: Connection, runs: Iterable[Run]) -> None:
    """Write the states of runs, new ones or not."""
    listed = list(runs)
    if listed:
        connection.execute(sql.put_runs, {**run_columns(listed), "now": None})


def run_columns(runs: Sequence[Run], prefix: str = "") -> dict[str, object]:
    """Return runs as the array parameters of the statements that write them."""
    return {
        f"{prefix}ids": literal(run.id for run in runs),
        f"{prefix}roots": literal(run.owner.root for run in runs),
        f"{prefix}workspaces": TextArray([run.owner.workspace for run in runs]),
        f"{prefix}flows": TextArray([run.flow.hash for run in runs]),
        f"{prefix}bodies": TextArray([run.body.address for run in runs]),
        f"{prefix}parents": literal("NULL" if run.parent is None else run.parent for run in runs),
        f"{prefix}steps": TextArray([run.step for run in runs]),
        f"{prefix}iterations": numbers([run.iteration for run in runs]),
        f"{prefix}chains": TextArray([literal(run.chain) for run in runs]),
        f"{prefix}depths": literal(str(run.depth) for run in runs),
        f"{prefix}overlays": JsonArray([run.overlay for run in runs]),
        f"{prefix}states": JsonArray([encode_state(run.state).encode() for run in runs]),
        f"{prefix}started_at": literal(repr(run.began) for run in runs),
        f"{prefix}deadlines": numbers([run.deadline for run in runs]),
    }


def _start_bodies(connection: Connection, runs: Sequence[Run]) -> None:
    connection.execute(
        sql.start_bodies,
        {
            "ids": literal(run.id for run in runs),
            "workspaces": [run.owner.workspace for run in runs],
            "paths": [body_path(run) for run in runs],
            "scripts": [run.flow.hash for run in runs],
            "tags": [run.owner.tag for run in runs],
            "priorities": literal(str(run.owner.priority) for run in runs),
            "args": JsonArray([run.overlay for run in runs]),
            "created_by": [run.owner.created_by for run in runs],
            "parents": literal(str(run.parent) for run in runs),
            "roots": literal(run.owner.root for run in runs),
            "steps": [run.step for run in runs],
            "iterations": [run.iteration for run in runs],
            "depths": literal(str(run.depth) for run in runs),
            "due": [run.owner.due for run in runs],
            "now": None,
        },
    )
    put_runs(connection, runs)


def body_path(run: Run) -> str:
    """Return the path under which a body's job is listed."""
    return f"{run.flow.path}/{run.step}" if run.chain else run.flow.path


def end_runs(connection: Connection, ended: Sequence[RunEnd], holder: Holder, written: Written) -> None:
    """Move the jobs of bodies that are over to history, and let in who waited for their places."""
    rows = []
    plain = [end for end in ended if end.result is not None]
    if plain:
        rows += connection.execute(sql.end_runs, _end_columns(plain, holder)).fetchall()
    made = [end for end in ended if end.result is None]
    if made:
        columns = {
            **_end_columns(made, holder),
            "of": TextArray([end.of for end in made]),
            "many": literal("t" if is_made(end) else "f" for end in made),
            "since": numbers(end.run.began for end in made),
        }
        rows += connection.execute(sql.end_made_runs, columns).fetchall()
    written.ended += ended
    written.leaving |= {job: (workspace, key) for job, _, workspace, key in rows if key is not None}
    written.awaited += [row[0] for row in rows if row[1]]
    for end in ended:
        forget_results(connection, end.run)


def _end_columns(ended: Sequence[RunEnd], holder: Holder) -> dict[str, object]:
    return {
        "ids": literal(end.run.id for end in ended),
        "statuses": literal(end.status for end in ended),
        "results": JsonArray([end.result for end in ended]),
        "worker": holder.worker,
        "now": None,
    }


def forget_results(connection: Connection, run: Run) -> None:
    """Delete what a flow's steps were given and made, now or later, where they say so."""
    program = run.flow.program
    if run.body.role != "flow":
        return
    place = {"root": run.id, "flow": run.flow.hash, "since": run.began}
    now = [step for step, seconds in program.forgets.items() if seconds <= 0]
    if now:
        connection.execute(sql.forget_results, {**place, "steps": now})
    for seconds in {seconds for seconds in program.forgets.values() if seconds > 0}:
        steps = [step for step, after in program.forgets.items() if after == seconds]
        parameters = {**place, "steps": steps, "seconds": seconds, "everything": False, "now": None}
        connection.execute(sql.schedule_deletions, parameters)
    everything = program.value.delete_after_secs
    if everything is not None and everything >= 0:
        parameters = {**place, "steps": [], "seconds": everything, "everything": True, "now": None}
        connection.execute(sql.schedule_deletions, parameters)


def is_made(end: RunEnd) -> bool:
    """Whether a body's result is an array, made of the results of a step's children."""
    if end.result is not None or end.of in {FAILURE, PREPROCESSOR, ""}:
        return False
    step = end.run.body.step(end.of)
    return step is not None and step.is_many


def wake_flows(connection: Connection, flows: Sequence[str]) -> set[str]:
    """Make workers look at flows whose child ended without one; return the tags to ring."""
    if not flows:
        return set()
    return {row[0] for row in connection.execute(sql.wake_flows, {"ids": sorted(set(flows)), "now": None})}


def put_resume(
    connection: Connection,
    run: str,
    step: str | None,
    resume_id: int,
    *,
    approved: bool,
    value: bytes,
    approver: str,
) -> bool:
    """Write an answer to an approval; False: this `resume_id` has answered already."""
    row = connection.execute(
        sql.put_resume,
        {
            "run": run,
            "step": step,
            "resume_id": resume_id,
            "approved": approved,
            "value": value.decode(),
            "approver": approver,
        },
    ).fetchone()
    return row is not None
