from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from supervisors import ChildSpec, Progress, Supervisor, stop, subscribe, which_children
from supervisors.testing import Puppet, Signals

if TYPE_CHECKING:
    import pytest

    from supervisors import Report

Keep = Any


def test_progress_is_reported_for_each_start(log: Signals[Any], keep: Keep) -> None:
    seen: Signals[Report] = Signals()
    unsubscribe = subscribe(seen)
    sup = keep(Supervisor.spawn([ChildSpec.of(Puppet, log, id="a")]))
    report = seen.next()
    assert isinstance(report, Progress)
    assert (report.supervisor, report.child_id, report.child) == (sup, "a", which_children(sup)[0].ref)
    unsubscribe()
    unsubscribe()
    assert stop(sup)
    assert seen.so_far() == []


def test_reports_go_to_the_log(log: Signals[Any], keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="supervisors")
    sup = keep(Supervisor.spawn([ChildSpec.of(Puppet, log, id="a")], max_restarts=0, name="sup"))
    which_children(sup)[0].ref.tell(Puppet.crash)  # type: ignore[union-attr]
    assert sup.exited.wait(10)
    records = [(each.levelname, each.report) for each in caplog.records if hasattr(each, "report")]
    assert records == [
        ("DEBUG", "progress"),
        ("ERROR", "child_terminated"),
        ("ERROR", "reached_max_restart_intensity"),
    ]
    assert "'a' ended, crashed: PuppetError('')" in caplog.text
    assert caplog.text.count("Traceback") == 1  # the actor's own, not one a report


def test_a_failing_subscriber_harms_nobody(log: Signals[Any], keep: Keep) -> None:
    def fail(_: Report) -> None:
        raise ValueError

    unsubscribe = subscribe(fail)
    seen: Signals[Report] = Signals()
    unsubscribe_second = subscribe(seen)
    keep(Supervisor.spawn([ChildSpec.of(Puppet, log)]))
    assert seen.next().kind == "progress"
    unsubscribe()
    unsubscribe_second()


def test_every_report_reads_as_a_sentence(log: Signals[Any], keep: Keep) -> None:
    from supervisors import (
        SHUTDOWN,
        ChildAbandoned,
        ChildTerminated,
        ReachedMaxRestartIntensity,
        ShutdownError,
        StartError,
    )

    ref: Any = keep(Puppet.spawn(log, name="anna"))
    who = str(ref)
    more = {"supervisor": ref, "child_id": "a"}
    assert [
        str(Progress(child=ref, **more)),
        str(StartError(error=ValueError("x"), **more)),
        str(ChildTerminated(child=ref, reason=SHUTDOWN, **more)),
        str(ShutdownError(child=ref, reason=SHUTDOWN, **more)),
        str(ReachedMaxRestartIntensity(max_restarts=3, max_seconds=5.0, **more)),
        str(ChildAbandoned(child=ref, **more)),
        str(ChildAbandoned(child=ref, supervisor=None, child_id=None)),
    ] == [
        f"{who}: started 'a' as {who}",
        f"{who}: 'a' did not start: ValueError('x')",
        f"{who}: 'a' ended, shutdown",
        f"{who}: 'a' was stopped but ended, shutdown",
        f"{who}: gives up, 'a' was one restart more than 3 in 5.0 s",
        f"{who}: abandoned 'a', {who}",
        f"stop(): abandoned {who}",
    ]
