"""Who is dead: only who was silent for a whole lease of our time, during which we could read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mill_actors.actors.death_watch import DeathWatch

LEASE, GAP = 6.0, 5.0


def watch() -> DeathWatch:
    return DeathWatch(LEASE, GAP)


def test_silence_for_a_lease_is_death() -> None:
    watching = watch()
    assert [watching.observe({"a": 1}, t) for t in (0.0, 3.0, 5.9)] == [{}, {}, {}]
    assert watching.observe({"a": 1}, 6.0) == {"a": 1}


def test_one_beat_is_a_new_lease() -> None:
    watching = watch()
    for t, beat in ((0.0, 1), (4.0, 1), (5.0, 2), (9.0, 2)):
        assert watching.observe({"a": beat}, t) == {}
    assert watching.observe({"a": 2}, 11.0) == {"a": 2}


def test_the_dead_stay_dead_until_they_are_gone() -> None:
    watching = watch()
    watching.observe({"a": 1}, 0.0)
    watching.observe({"a": 1}, 3.0)
    assert watching.observe({"a": 1}, 6.0) == {"a": 1}
    assert watching.observe({"a": 1}, 7.0) == {"a": 1}
    assert watching.observe({}, 8.0) == {}


def test_a_read_that_failed_gives_everybody_a_new_lease() -> None:
    watching = watch()
    watching.observe({"a": 1}, 0.0)
    watching.observe({"a": 1}, 4.0)
    watching.miss()
    assert watching.observe({"a": 1}, 7.0) == {}
    assert watching.observe({"a": 1}, 12.0) == {}
    assert watching.observe({"a": 1}, 13.0) == {"a": 1}


def test_our_own_absence_kills_nobody() -> None:
    watching = watch()
    watching.observe({"a": 1}, 0.0)
    assert watching.observe({"a": 1}, 1000.0) == {}
    assert watching.observe({"a": 1}, 1005.0) == {}
    assert watching.observe({"a": 1}, 1006.0) == {"a": 1}


def test_a_newcomer_has_a_whole_lease() -> None:
    watching = watch()
    watching.observe({"a": 1}, 0.0)
    assert watching.observe({"a": 2, "b": 0}, 5.0) == {}
    assert watching.observe({"a": 3, "b": 0}, 9.0) == {}
    assert watching.observe({"a": 4, "b": 0}, 11.0) == {"b": 0}


def test_a_name_that_comes_back_is_somebody_new() -> None:
    watching = watch()
    watching.observe({"a": 1}, 0.0)
    watching.observe({}, 3.0)
    assert watching.observe({"a": 1}, 6.0) == {}


READS = st.lists(
    st.tuples(
        st.floats(0.1, 9.0),  # since the read before
        st.sampled_from(["read", "read", "read", "miss"]),
        st.sets(st.sampled_from("abc")),  # who has beaten since
    ),
    max_size=40,
)


@given(READS)
def test_nobody_dies_who_was_not_silent_for_a_lease_of_good_reads(
    reads: list[tuple[float, str, set[str]]],
) -> None:
    """And whoever was silent that long, with reads that were never far apart, does die."""
    watching = watch()
    beats = dict.fromkeys("abc", 0)
    good_since: float | None = None  # reads succeed and are close together since then
    silent_since = dict.fromkeys("abc", 0.0)
    read_at: float | None = None
    now = 0.0
    for pause, kind, alive in reads:
        now += pause
        for node in alive:
            beats[node] += 1
            silent_since[node] = now
        if kind == "miss":
            watching.miss()
            good_since = read_at = None
            continue
        if read_at is None or now - read_at > GAP:
            good_since = now
        read_at = now
        dead = watching.observe(beats, now)
        assert good_since is not None
        for node in "abc":
            # The first good read that could see its present beat.
            seen = max(good_since, silent_since[node])
            assert (node in dead) == (now - seen >= LEASE), (node, now, seen)
