from __future__ import annotations

from mill_actors.ids import new_id
from mill_actors.store.logs import LogChunk, read_logs, write_logs, write_what_goes
from tests.store.floor import Floor

JOB = new_id()


def chunk(position: int, text: str = "x", attempt: int = 1, job: str = JOB) -> LogChunk:
    return LogChunk(job, "default", attempt, position, text)


def test_logs_come_back_in_the_order_they_were_printed(floor: Floor) -> None:
    told = [chunk(9, "c"), chunk(0, "a"), chunk(4, "b", attempt=2), chunk(5, "b"), chunk(0, "a", attempt=2)]
    write_logs(floor.connection, told[:3])
    write_logs(floor.connection, told[3:])
    wanted = sorted(told, key=lambda c: (c.attempt, c.position))
    assert read_logs(floor.connection, "default", JOB) == wanted


def test_only_what_came_after_a_position(floor: Floor) -> None:
    told = [chunk(0), chunk(5), chunk(0, attempt=2), chunk(7, attempt=2)]
    write_logs(floor.connection, told)
    for number, seen in enumerate(told):
        after = (seen.attempt, seen.position)
        assert read_logs(floor.connection, "default", JOB, after) == told[number + 1 :]
    assert read_logs(floor.connection, "default", JOB, (3, 0)) == []


def test_a_piece_that_is_sent_again_is_read_once(floor: Floor) -> None:
    """The reply to the first COMMIT was lost; the second has another time, so another key."""
    told = [chunk(0, "a"), chunk(1, "b")]
    write_logs(floor.connection, told)
    write_logs(floor.connection, told)
    write_logs(floor.connection, [chunk(0, "not this"), chunk(2, "c"), chunk(2, "c")])
    assert read_logs(floor.connection, "default", JOB) == [*told, chunk(2, "c")]


def test_text_of_any_kind(floor: Floor) -> None:
    texts = [
        "",
        "\n",
        "tab\t\\N",
        "über ☃ 𝄞",
        "nul \0 here",
        "half \ud800 pair",
        "{\"a\", 'b'}",
        "x" * 1_000_000,
    ]
    write_logs(floor.connection, [chunk(n, text) for n, text in enumerate(texts)])
    wanted = [*texts[:4], "nul \N{SYMBOL FOR NULL} here", "half \\ud800 pair", *texts[6:]]
    assert [c.text for c in read_logs(floor.connection, "default", JOB)] == wanted


def test_logs_belong_to_their_job_and_workspace(floor: Floor) -> None:
    write_logs(floor.connection, [chunk(0), chunk(0, job=new_id())])
    assert read_logs(floor.connection, "default", JOB) == [chunk(0)]
    assert read_logs(floor.connection, "acme", JOB) == []
    assert read_logs(floor.connection, "default", new_id()) == []


def test_nothing_to_write_is_nothing_done(floor: Floor) -> None:
    write_logs(floor.connection, [])
    write_what_goes(floor.connection, [])


def test_what_postgres_refuses_is_dropped_and_the_rest_is_written(floor: Floor) -> None:
    told = [chunk(0, "a"), chunk(1, "b", attempt=99_999), chunk(2, "c")]
    write_what_goes(floor.connection, told)
    assert read_logs(floor.connection, "default", JOB) == [told[0], told[2]]
