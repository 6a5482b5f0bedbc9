from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mill_actors.errors import InvalidArgs, ScriptNotFound
from mill_actors.ids import new_id
from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.store import submission as submission_module
from mill_actors.store.submission import Submission, encode_args, submit
from tests.store.floor import Floor

COLUMNS = """
  workspace, path, script, tag, priority, args::text, args_bytes, created_by, attempt, rescues, admitted,
  running, awaited, claim, node, worker, claimed_at, expires_at, timeout_seconds, retry::text, parent_job,
  concurrency_key, concurrency_limit, cancel_requested_at, cancelled_by, cancel_reason,
  scheduled_for = submitted_at as due_at_once
"""

NASTY = [
    "",
    "plain",
    "a\nb",
    "a\r\nb",
    "tab\there",
    "back\\slash",
    "\\N",
    "\\.",
    "quote\"s and 'quotes'",
    "comma,{brace}",
    "über ☃ 𝄞",
    "line\u2028separator\x85",
    "\u0000 nul",
    "\ud800 lone surrogate",
    "%s %(name)s",
    "x" * 100_000,
]


def both_ways(floor: Floor, told: Submission) -> list[tuple[Any, ...]]:
    """Submit the same by COPY (two plain jobs) and by unnest (one job); return the rows' columns."""
    copied = floor.receipts([told, told])
    (inserted,) = floor.receipts([told])
    ids = [copied[0].id, copied[1].id, inserted.id]
    rows = floor.rows(f"select id::text, {COLUMNS} from mill.queue where id = any (%s::uuid[])", ids)
    assert {row[0] for row in rows} == set(ids)
    return [row[1:] for row in rows]


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_copy_and_unnest_write_the_same_row(floor: Floor, text: str) -> None:
    writer = text.replace("\0", "").replace("\ud800", "")[:100]
    told = Submission(path="f/a/b", args={"text": text, text: [1, None]}, created_by=writer)
    first, second, third = both_ways(floor, told)
    assert first == second == third
    assert json.loads(first[5]) == {"text": text, text: [1, None]}
    assert first[7] == writer


def test_copy_and_unnest_write_the_same_options(floor: Floor) -> None:
    told = Submission(
        path="f/a/b", tag="a tag\\with\teverything", priority=7, timeout_seconds=1.5,
        retry=RetryPolicy(ConstantRetry(3, 2.0)),
    )  # fmt: skip
    first, second, third = both_ways(floor, told)
    assert first == second == third
    assert (first[3], first[4], first[18]) == ("a tag\\with\teverything", 7, 1.5)
    assert json.loads(first[19]) == {"constant": {"attempts": 3, "seconds": 2.0}, "exponential": {
        "attempts": 0, "multiplier": 1.0, "seconds": 1.0, "random_factor": 0.0, "max_seconds": 86400.0,
    }}  # fmt: skip


def test_text_is_kept_verbatim_but_for_line_breaks(floor: Floor) -> None:
    text = b'{ "a" :\n 1.50, "big": 123456789012345678901234567890, "a": "\\u0000\\ud800",\t"e": 1E400 }'
    rows = both_ways(floor, Submission(path="f/a/b", args=text))
    assert {row[5] for row in rows} == {text.replace(b"\n", b" ").decode()}
    assert {row[6] for row in rows} == {len(text)}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.dictionaries(
            st.text(),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(st.characters(codec=None)),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                max_leaves=8,
            ),
            max_size=4,
        ),
        min_size=2,
        max_size=5,
    )
)  # fmt: skip
def test_arguments_come_back_as_they_were(floor: Floor, many: list[dict[str, Any]]) -> None:
    receipts = floor.receipts([Submission(path="f/a/b", args=args) for args in many])
    receipts += [floor.receipt(args) for args in many]
    for receipt, args in zip(receipts, many * 2, strict=True):
        assert json.loads(floor.job(receipt.id).args) == args


def test_receipts_are_in_the_order_of_the_submissions(floor: Floor) -> None:
    ids = floor.submit_many(50)
    args = dict(floor.rows("select id::text, (args ->> 'n')::int from mill.queue"))
    assert [args[job] for job in ids] == list(range(50))


