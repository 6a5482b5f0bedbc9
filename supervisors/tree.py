"""A picture of the live tree, taken from outside.

It reads what every supervisor and actor shows of itself without asking, and only pings
the supervisors, all at once, to see which of them answer. So it takes at most `timeout`
seconds however busy the tree is, and shows the children of a busy supervisor too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pykka import ActorDeadError, Timeout

from supervisors.child_spec import Kind
from supervisors.children import ChildInfo, ChildState, WhichChildren
from supervisors.overseer import Overseer
from supervisors.ref import ProcessRef, inbox_depth, process_ref
from supervisors.registry import Target, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pykka import ActorRef, Future


@dataclass(frozen=True, slots=True)
class Tree:
    """One node: an actor, or a spec without one."""

    name: str
    """The id its supervisor knows it by; of the root, its name or class."""
    actor: str | None
    """Class of the actor."""
    kind: Kind
    state: str
    """`running`, `restarting`, `stopped`, or `busy`: a supervisor that did not answer."""
    restarts: int
    inbox: int
    """Messages that wait."""
    info: Mapping[str, object]
    """What the actor shows of itself, see `Process.info`."""
    children: tuple[Tree, ...]

    def walk(self) -> Iterator[Tree]:
        """Go through all nodes, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def as_dict(self) -> dict[str, Any]:
        """Turn into plain values, for JSON."""
        return {
            "name": self.name,
            "actor": self.actor,
            "kind": self.kind.value,
            "state": self.state,
            "restarts": self.restarts,
            "inbox": self.inbox,
            "info": dict(self.info),
            "children": [child.as_dict() for child in self.children],
        }


def snapshot(root: Target, timeout: float = 1.0) -> Tree:
    """Picture the tree under a supervisor (or a single actor)."""
    ref = process_ref(resolve(root))
    pings: dict[ActorRef[Any], Future[Any]] = {}
    _ping(ref, pings)
    deadline = time.monotonic() + timeout
    busy = {each for each, answer in pings.items() if not _is_answered(answer, deadline)}
    name = ref.life.name or ref.actor_class.__name__
    state = ChildState.RUNNING if ref.is_alive() else ChildState.STOPPED
    return _picture(ChildInfo(name, ref, state, ref.actor_class.kind, None, 0), busy)


def render(tree: Tree) -> str:
    """Draw the tree as text, one line a node."""
    return "\n".join(_lines(tree, "", ""))


def _children(ref: ProcessRef[Any]) -> list[ChildInfo]:
    actor = ref.actor()
    return actor.children_now() if isinstance(actor, Overseer) else []


def _ping(ref: ProcessRef[Any], pings: dict[ActorRef[Any], Future[Any]]) -> None:
    if issubclass(ref.actor_class, Overseer):
        pings[ref] = ref.ask(WhichChildren(), block=False, timeout=None)
        for child in _children(ref):
            if child.ref is not None:
                _ping(process_ref(child.ref), pings)


def _is_answered(answer: Future[Any], deadline: float) -> bool:
    try:
        answer.get(timeout=max(0.0, deadline - time.monotonic()))
    except Timeout:
        return False
    except ActorDeadError:
        pass
    return True


def _picture(child: ChildInfo, busy: set[ActorRef[Any]]) -> Tree:
    if child.ref is None:
        return Tree(child.id, None, child.kind, child.state.value, child.restarts, 0, {}, ())
    ref = process_ref(child.ref)
    return Tree(
        name=child.id,
        actor=ref.actor_class.__name__,
        kind=child.kind,
        state="busy" if ref in busy else child.state.value,
        restarts=child.restarts,
        inbox=inbox_depth(ref),
        info=ref.info(),
        children=tuple(_picture(each, busy) for each in _children(ref)),
    )


def _lines(tree: Tree, first: str, rest: str) -> Iterator[str]:
    words = [tree.name]
    if tree.actor not in {None, tree.name}:
        words.append(f"({tree.actor})")
    words.append(tree.state)
    if tree.restarts:
        words.append(f"restarts={tree.restarts}")
    if tree.inbox:
        words.append(f"inbox={tree.inbox}")
    words.extend(f"{key}={value}" for key, value in tree.info.items())
    yield first + " ".join(words)
    last = len(tree.children) - 1
    for place, child in enumerate(tree.children):
        branch, trunk = ("└─ ", "   ") if place == last else ("├─ ", "│  ")
        yield from _lines(child, rest + branch, rest + trunk)
