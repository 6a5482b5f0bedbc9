from __future__ import annotations

import ast
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pykka import ActorDeadError, ActorRegistry, Timeout

import supervisors
from supervisors import (
    ABANDONED,
    NORMAL,
    SHUTDOWN,
    ChildSpec,
    Crashed,
    Down,
    InitFailed,
    Process,
    ProxyRefused,
    Reason,
    StartAborted,
    StartTimeout,
    Supervisor,
    UnexpectedMessage,
    abandoned,
    count_children,
    delete_child,
    inbox_depth,
    names,
    request_stop,
    restart_child,
    start_child,
    stop,
    terminate_child,
    watch,
    whereis,
    which_children,
)
from supervisors.testing import Probe, Puppet, PuppetError, Signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisors import ProcessRef

Keep = Any


def exit_system(_: Puppet) -> None:
    raise SystemExit(3)


def test_ask_crash_raises_to_caller_and_kills(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log)
    with pytest.raises(PuppetError):
        ref.ask(Puppet.crash, timeout=5)
    assert ref.exited.wait(10)
    assert isinstance(ref.exit_reason, Crashed)
    assert isinstance(ref.exit_reason.exception, PuppetError)


def test_tell_crash_kills(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log)
    ref.tell(Puppet.crash)
    assert ref.exited.wait(10)
    assert isinstance(ref.exit_reason, Crashed)


def test_systemexit_kills_only_its_actor(log: Signals[Any], keep: Keep) -> None:
    other, ref = keep(Puppet.spawn(log)), Puppet.spawn(log)
    with pytest.raises(ActorDeadError) as caught:
        ref.ask(exit_system, timeout=5)
    assert isinstance(caught.value.__cause__, SystemExit)
    assert ref.exited.wait(10)
    assert ref.exit_reason == Crashed(caught.value.__cause__)
    assert other.ask(lambda _: "alive", timeout=5) == "alive"
    with pytest.raises(InitFailed) as failed:
        Puppet.spawn(log, "x", exit_system)
    assert isinstance(failed.value.__cause__, SystemExit)


def test_every_ask_times_out(log: Signals[Any], keep: Keep, gate: threading.Event) -> None:
    sup = keep(Supervisor.spawn([ChildSpec.of(Puppet, log, end=lambda _: gate.wait(10))]))
    terminate_child_soon = ThreadPoolExecutor(1)
    with terminate_child_soon as pool:
        pool.submit(terminate_child, sup, "Puppet")
        assert log.take(2)[1][0] == "terminate"  # from now on the supervisor is busy
        asks: list[Callable[[], object]] = [
            partial(which_children, sup, timeout=0.01),
            partial(count_children, sup, timeout=0.01),
            partial(start_child, sup, ChildSpec("x", start=lambda: None), timeout=0.01),
            partial(terminate_child, sup, "x", timeout=0.01),
            partial(restart_child, sup, "Puppet", timeout=0.01),
            partial(delete_child, sup, "x", timeout=0.01),
        ]
        for ask in asks:
            with pytest.raises(Timeout):
                ask()
        gate.set()


def test_every_ask_in_the_package_has_a_timeout() -> None:
    package = Path(supervisors.__file__).parent
    asks = [
        (path.name, node.lineno, {keyword.arg for keyword in node.keywords})
        for path in package.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "ask"
    ]
    assert asks
    assert [ask for ask in asks if "timeout" not in ask[2]] == []


