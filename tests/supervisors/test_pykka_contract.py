"""What Pykka does and lacks, as far as `process.py` and `inbox.py` are built around it.

The numbers are those of the table of facts in the design of this package. When an upgrade
of Pykka makes one of these fail, read it before changing it: something we work around may
have been mended, or something we lean on may be gone.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from pykka import ActorDeadError, ActorRegistry, Timeout
from pykka._envelope import Envelope

from supervisors import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = 10.0


class PlainError(Exception):
    pass


class Plain(pykka.ThreadingActor):
    def __init__(self, events: list[str] | None = None) -> None:
        super().__init__()
        self.events = [] if events is None else events

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message

    def on_stop(self) -> None:
        self.events.append("on_stop")

    def on_failure(self, *_: object) -> None:
        self.events.append("on_failure")

    def method(self) -> str:
        return "called"


@pytest.fixture(autouse=True)
def _stop_all(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL + 1, logger="pykka")
    yield
    ActorRegistry.stop_all(timeout=WAIT)


def fail(_: Plain) -> None:
    raise PlainError


def dead(ref: pykka.ActorRef[Any]) -> bool:
    return ref.actor_stopped.wait(WAIT)


def test_fact_2_start_returns_before_on_start_and_hides_its_failure() -> None:
    gate, events = threading.Event(), list[str]()

    class Slow(Plain):
        def on_start(self) -> None:
            gate.wait(WAIT)
            raise PlainError

    ref = Slow.start(events)
    assert ref.is_alive()
    gate.set()
    assert dead(ref)
    assert events == []  # neither on_stop nor on_failure


def test_fact_3_an_exception_kills_on_tell_but_not_on_ask() -> None:
    asked, told = Plain.start(), Plain.start()
    with pytest.raises(PlainError):
        asked.ask(fail, timeout=WAIT)
    assert asked.ask("alive", timeout=WAIT) == "alive"
    told.tell(fail)
    assert dead(told)


def test_fact_4_a_base_exception_stops_every_actor_and_answers_nobody() -> None:
    program = """
import pykka
class A(pykka.ThreadingActor):
    def on_receive(self, message):
        if message == "exit": raise SystemExit
a, b = A.start(), A.start()
answer = a.ask("exit", block=False)
print(b.actor_stopped.wait(10))
try: answer.get(timeout=0.05)
except pykka.Timeout: print("no answer")
"""
    out = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=20
    )
    assert out.stdout.split("\n") == ["True", "no answer", ""]


def test_fact_5_is_alive_is_false_while_on_stop_runs() -> None:
    entered, gate = threading.Event(), threading.Event()

    class Lingering(Plain):
        def on_stop(self) -> None:
            entered.set()
            gate.wait(WAIT)

    ref = Lingering.start()
    stopping = ref.stop(block=False)
    assert entered.wait(WAIT)
    assert not ref.is_alive()
    assert ActorRegistry.get_by_urn(ref.actor_urn) is None
    assert ref.stop(timeout=WAIT) is False  # at once, although it still runs
    gate.set()
    assert stopping.get(timeout=WAIT) is True


def test_fact_6_an_envelope_after_teardown_is_never_answered() -> None:
    ref = Plain.start()
    ref.stop(timeout=WAIT)
    ref.actor_stopped.clear()  # what a sender saw a moment ago
    with pytest.raises(Timeout):
        ref.ask("anybody?", timeout=0.05)


def test_fact_6_what_waits_at_the_end_gets_actor_dead_error_only_if_asked() -> None:
    gate = threading.Event()
    ref = Plain.start()
    ref.tell(lambda _: gate.wait(WAIT))
    stopping = ref.stop(block=False)
    asked = ref.ask("too late", block=False)
    gate.set()
    with pytest.raises(ActorDeadError):
        asked.get(timeout=WAIT)
    assert stopping.get(timeout=WAIT) is True


def test_fact_7_stop_waits_its_turn_and_a_busy_actor_lives_on() -> None:
    gate, seen = threading.Event(), list[str]()
    ref = Plain.start()
    ref.tell(lambda _: gate.wait(WAIT))
    ref.tell(lambda _: seen.append("before the stop"))
    with pytest.raises(Timeout):
        ref.stop(timeout=0.05)
    assert ref.is_alive()
    gate.set()
    assert dead(ref)
    assert seen == ["before the stop"]


def test_fact_12_proxy_calls_bypass_on_receive() -> None:
    class Deaf(Plain):
        def on_receive(self, message: Any) -> Any:
            raise AssertionError(message)

    assert Deaf.start().proxy().method().get(timeout=WAIT) == "called"


# -- the private names process.py uses -------------------------------------------------


def test_the_seam_exists_and_is_what_pykka_calls() -> None:
    called = list[str]()

    class Seam(pykka.ThreadingActor):
        def _actor_loop(self) -> None:
            called.append(threading.current_thread().name)
            self.actor_stopped.set()

    ref = Seam.start()
    assert dead(ref)
    ActorRegistry.unregister(ref)
    assert called[0].startswith("Seam-")


def test_an_actor_has_the_private_parts_we_replace() -> None:
    class Own(Process):
        pass

    ref = Own.spawn()
    actor = ref.actor()
    assert actor is not None
    assert actor._actor_ref is ref is actor.actor_ref
    assert actor.actor_inbox is ref.actor_inbox
    assert pykka.ThreadingActor._create_actor_inbox is not Own._create_actor_inbox
    assert callable(pykka.ThreadingActor._start_actor_loop)
    del actor
    assert ref.stop(timeout=WAIT) is True  # Pykka's own way to stop works, and waits
    assert ref.exited.wait(WAIT)


def test_an_envelope_is_what_the_inbox_expects() -> None:
    envelope: Envelope[str] = Envelope("message", reply_to=None)
    assert (envelope.message, envelope.reply_to) == ("message", None)


def test_stop_all_ends_processes_too() -> None:
    class Own(Process):
        pass

    refs = [Own.spawn() for _ in range(3)]
    began = time.monotonic()
    assert ActorRegistry.stop_all(timeout=WAIT) == [True] * 3
    assert time.monotonic() - began < WAIT
    assert all(ref.exited.wait(WAIT) for ref in refs)
