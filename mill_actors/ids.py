"""Ids of jobs and claims: UUIDv7, so that rows made together lie together.

Nothing is ordered or expired by an id: clients choose ids too, and the clocks
of nodes differ.
"""

from __future__ import annotations

import os

from uuid_utils import reseed_rng, uuid7

# A forked child would repeat its parent's random numbers, and so its ids.
os.register_at_fork(after_in_child=reseed_rng)


def new_id() -> str:
    """Return a new UUIDv7 as text."""
    return str(uuid7())


def new_ids(count: int) -> list[str]:
    """Return that many new ids."""
    return [str(uuid7()) for _ in range(count)]
