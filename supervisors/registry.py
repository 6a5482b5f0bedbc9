"""Names of living actors.

A name is taken when its actor is spawned and freed when that actor has ended, before
anybody is told of the end: a supervisor that restarts it can take the name again. Names
resolve when a message is sent, so a restart leaves no stale ref behind. Lookups take no
lock.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, TypeAlias

from pykka import ActorDeadError, ActorRef

from supervisors.errors import NameNotFound, NameTaken

Target: TypeAlias = ActorRef[Any] | str
"""Whom to send to: a ref, or the name of whoever bears it at that moment."""

_names: dict[str, ActorRef[Any]] = {}
_lock = threading.Lock()


def register(name: str, ref: ActorRef[Any]) -> None:
    """Give `ref` a name; `Process.spawn(name=…)` does this for you.

    Raises:
        NameTaken: another actor has it and has not ended.

    """
    with _lock:
        holder = _names.setdefault(name, ref)
    if holder is not ref:
        raise NameTaken(name, holder)


def unregister(name: str, ref: ActorRef[Any]) -> None:
    """Free the name if `ref` is the one that holds it."""
    with _lock:
        if _names.get(name) is ref:
            del _names[name]


def whereis(name: str) -> ActorRef[Any] | None:
    """Find who bears the name now; None also for an actor that is just ending."""
    ref = _names.get(name)
    return ref if ref is not None and ref.is_alive() else None


def names() -> dict[str, ActorRef[Any]]:
    """Copy the whole table."""
    with _lock:
        return dict(_names)


def resolve(target: Target) -> ActorRef[Any]:
    """Turn a name into the ref of whoever bears it; a ref is returned as it is."""
    if not isinstance(target, str):
        return target
    ref = whereis(target)
    if ref is None:
        raise NameNotFound(target)
    return ref


def send(target: Target, message: object) -> bool:
    """Tell, and answer False instead of raising when nobody is there.

    True means only that the message reached the inbox: its reader may still die first.
    """
    ref = whereis(target) if isinstance(target, str) else target
    if ref is None:
        return False
    with suppress(ActorDeadError):
        ref.tell(message)
        return True
    return False


def ask(target: Target, message: object, *, timeout: float) -> Any:
    """Ask whoever bears the name, or the ref; the timeout is not optional here.

    Raises:
        NameNotFound: nobody bears the name.
        pykka.ActorDeadError: it ended before it answered.
        pykka.Timeout: no answer in time; the message may still be handled later.

    """
    return resolve(target).ask(message, timeout=timeout)