ENDS: dict[str, tuple[Callable[[ProcessRef[Any]], object], type[Any]]] = {
    "exit": (lambda ref: ref.tell(Puppet.leave), type(NORMAL)),
    "stop": (stop, type(SHUTDOWN)),
    "pykka's stop": (lambda ref: ref.stop(), type(SHUTDOWN)),
    "crash in tell": (lambda ref: ref.tell(Puppet.crash), Crashed),
    "crash in ask": (lambda ref: ref.ask(Puppet.crash, block=False), Crashed),
    "SystemExit": (lambda ref: ref.tell(exit_system), Crashed),
    "abandoned": (lambda ref: stop(ref, timeout=0.0), type(ABANDONED)),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("is_clean", [True, False])
def test_terminate_runs_once_on_every_path(log: Signals[Any], how: str, is_clean: bool) -> None:
    end, reason = ENDS[how]
    ref = Puppet.spawn(log, "a", None, None if is_clean else Puppet.crash)
    ref.tell(lambda self: self.stop_requested.wait(10) if how == "abandoned" else None)
    end(ref)
    assert ref.exited.wait(10)
    assert stop(ref)
    (_, terminated) = log.so_far()
    assert terminated[:2] == ("terminate", "a")
    assert isinstance(terminated[2], reason)
    if how != "abandoned":  # that reason is what the others were told already
        assert isinstance(ref.exit_reason, reason if is_clean else Crashed)


def test_terminate_does_not_run_when_init_failed(log: Signals[Any]) -> None:
    with pytest.raises(PuppetError):
        Puppet.spawn(log, "a", Puppet.crash)
    assert log.so_far() == [("init", "a")]


def test_exited_is_set_after_terminate(log: Signals[Any], gate: threading.Event) -> None:
    ref = Puppet.spawn(log, "a", None, lambda _: gate.wait(10))
    watch(ref, "test", lambda down: log((down, ref.exited.is_set())))
    ref.tell(Puppet.leave)
    log.take(2)
    assert not ref.is_alive()  # Pykka's word for it, already
    assert not ref.exited.is_set()
    assert ref.exit_reason is None
    gate.set()
    assert ref.exited.wait(10)
    assert log.so_far() == [(Down(ref, NORMAL), False)]


def test_exit_in_init_starts_and_ends(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log, "a", Puppet.leave)
    assert ref.exited.wait(10)
    assert log.so_far() == [("init", "a"), ("terminate", "a", NORMAL)]


def test_exit_leaves_the_rest_of_the_inbox_unread(log: Signals[Any], gate: threading.Event) -> None:
    ref = Puppet.spawn(log)
    ref.tell(lambda _: gate.wait(10))
    ref.tell(Puppet.leave)
    ref.tell("unread")
    unanswered = ref.ask("unread", block=False)
    assert inbox_depth(ref) >= 3
    gate.set()
    with pytest.raises(ActorDeadError):
        unanswered.get(timeout=5)
    assert ref.exited.wait(10)
    assert log.so_far() == [("init", ""), ("terminate", "", NORMAL)]


def test_stop_lets_what_is_in_the_inbox_be_handled(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log)
    for number in range(100):
        ref.tell(number)
    assert stop(ref)
    assert [event[1] for event in log.so_far()[1:-1]] == list(range(100))


def test_stop_requested_is_seen_by_a_long_handler(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log)
    ref.tell(lambda self: log(self.stop_requested.wait(10)))
    assert stop(ref)
    assert log.so_far()[1] is True


def test_start_timeout_abandons(log: Signals[Any], gate: threading.Event) -> None:
    def slow(self: Puppet) -> None:
        log(self.actor_ref)
        gate.wait(10)

    with pytest.raises(StartTimeout) as caught:
        Puppet.spawn(log, "slow", slow, start_timeout=0.05, name="slow")
    assert caught.value.seconds == 0.05
    _, ref = log.take(2)
    assert abandoned() == [ref]
    assert whereis("slow") is None
    assert ref.life.stop_requested.is_set()
    gate.set()  # init ends after all: what it has opened is closed
    assert ref.exited.wait(10)
    assert log.so_far() == [("terminate", "slow", ABANDONED)]
    assert abandoned() == []


def test_start_is_spawn(log: Signals[Any], keep: Keep) -> None:
    assert keep(Puppet.start(log)).exit_reason is None
    with pytest.raises(PuppetError):
        Puppet.start(log, "x", Puppet.crash)


def test_arguments_need_an_init() -> None:
    class Bare(Process):
        pass

    with pytest.raises(TypeError, match="Bare has no init"):
        Bare.spawn(1)
    ref = Bare.spawn()
    with pytest.raises(UnexpectedMessage):
        ref.ask("anything", timeout=5)
    assert ref.exited.wait(10)


def test_proxies_are_refused_and_harmless(log: Signals[Any], keep: Keep) -> None:
    ref = keep(Puppet.spawn(log))
    with pytest.raises(ProxyRefused):
        ref.proxy().crash().get(timeout=5)
    ref.proxy().crash.defer()
    assert ref.ask(lambda _: "alive", timeout=5) == "alive"


def test_a_dead_actor_is_out_of_pykkas_registry(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log)
    assert ActorRegistry.get_by_urn(ref.actor_urn) is ref
    assert stop(ref)
    assert ActorRegistry.get_by_urn(ref.actor_urn) is None
    with pytest.raises(ActorDeadError):
        ref.tell("anything")
    with pytest.raises(ActorDeadError):
        ref.ask("anything", timeout=5)


def test_a_letter_that_lands_after_the_end_is_refused(log: Signals[Any]) -> None:
    """The window Pykka leaves open: the sender saw it alive, then it ended."""
    ref = Puppet.spawn(log)
    assert stop(ref)
    ref.actor_stopped.clear()  # what the sender still believes
    with pytest.raises(ActorDeadError):
        ref.ask("anything", timeout=5)
    ref.tell("anything")
    assert inbox_depth(ref) == 0


# -- monitors --------------------------------------------------------------------------


def test_down_reaches_each_monitor_once(log: Signals[Any], keep: Keep) -> None:
    target = Puppet.spawn(Signals())
    watchers = [keep(Puppet.spawn(log, str(number))) for number in range(3)]
    log.take(3)
    for watcher in watchers * 2:
        watcher.ask(lambda self: self.monitor(target), timeout=5)
    target.tell(Puppet.crash)
    downs = dict(log.take(3))
    assert downs.keys() == {"0", "1", "2"}
    assert all(down.ref is target and isinstance(down.reason, Crashed) for down in downs.values())
    for watcher in watchers:
        watcher.ask(lambda _: None, timeout=5)
    assert log.so_far() == []


def test_monitoring_the_dead_tells_at_once(log: Signals[Any], keep: Keep) -> None:
    target, watcher = Puppet.spawn(Signals()), keep(Puppet.spawn(log, "w"))
    assert stop(target)
    watcher.ask(lambda self: self.monitor(target), timeout=5)
    assert log.take(2)[1] == ("w", Down(target, SHUTDOWN))


def test_demonitor(log: Signals[Any], keep: Keep) -> None:
    target, watcher = Puppet.spawn(Signals()), keep(Puppet.spawn(log, "w"))
    watcher.ask(lambda self: self.monitor(target), timeout=5)
    watcher.ask(lambda self: self.demonitor(target), timeout=5)
    assert stop(target)
    watcher.ask(lambda _: None, timeout=5)
    assert log.so_far() == [("init", "w")]


def test_a_dead_monitor_is_forgotten(log: Signals[Any], keep: Keep) -> None:
    target, watcher = keep(Puppet.spawn(log)), Puppet.spawn(log)
    watcher.ask(lambda self: self.monitor(target), timeout=5)
    assert len(target.life._watchers) == 1
    assert stop(watcher)
    assert target.life._watchers == {}


def test_the_parent_gets_a_down(keep: Keep) -> None:
    seen: Signals[Any] = Signals()
    parent = keep(Probe.spawn(seen))
    child = Puppet.spawn(Signals(), parent=parent)
    child.tell(Puppet.leave)
    assert seen.next() == Down(child, NORMAL)


def test_no_down_is_lost_or_doubled_when_monitoring_races_with_the_end(keep: Keep) -> None:
    seen: Signals[Any] = Signals()
    watcher = keep(Puppet.spawn(seen, "w"))
    seen.next()
    targets = [Puppet.spawn(Signals()) for _ in range(50)]

    def monitor_all(self: Puppet) -> None:
        for target in targets:
            self.monitor(target)

    watcher.tell(monitor_all)
    for target in targets:
        target.tell(Puppet.leave)
    downs = [down for _, down in seen.take(50)]
    assert {down.ref for down in downs} == set(targets)
    watcher.ask(lambda _: None, timeout=5)
    assert seen.so_far() == []


# -- idle ------------------------------------------------------------------------------


class Batcher(Process):
    def init(self, log: Signals[Any], idle_every: int = 0) -> None:
        self.log = log
        self.idle_every = idle_every
        self.batch: list[Any] = []

    def handle(self, message: Any) -> object:
        if callable(message):
            return message()
        self.batch.append(message)
        return None

    def idle(self) -> None:
        self.log(self.batch)
        self.batch = []

    def terminate(self, reason: Reason) -> None:
        self.log(("terminate", self.batch))


def fill(log: Signals[Any], gate: threading.Event, count: int, idle_every: int = 0) -> ProcessRef[Any]:
    ref = Batcher.spawn(log, idle_every)
    ref.tell(gate.wait)
    for number in range(count):
        ref.tell(number)
    return ref


def test_idle_follows_when_the_inbox_has_run_empty(log: Signals[Any], gate: threading.Event) -> None:
    ref = fill(log, gate, 5)
    gate.set()
    assert log.next() == [0, 1, 2, 3, 4]
    ref.ask(9, timeout=5)
    assert log.next() == [9]
    assert stop(ref)
    assert log.so_far() == [("terminate", [])]


def test_idle_every_bounds_the_batch(log: Signals[Any], gate: threading.Event) -> None:
    ref = fill(log, gate, 7, idle_every=3)
    gate.set()
    assert log.take(3) == [[0, 1], [2, 3, 4], [5, 6]]  # the wait was a message too
    assert stop(ref)


@pytest.mark.parametrize("end", [request_stop, lambda ref: ref.tell(lambda: None)])
def test_idle_runs_before_an_ordinary_end(
    log: Signals[Any], gate: threading.Event, end: Callable[[Any], object]
) -> None:
    ref = fill(log, gate, 3)
    end(ref)
    request_stop(ref)
    gate.set()
    assert ref.exited.wait(10)
    assert log.so_far() == [[0, 1, 2], ("terminate", [])]


def test_idle_does_not_run_after_a_crash(log: Signals[Any], gate: threading.Event) -> None:
    ref = fill(log, gate, 2)
    ref.tell(partial(int, "x"))
    gate.set()
    assert ref.exited.wait(10)
    assert log.so_far() == [("terminate", [0, 1])]


def test_a_crash_in_idle_kills(log: Signals[Any]) -> None:
    class Bad(Batcher):
        def idle(self) -> None:
            raise PuppetError

    ref = Bad.spawn(log)
    assert ref.ask(1, timeout=5) is None  # answered before idle
    assert ref.exited.wait(10)
    assert isinstance(ref.exit_reason, Crashed)


def test_abandoning_a_starting_actor_frees_who_waits_for_it(log: Signals[Any], gate: threading.Event) -> None:
    def slow(self: Puppet) -> None:
        log(self.actor_ref)
        gate.wait(10)

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(Puppet.spawn, log, "slow", slow, start_timeout=None)
        _, ref = log.take(2)
        assert stop(ref, timeout=0.0) is False
        with pytest.raises(StartAborted):
            starting.result(10)
    gate.set()
    assert ref.exited.wait(10)


def test_a_thread_that_cannot_start_leaves_nothing(
    log: Signals[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_threads(_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(RuntimeError):
            Puppet.spawn(log, name="anna")
    assert names() == {}
    assert ActorRegistry.get_all() == []
    assert abandoned() == []


def test_an_interrupted_spawn_leaves_nothing(log: Signals[Any], gate: threading.Event) -> None:
    """Control-C while the main thread waits for init: the actor ends when init does."""
    main = threading.main_thread().ident
    assert main == threading.get_ident()

    def interrupt(_: Puppet) -> None:
        signal.pthread_kill(main, signal.SIGINT)
        gate.wait(10)

    with pytest.raises(KeyboardInterrupt):
        Puppet.spawn(log, "a", interrupt, name="anna")
    assert names() == {}
    (ref,) = abandoned()
    gate.set()
    assert ref.exited.wait(10)
    assert log.so_far() == [("init", "a"), ("terminate", "a", ABANDONED)]
    assert abandoned() == []


def test_a_watcher_that_fails_harms_nobody(log: Signals[Any]) -> None:
    def fail(_: Down) -> None:
        raise PuppetError

    ref = Puppet.spawn(log)
    watch(ref, "bad", fail)
    watch(ref, "good", log)
    assert stop(ref)
    assert log.so_far()[-1] == Down(ref, SHUTDOWN)
