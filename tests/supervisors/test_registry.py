from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from supervisors import (
    ChildSpec,
    NameNotFound,
    NameTaken,
    Supervisor,
    ask,
    names,
    register,
    send,
    stop,
    unregister,
    whereis,
)
from supervisors.testing import Probe, Puppet, PuppetError, Signals

Keep = Any


def test_a_name_is_held_while_its_actor_lives(log: Signals[Any]) -> None:
    ref = Puppet.spawn(log, name="anna")
    assert whereis("anna") is ref
    assert names() == {"anna": ref}
    assert str(ref).startswith("anna (")
    assert ref.ask(lambda self: (self.name, threading.current_thread().name), timeout=5) == ("anna", "anna")
    assert stop(ref)
    assert whereis("anna") is None
    assert names() == {}


def test_a_name_is_taken_before_init_and_freed_when_it_fails(log: Signals[Any]) -> None:
    seen: list[Any] = []

    def look(self: Puppet) -> None:
        seen.append(whereis("anna"))
        self.crash()

    with pytest.raises(PuppetError):
        Puppet.spawn(log, "x", look, name="anna")
    assert seen[0].actor_class is Puppet
    assert names() == {}


def test_a_name_clash_is_an_error_to_the_caller(log: Signals[Any], keep: Keep) -> None:
    ref = keep(Puppet.spawn(log, name="anna"))
    with pytest.raises(NameTaken) as caught:
        Puppet.spawn(log, name="anna")
    assert (caught.value.name, caught.value.ref) == ("anna", ref)
    assert whereis("anna") is ref
    assert len(log.so_far()) == 1


def test_a_name_is_free_when_the_down_arrives_and_not_before(log: Signals[Any], keep: Keep) -> None:
    """So a supervisor restarts a named child without a clash, however slow its terminate."""
    gate = threading.Event()
    sup = keep(Supervisor.spawn([ChildSpec.of(Puppet, log, "a", None, lambda _: gate.wait(10), name="anna")]))
    old: Any = whereis("anna")
    old.tell(Puppet.crash)
    log.take(2)
    assert whereis("anna") is None  # it is ending: not worth sending to
    assert names() == {"anna": old}  # but nobody else may have the name yet
    gate.set()
    assert log.next() == ("init", "a")
    assert sup.is_alive()


def test_send_resolves_at_send_time_and_never_raises(log: Signals[Any], keep: Keep) -> None:
    assert send("anna", 1) is False
    first = Probe.spawn(Signals(), name="anna")
    assert stop(first)
    assert send(first, 2) is False
    keep(Probe.spawn(log, name="anna"))
    assert send("anna", 3) is True
    assert log.next() == 3


def test_ask_by_name(log: Signals[Any], keep: Keep) -> None:
    with pytest.raises(NameNotFound):
        ask("anna", 1, timeout=5)
    keep(Probe.spawn(log, name="anna"))
    assert ask("anna", 2, timeout=5) == 2


def test_register_by_hand(log: Signals[Any], keep: Keep) -> None:
    ref: Any = keep(Puppet.spawn(log))
    other: Any = keep(Puppet.spawn(log))
    register("anna", ref)
    register("anna", ref)
    unregister("anna", other)  # not the holder
    assert names() == {"anna": ref}
    unregister("anna", ref)
    assert names() == {}


def test_of_many_who_want_a_name_one_gets_it() -> None:
    def spawn(_: int) -> Any:
        try:
            return Probe.spawn(Signals(), name="anna")
        except NameTaken:
            return None

    with ThreadPoolExecutor(8) as pool:
        refs = [ref for ref in pool.map(spawn, range(16)) if ref is not None]
    assert len(refs) == 1
    assert stop(refs[0])