def test_nothing_submitted_is_nothing_done(floor: Floor) -> None:
    done = submit(floor.connection, [])
    assert (done.receipts, done.tags) == ([], frozenset())


def test_tags_that_have_work_are_told(floor: Floor) -> None:
    floor.deploy("f/a/gpu", tag="gpu")
    told = [Submission(path="f/a/b"), Submission(path="f/a/gpu"), Submission(path="f/a/b", tag="other")]
    assert submit(floor.connection, told).tags == {"python3", "gpu", "other"}
    assert submit(floor.connection, told[:1]).tags == {"python3"}


@pytest.mark.parametrize("priority", [0, 100])
def test_priorities_are_0_to_100(floor: Floor, priority: int) -> None:
    assert floor.job(floor.submit(priority=priority)).priority == priority


@pytest.mark.parametrize("priority", [-1, 101])
def test_other_priorities_are_refused(floor: Floor, priority: int) -> None:
    with pytest.raises(InvalidArgs, match="not between 0 and 100"):
        floor.submit(priority=priority)


def test_options_of_the_script_hold_where_the_job_says_nothing(floor: Floor) -> None:
    floor.deploy("f/a/c", priority=9, tag="gpu")
    assert floor.job(floor.submit(path="f/a/c")).priority == 9
    told = floor.job(floor.submit(path="f/a/c", priority=0, tag="cpu"))
    assert (told.priority, told.tag) == (0, "cpu")


