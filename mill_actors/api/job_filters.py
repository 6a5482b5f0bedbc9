"""Windmill's parameters of its lists of jobs, as filters.

Most take several values by commas; values that all begin with `!` are those that are not wanted.
`allow_wildcards` makes `*` in tags, workers and labels mean anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from mill_actors.api.job_models import labels_of
from mill_actors.api.permissions import Principal
from mill_actors.api.problems import Problem
from mill_actors.jobs.containment import contains
from mill_actors.jobs.jsons import decode
from mill_actors.store.job_reading import JobView
from mill_actors.store.job_walks import Cursor, JobFilters, Words

#: Values of one parameter; more are no filter, but an attempt.
MOST_VALUES = 1_000

_STATUSES = {"success": "success", "failure": "failure", "canceled": "cancelled", "skipped": "skipped"}


class ListQuery(Struct, kw_only=True):
    """What is wanted. Times are RFC 3339; `args` and `result` are JSON that has to be in the job's."""

    created_by: str | None = None
    label: str | None = None
    worker: str | None = None
    tag: str | None = None
    allow_wildcards: bool = False
    parent_job: UUID | None = None
    script_path_exact: str | None = None
    script_path_start: str | None = None
    script_hash: str | None = None
    schedule_path: str | None = None
    trigger_kind: str | None = None
    #: script, flow, preview, flowpreview
    job_kinds: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    started_before: datetime | None = None
    started_after: datetime | None = None
    completed_before: datetime | None = None
    completed_after: datetime | None = None
    created_before_queue: datetime | None = None
    created_after_queue: datetime | None = None
    running: bool | None = None
    suspended: bool | None = None
    scheduled_for_before_now: bool | None = None
    concurrency_key: str | None = None
    success: bool | None = None
    #: success, failure, canceled, skipped
    status: str | None = None
    is_skipped: bool | None = None
    is_flow_step: bool | None = None
    has_null_parent: bool | None = None
    args: str | None = None
    result: str | None = None
    #: in path, tag or creator
    broad_filter: str | None = None
    include_args: bool = False
    order_desc: bool = True
    #: from 1
    page: int | None = None
    per_page: int | None = None
    #: the last answer's `X-Next-Cursor`
    cursor: str | None = None


def filters_of(who: Principal, told: ListQuery, table: Literal["queue", "completed", "both"]) -> JobFilters:
    """Return the filters; raise a 400 `Problem` for what makes none."""
    wanted = _json("args", told.args)
    given = _json("result", told.result)
    labels = _words("label", told.label, wildcards=told.allow_wildcards)
    readable = who.readable
    is_queue = table == "queue"
    return JobFilters(
        me=who.owner,
        readable=None if readable is None else tuple(like(prefix) + "%" for prefix in readable),
        created_by=_words("created_by", told.created_by),
        path=_words("script_path_exact", told.script_path_exact),
        path_start=_words("script_path_start", told.script_path_start, end="%"),
        tag=_words("tag", told.tag, wildcards=told.allow_wildcards),
        worker=_words("worker", told.worker, wildcards=told.allow_wildcards),
        kinds=_plain("job_kinds", told.job_kinds),
        statuses=_statuses(told.status),
        success=told.success,
        is_skipped=told.is_skipped,
        script_hash=told.script_hash,
        is_flow_step=told.is_flow_step,
        has_null_parent=told.has_null_parent,
        parent_job=None if told.parent_job is None else str(told.parent_job),
        created_before=_moment(told.created_before_queue if is_queue else None)
        or _moment(told.created_before),
        created_after=_moment(told.created_after_queue if is_queue else None) or _moment(told.created_after),
        started_before=_moment(told.started_before),
        started_after=_moment(told.started_after),
        completed_before=_moment(told.completed_before),
        completed_after=_moment(told.completed_after),
        running=told.running,
        suspended=told.suspended,
        due=told.scheduled_for_before_now,
        concurrency_key=told.concurrency_key,
        words=f"%{like(told.broad_filter)}%" if told.broad_filter else None,
        accepts=_accepting(wanted, given, labels),
        needs_args=wanted is not None,
        needs_result=given is not None or labels is not None,
    )


def matches_nothing(told: ListQuery) -> bool:
    """Whether what is wanted cannot be: no job has been started by a schedule, or a trigger, so far."""
    return any(text and not text.startswith("!") for text in (told.schedule_path, told.trigger_kind))


def only_ended(told: ListQuery) -> bool:
    """Whether no open job can be meant."""
    asked = (
        told.success, told.status, told.label, told.result, told.created_before, told.started_before,
        told.completed_before, told.completed_after, told.is_skipped,
    )  # fmt: skip
    return any(each is not None for each in asked)


