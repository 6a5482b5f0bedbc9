"""Start, stop, crash and ask from many threads at once: nothing is lost, doubled or stuck."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from pykka import ActorDeadError, ActorRegistry, Timeout

from supervisors import (
    PERMANENT,
    TEMPORARY,
    ChildSpec,
    ChildState,
    Down,
    DynamicSupervisor,
    Process,
    Strategy,
    Supervisor,
    SupervisorError,
    names,
    restart_child,
    snapshot,
    start_child,
    stop,
    terminate_child,
    which_children,
)
from supervisors.testing import Puppet, Signals

if TYPE_CHECKING:
    from collections.abc import Callable

Keep = Any


def together(count: int, do: Any) -> list[Any]:
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        barrier.wait(10)
        return do(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_start_and_stop_race(log: Signals[Any]) -> None:
    """Each actor is stopped by three threads as soon as anybody can see it."""
    for _ in range(30):
        seen: list[Any] = []
        is_seen = threading.Event()

        def show(self: Puppet, seen: list[Any] = seen, is_seen: threading.Event = is_seen) -> None:
            seen.append(self.actor_ref)
            is_seen.set()

        def act(number: int, show: Any = show, seen: Any = seen, is_seen: Any = is_seen) -> Any:
            if number == 0:
                return Puppet.spawn(log, "a", show)
            is_seen.wait(10)
            return stop(seen[0])

        ref, *stopped = together(4, act)
        assert stopped == [True] * 3
        assert ref.exited.wait(10)
        assert [event[0] for event in log.so_far()] == ["init", "terminate"]


def test_every_asker_is_answered_when_an_actor_ends(log: Signals[Any]) -> None:
    """Sent before, while or after it dies: an answer or an error, never silence."""

    class Brief(Process):
        def handle(self, message: Any) -> object:
            if message == 50:
                self.exit()
            return message

    for _ in range(10):
        ref = Brief.spawn()

        def ask(number: int, ref: Any = ref) -> list[Any]:
            answers = [ref.ask(number * 20 + each, block=False) for each in range(20)]
            results = []
            for answer in answers:
                try:
                    results.append(answer.get(timeout=10))
                except ActorDeadError:
                    results.append(None)
            return results

        results = together(4, ask)  # a Timeout would raise here
        assert any(50 in each for each in results)
        assert ref.exited.wait(10)


def test_each_end_is_told_once(log: Signals[Any], keep: Keep) -> None:
    """Monitors are set and dropped while the actors end in every way there is."""
    seen: Signals[Any] = Signals()
    watchers = [keep(Puppet.spawn(seen, str(number))) for number in range(3)]
    seen.take(3)
    targets = [Puppet.spawn(Signals()) for _ in range(30)]
    ends: list[Callable[[Any], object]] = [
        lambda ref: ref.tell(Puppet.crash),
        lambda ref: ref.tell(Puppet.leave),
        stop,
        lambda ref: stop(ref, timeout=0.0),
    ]

    def act(number: int) -> None:
        if number < 3:
            for target in targets:
                watchers[number].tell(lambda self, target=target: self.monitor(target))
        else:
            for target in targets[number - 3 :: 3]:
                random.choice(ends)(target)

    together(6, act)
    told = [(label, message.ref) for label, message in seen.take(90) if isinstance(message, Down)]
    assert len(set(told)) == 90
    for target in targets:
        assert target.exited.wait(10)
    for watcher in watchers:
        watcher.ask(lambda _: None, timeout=10)
    assert seen.so_far() == []


@pytest.mark.parametrize("strategy", Strategy)
def test_a_supervisor_under_fire(log: Signals[Any], keep: Keep, strategy: Strategy) -> None:
    specs = [ChildSpec.of(Puppet, log, str(number), id=str(number), name=f"n{number}") for number in range(4)]
    sup = keep(Supervisor.spawn(specs, strategy=strategy, max_restarts=10_000))

    def harass(number: int) -> None:
        chance = random.Random(number)
        for _ in range(15):
            child = str(chance.randrange(4))
            with suppress(SupervisorError, ActorDeadError):
                match chance.randrange(4):
                    case 0:
                        names()[f"n{child}"].tell(Puppet.crash)
                    case 1:
                        names()[f"n{child}"].tell(Puppet.leave)
                    case 2:
                        terminate_child(sup, child)
                        restart_child(sup, child)
                    case _:
                        assert snapshot(sup, timeout=10).state == "running"

    together(4, lambda number: suppress_key_error(harass, number))
    for info in which_children(sup):
        if info.state is ChildState.STOPPED:
            with suppress(SupervisorError):
                restart_child(sup, info.id)
    # What runs is exactly one actor a spec: nothing was restarted twice.
    while True:
        infos = which_children(sup)
        refs = {info.ref for info in infos}
        if refs == set(ActorRegistry.get_by_class(Puppet)) and None not in refs:
            break
    assert [info.id for info in infos] == ["0", "1", "2", "3"]
    assert stop(sup)
    events = log.so_far()
    for label in "0123":
        turns = [event[0] for event in events if event[1] == label]
        assert turns == ["init", "terminate"] * (len(turns) // 2)


def suppress_key_error(do: Any, number: int) -> None:
    """The name may be free just now."""
    with suppress(KeyError):
        do(number)


def test_a_dynamic_supervisor_under_fire(log: Signals[Any]) -> None:
    sup = DynamicSupervisor.spawn(max_restarts=10_000)

    def harass(number: int) -> None:
        chance = random.Random(number)
        for _ in range(15):
            restart = PERMANENT if chance.random() < 0.5 else TEMPORARY
            ref = start_child(sup, ChildSpec.of(Puppet, log, restart=restart))
            assert ref is not None
            with suppress(SupervisorError, ActorDeadError):
                match chance.randrange(4):
                    case 0:
                        ref.tell(Puppet.crash)
                    case 1:
                        ref.tell(Puppet.leave)
                    case 2:
                        terminate_child(sup, ref)
                    case _:
                        pass  # let it live

    together(4, harass)
    assert stop(sup)
    events = [event[0] for event in log.so_far()]
    assert events.count("init") == events.count("terminate")


def test_stopping_a_tree_that_is_restarting(log: Signals[Any]) -> None:
    for _ in range(10):
        leaf = ChildSpec.of(Puppet, log, "leaf", lambda self: self.actor_ref.tell(Puppet.crash), id="leaf")
        inner = ChildSpec.of(Supervisor, [leaf], id="inner", max_restarts=2)
        root = Supervisor.spawn([inner], max_restarts=1_000_000)
        log.take(5)
        assert stop(root, timeout=10)
        events = [event[0] for event in log.so_far()]
        assert abs(events.count("init") - events.count("terminate")) <= 1


def test_an_ask_to_a_dying_supervisor_is_answered(log: Signals[Any]) -> None:
    for _ in range(10):
        sup = Supervisor.spawn([ChildSpec.of(Puppet, log)])

        def act(number: int, sup: Any = sup) -> bool:
            if number == 0:
                return stop(sup)
            with suppress(ActorDeadError):
                while True:
                    which_children(sup, timeout=10)
            return True

        try:
            assert together(3, act) == [True] * 3
        except Timeout:
            pytest.fail("somebody was left hanging")