def test_a_job_can_be_scheduled_at_a_time(floor: Floor) -> None:
    when = datetime(2040, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert floor.job(floor.submit(scheduled_for=when)).scheduled_for == when


def test_a_job_can_be_scheduled_in_seconds_of_the_databases_time(floor: Floor) -> None:
    job = floor.job(floor.submit(scheduled_in_seconds=90.0))
    assert job.scheduled_for - job.submitted_at == timedelta(seconds=90)


def test_a_job_can_expire(floor: Floor) -> None:
    when = datetime(2040, 1, 2, tzinfo=UTC)
    assert floor.job(floor.submit(expires_at=when)).expires_at == when
    job = floor.job(floor.submit(expires_in_seconds=60.0))
    assert job.expires_at is not None
    assert job.expires_at - job.submitted_at == timedelta(seconds=60)


def test_a_batch_may_mix_everything(floor: Floor) -> None:
    told = [
        Submission(path="f/a/b", args={"n": 0}),
        Submission(path="f/a/b", args={"n": 1}, key="k"),
        Submission(path="f/a/b", args={"n": 2}, id=new_id()),
        Submission(path="f/a/one", args={"n": 3}),
        Submission(path="f/a/b", args={"n": 4}, scheduled_in_seconds=60.0),
        Submission(path="f/a/b", args={"n": 1}, key="k"),
    ]
    receipts = floor.receipts(told)
    assert [r.duplicate for r in receipts] == [False] * 5 + [True]
    assert receipts[5].id == receipts[1].id
    assert receipts[2].id == told[2].id
    assert [json.loads(floor.job(r.id).args)["n"] for r in receipts] == [0, 1, 2, 3, 4, 1]
    assert floor.value("select count(*) from mill.queue") == 5


def test_one_bad_submission_refuses_the_whole_batch(floor: Floor) -> None:
    with pytest.raises(InvalidArgs):
        floor.receipts([Submission(path="f/a/b"), Submission(path="f/a/b", args={"x": object()})])
    with pytest.raises(ScriptNotFound):
        floor.receipts([Submission(path="f/a/b"), Submission(path="f/a/nowhere")])
    assert floor.value("select count(*) from mill.queue") == 0


def test_an_unknown_path_names_similar_ones(floor: Floor) -> None:
    floor.deploy("f/billing/charge_all")
    with pytest.raises(ScriptNotFound, match=r"Did you mean f/billing/charge_all\?") as caught:
        floor.submit(path="f/other/charge")
    assert caught.value.similar == ("f/billing/charge_all",)


def test_a_path_of_another_workspace_is_unknown(floor: Floor) -> None:
    floor.workspace("acme")
    floor.deploy("f/a/secret", "acme")
    with pytest.raises(ScriptNotFound) as caught:
        floor.submit(path="f/a/secret")
    assert caught.value.similar == ()


@pytest.mark.parametrize(
    "args",
    [b"[1]", b"1", b"{", b"", b'{"a": NaN}', b'{"a": 1} x', b'{"a": "\xff"}', b'{"a": 01}'],
)
def test_text_that_is_no_json_object_is_refused(floor: Floor, args: bytes) -> None:
    with pytest.raises(InvalidArgs):
        floor.receipts([Submission(path="f/a/b", args=args)])


@pytest.mark.parametrize("value", [object(), {1}, {"a": float("nan"), "b": 2**80}])
def test_values_that_are_no_json_are_refused(floor: Floor, value: object) -> None:
    with pytest.raises(InvalidArgs):
        floor.submit({"x": value})


def test_arguments_nested_too_deep_are_refused(floor: Floor) -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InvalidArgs):
        floor.submit({"x": nested})
    with pytest.raises(InvalidArgs):
        floor.receipts([Submission(path="f/a/b", args=b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")])


def test_deep_arguments_within_reason_are_kept(floor: Floor) -> None:
    text = b'{"x":' + b"[" * 900 + b"]" * 900 + b"}"
    assert floor.job(floor.receipts([Submission(path="f/a/b", args=text)])[0].id).args == text.decode()


@pytest.mark.parametrize(
    "options",
    [
        {"tag": "\0"},
        {"created_by": "\ud800"},
        {"key": "\0"},
        {"parent_job": "no uuid"},
        {"timeout_seconds": 1e99},
    ],
    ids=str,
)
def test_what_postgres_cannot_store_is_invalid_and_not_an_outage(
    floor: Floor, options: dict[str, Any]
) -> None:
    told = Submission(path="f/a/b", **options)
    for batch in ([told], [told, told]):
        with pytest.raises(InvalidArgs):
            floor.receipts(batch)
    assert floor.value("select count(*) from mill.queue") == 0


def test_more_than_64_mb_of_arguments_are_refused(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert submission_module.MAX_ARGS_BYTES == 64 * 1024 * 1024
    monkeypatch.setattr(submission_module, "MAX_ARGS_BYTES", 1000)
    room = 1000 - len('{"x":""}')
    assert len(encode_args(Submission(path="f/a/b", args={"x": "a" * room}))) == 1000
    with pytest.raises(InvalidArgs, match=r"1,001 bytes, the limit is 1,000"):
        floor.submit({"x": "a" * (room + 1)})


@pytest.mark.slow
def test_64_mb_of_arguments_are_stored_and_claimed(floor: Floor) -> None:
    size = 64 * 1024 * 1024
    text = b'{"x":"' + b"a" * (size - 8) + b'"}'
    (receipt,) = floor.receipts([Submission(path="f/a/b", args=text)])
    job = floor.hand().claim_one()
    assert (job.id, job.args_bytes, len(job.args)) == (receipt.id, size, size)


def test_a_job_keeps_the_version_its_path_meant(floor: Floor) -> None:
    old = floor.deploy("f/a/v", content="1")
    job = floor.submit(path="f/a/v")
    new = floor.deploy("f/a/v", content="2")
    assert floor.job(job).script == old.hash
    assert floor.job(floor.submit(path="f/a/v")).script == new.hash


def test_what_was_submitted_is_durable_at_once(floor: Floor) -> None:
    """Every path commits before it returns: another connection sees the job."""
    ids = [*floor.submit_many(2), floor.submit(), floor.submit(key="k"), floor.submit(path="f/a/one")]
    with psycopg.connect(floor.dsn) as other:
        found = other.execute("select count(*) from mill.queue where id = any (%s::uuid[])", [ids]).fetchone()
    assert found == (5,)