def only_open(told: ListQuery) -> bool:
    """Whether no ended job can be meant."""
    asked = (told.running, told.suspended, told.scheduled_for_before_now, told.concurrency_key)
    return any(each is not None for each in asked)


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as it stands in a header."""
    if cursor.at is None:
        return f"q.{cursor.id}"
    since = cursor.at - datetime(1970, 1, 1, tzinfo=UTC)
    return f"c.{(since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds}.{cursor.id}"


def cursor_of(text: str | None) -> Cursor | None:
    """Return the cursor that a text means; raise a 400 `Problem`."""
    if not text:
        return None
    kind, _, rest = text.partition(".")
    try:
        if kind == "q":
            return Cursor(None, str(UUID(rest)))
        micros, _, job = rest.partition(".")
        if kind == "c" and len(micros) <= 17:
            seconds, left = divmod(int(micros), 1_000_000)
            return Cursor(datetime.fromtimestamp(seconds, UTC).replace(microsecond=left), str(UUID(job)))
    except (ValueError, OverflowError, OSError):
        pass
    raise Problem(400, "invalid_query", "There is no such cursor.", "$.cursor")


def like(text: str) -> str:
    """Return a LIKE pattern that matches a text alone."""
    return re.sub(r"([\\%_])", r"\\\1", text)


def _values(name: str, text: str | None) -> tuple[list[str], bool] | None:
    values = [value.strip() for value in (text or "").split(",") if value.strip()]
    if not values:
        return None
    if len(values) > MOST_VALUES:
        raise Problem(400, "invalid_query", f"{name} takes at most {MOST_VALUES} values.", f"$.{name}")
    negated = [value.startswith("!") for value in values]
    if any(negated) and not all(negated):
        raise Problem(400, "invalid_query", f"{name}: all values begin with !, or none does.", f"$.{name}")
    return [value.removeprefix("!") for value in values], negated[0]


def _words(name: str, text: str | None, *, wildcards: bool = False, end: str = "") -> Words | None:
    found = _values(name, text)
    if found is None:
        return None
    patterns = [like(value) for value in found[0]]
    if wildcards:
        patterns = [pattern.replace("*", "%") for pattern in patterns]
    return Words(tuple(pattern + end for pattern in patterns), found[1])


def _plain(name: str, text: str | None) -> Words | None:
    found = _values(name, text)
    return None if found is None else Words(tuple(found[0]), found[1])


def _statuses(text: str | None) -> Words | None:
    found = _plain("status", text)
    if found is None:
        return None
    for value in found.patterns:
        if value not in _STATUSES:
            known = ", ".join(_STATUSES)
            raise Problem(400, "invalid_query", f"status is one of {known}.", "$.status")
    return Words(tuple(_STATUSES[value] for value in found.patterns), found.is_negated)


def _moment(told: datetime | None) -> datetime | None:
    if told is None:
        return None
    try:
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except OverflowError:
        raise Problem(400, "invalid_query", "There is no such moment.") from None


def _json(name: str, text: str | None) -> Any:
    """Return what a filter of JSON means; None: there is none."""
    if not text:
        return None
    try:
        return decode(text)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid_query", f"{name} is no JSON: {error}", f"$.{name}") from None


def _accepting(wanted: Any, given: Any, labels: Words | None) -> Callable[[JobView], bool] | None:
    if wanted is None and given is None and labels is None:
        return None
    pattern = None if labels is None else _any_of(labels.patterns)

    def fits(job: JobView) -> bool:
        if wanted is not None and (job.args is None or not contains(decode(job.args), wanted)):
            return False
        if given is not None and (job.result is None or not contains(decode(job.result), given)):
            return False
        if pattern is not None and labels is not None:
            found = any(pattern.fullmatch(label) for label in labels_of(job.result) or ())
            return found != labels.is_negated
        return True

    def accepts(job: JobView) -> bool:
        try:
            return fits(job)
        except RecursionError:
            return False  # as deep as that nobody looks

    return accepts


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_regular(each)})" for each in patterns), re.DOTALL)


def _regular(pattern: str) -> str:
    """Return a LIKE pattern as a regular expression, one that never looks twice.

    Whatever stands between two `%` is best found as early as may be, and stays where it was found.
    """
    texts = [""]
    for part in re.findall(r"\\.|.", pattern, re.DOTALL):
        if part == "%":
            texts.append("")
        else:
            texts[-1] += re.escape(part[-1])
    first, *others = texts
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>.*?{text})" for text in middle) + f".*{last}"
