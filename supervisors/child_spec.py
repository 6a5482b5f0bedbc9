"""`ChildSpec`: how a supervisor starts a child, when it restarts it, how long it waits.

Specs are values: the supervisor keeps them and calls `start` again for every restart.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from supervisors.errors import InvalidChildSpecs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pykka import ActorRef

    from supervisors.process import Process


class Restart(enum.Enum):
    """Which ends of a child lead to a restart."""

    PERMANENT = "permanent"  # every end
    TRANSIENT = "transient"  # every end that is not NORMAL or Shutdown
    TEMPORARY = "temporary"  # none; its spec is forgotten with it


class Kind(enum.Enum):
    """What a child is; decides only the default shutdown and what is counted."""

    WORKER = "worker"
    SUPERVISOR = "supervisor"


PERMANENT: Final = Restart.PERMANENT
TRANSIENT: Final = Restart.TRANSIENT
TEMPORARY: Final = Restart.TEMPORARY
WORKER: Final = Kind.WORKER
SUPERVISOR: Final = Kind.SUPERVISOR


class _ByKind(enum.Enum):
    BY_KIND = "5 s for a worker, for ever for a supervisor"


BY_KIND: Final = _ByKind.BY_KIND
Patience: TypeAlias = float | Literal[_ByKind.BY_KIND] | None


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child of a supervisor."""

    id: str
    """Unique among its siblings; under a `DynamicSupervisor` only a label."""

    start: Callable[[], ActorRef[Any] | None]
    """Runs in the supervisor and returns when the child is up; None means *ignore*:
    the spec is kept (unless temporary) without an actor."""

    restart: Restart = PERMANENT

    shutdown: Patience = BY_KIND
    """Seconds to wait for its end before it is abandoned; 0.0 does not wait at all,
    None waits for ever."""

    kind: Kind = WORKER

    restart_delay: float = 0.0
    """Seconds between a death and the next attempt to start; the supervisor does not
    sleep meanwhile. 0.0, as in OTP, is at once."""

    @classmethod
    def of(
        cls,
        process: type[Process],
        /,
        *args: Any,
        id: str | None = None,  # noqa: A002
        restart: Restart = PERMANENT,
        shutdown: Patience = BY_KIND,
        restart_delay: float = 0.0,
        **kwargs: Any,
    ) -> ChildSpec:
        """Describe `process.spawn(*args, **kwargs)`; the id defaults to name or class.

        `name`, `start_timeout` and `parent` among the kwargs reach `spawn`.
        """
        return cls(
            id=id or kwargs.get("name") or process.__name__,
            start=partial(process.spawn, *args, **kwargs),
            restart=restart,
            shutdown=shutdown,
            kind=process.kind,
            restart_delay=restart_delay,
        )

    @property
    def patience(self) -> float | None:
        """Seconds to wait for the child's end, defaults resolved; None is for ever."""
        if self.shutdown is not BY_KIND:
            return self.shutdown
        return None if self.kind is SUPERVISOR else 5.0


def faults(specs: Iterable[object]) -> list[str]:
    """Name everything that is wrong with these siblings, each fault with its place.

    Not everybody runs a type checker, so types are looked at too.
    """
    found: list[str] = []
    specs = list(specs)
    for place, spec in enumerate(specs):
        if not isinstance(spec, ChildSpec):
            found.append(f"[{place}]: not a ChildSpec: {spec!r}")
            continue
        where = f"[{place}] {spec.id!r}"
        if not _is_name(spec.id):
            found.append(f"{where}: id is not a non-empty str")
        if not callable(spec.start):
            found.append(f"{where}: start is not callable: {spec.start!r}")
        if not _is_a(Restart, spec.restart):
            found.append(f"{where}: restart is not a Restart: {spec.restart!r}")
        if not _is_a(Kind, spec.kind):
            found.append(f"{where}: kind is not a Kind: {spec.kind!r}")
        if spec.shutdown not in {BY_KIND, None} and not _is_seconds(spec.shutdown):
            found.append(f"{where}: shutdown is neither seconds nor None: {spec.shutdown!r}")
        if not _is_seconds(spec.restart_delay):
            found.append(f"{where}: restart_delay is not seconds: {spec.restart_delay!r}")
    ids = Counter(spec.id for spec in specs if isinstance(spec, ChildSpec))
    found.extend(f"id {id_!r} is used {times} times" for id_, times in ids.items() if times > 1)
    return found


def check(specs: Iterable[ChildSpec]) -> None:
    """Raise one error that lists all faults."""
    found = faults(specs)
    if found:
        raise InvalidChildSpecs(found)


def _is_a(type_: type, value: object) -> bool:
    return isinstance(value, type_)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0
