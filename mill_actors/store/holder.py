"""Who claims."""

from __future__ import annotations

from msgspec import Struct


class Holder(Struct, frozen=True):
    """A worker of a node."""

    node: str
    worker: str
