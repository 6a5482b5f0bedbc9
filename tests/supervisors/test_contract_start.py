from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from supervisors import (
    SHUTDOWN,
    TEMPORARY,
    ChildSpec,
    ChildState,
    FailedToStartChild,
    InvalidChildSpecs,
    Supervisor,
    restart_child,
    start_child,
    stop,
    which_children,
)
from supervisors.testing import Puppet, PuppetError, Signals

if TYPE_CHECKING:
    from supervisors import ProcessRef, Report

Keep = Any


def puppets(log: Signals[Any], *labels: str) -> list[ChildSpec]:
    return [ChildSpec.of(Puppet, log, label, id=label) for label in labels]


def test_children_start_in_order(log: Signals[Any], keep: Keep) -> None:
    keep(Supervisor.spawn(puppets(log, "a", "b", "c")))
    assert log.take(3) == [("init", "a"), ("init", "b"), ("init", "c")]


def test_start_returns_after_last_init(log: Signals[Any], keep: Keep) -> None:
    keep(Supervisor.spawn(puppets(log, "a", "b")))
    assert log.so_far() == [("init", "a"), ("init", "b")]


def test_first_start_failure_stops_started_in_reverse(log: Signals[Any], reports: Signals[Report]) -> None:
    bad = ChildSpec.of(Puppet, log, "bad", Puppet.crash, id="bad")
    with pytest.raises(FailedToStartChild) as caught:
        Supervisor.spawn([*puppets(log, "a", "b"), bad, *puppets(log, "never")])
    assert caught.value.child_id == "bad"
    assert isinstance(caught.value.__cause__, PuppetError)
    assert log.so_far() == [
        ("init", "a"),
        ("init", "b"),
        ("init", "bad"),
        ("terminate", "b", SHUTDOWN),
        ("terminate", "a", SHUTDOWN),
    ]
    assert [report.kind for report in reports.so_far()] == ["start_error"]


def test_failure_deep_in_the_tree_stops_everything(log: Signals[Any]) -> None:
    bad = ChildSpec.of(Puppet, log, "bad", Puppet.crash, id="bad")
    inner = ChildSpec.of(Supervisor, [*puppets(log, "b"), bad], id="inner")
    with pytest.raises(FailedToStartChild) as caught:
        Supervisor.spawn([*puppets(log, "a"), inner])
    assert caught.value.child_id == "inner"
    assert log.so_far()[-2:] == [("terminate", "b", SHUTDOWN), ("terminate", "a", SHUTDOWN)]


def test_duplicate_id_rejected_before_start(log: Signals[Any]) -> None:
    with pytest.raises(InvalidChildSpecs) as caught:
        Supervisor.spawn(puppets(log, "a", "b", "a"))
    assert caught.value.faults == ("id 'a' is used 2 times",)
    assert log.so_far() == []


def test_all_faults_of_specs_are_named_at_once() -> None:
    specs: list[Any] = [
        ChildSpec("", start=lambda: None),
        ChildSpec("b", start=None, shutdown=-1.0, restart="always", kind="x"),  # type: ignore[arg-type]
        ChildSpec("c", start=lambda: None, restart_delay=float("inf")),
        "not a spec",
    ]
    with pytest.raises(InvalidChildSpecs) as caught:
        Supervisor.spawn(specs)
    assert [fault.partition(" is not")[0].partition(" is neither")[0] for fault in caught.value.faults] == [
        "[0] '': id",
        "[1] 'b': start",
        "[1] 'b': restart",
        "[1] 'b': kind",
        "[1] 'b': shutdown",
        "[2] 'c': restart_delay",
        "[3]: not a ChildSpec: 'not a spec'",
    ]


def test_ignore_keeps_spec(log: Signals[Any], keep: Keep) -> None:
    is_wanted: list[bool] = []

    def start() -> ProcessRef[Any] | None:
        return Puppet.spawn(log, "later") if is_wanted else None

    sup = keep(
        Supervisor.spawn(
            [
                ChildSpec("ignored", start=start),
                ChildSpec("forgotten", start=lambda: None, restart=TEMPORARY),
            ]
        )
    )
    (info,) = which_children(sup)
    assert (info.id, info.ref, info.state) == ("ignored", None, ChildState.STOPPED)
    is_wanted.append(True)
    ref = restart_child(sup, "ignored")
    assert ref is not None
    assert ref.is_alive()


def test_init_failure_reaches_the_caller(log: Signals[Any], keep: Keep) -> None:
    with pytest.raises(PuppetError):
        Puppet.spawn(log, "alone", Puppet.crash)
    sup = keep(Supervisor.spawn())
    with pytest.raises(FailedToStartChild) as caught:
        start_child(sup, ChildSpec.of(Puppet, log, "bad", Puppet.crash, id="bad"))
    assert isinstance(caught.value.__cause__, PuppetError)
    assert which_children(sup) == []


def test_a_plain_pykka_actor_is_refused_and_stopped() -> None:
    import pykka

    class Plain(pykka.ThreadingActor):
        pass

    with pytest.raises(FailedToStartChild, match=r"supervisors\.Process"):
        Supervisor.spawn([ChildSpec("plain", start=Plain.start)])


def test_a_subclass_may_bring_its_own_specs(log: Signals[Any]) -> None:
    class Pair(Supervisor):
        def init(self, *labels: str) -> None:  # type: ignore[override]
            super().init(puppets(log, *labels))

    ref = Pair.spawn("a", "b")
    assert stop(ref)
    assert [event[:2] for event in log.so_far()] == [
        ("init", "a"),
        ("init", "b"),
        ("terminate", "b"),
        ("terminate", "a"),
    ]
