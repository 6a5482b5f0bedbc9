"""What comes from outside and from the database: JSON decoded whole, ids, text that can be stored."""

from __future__ import annotations

from uuid import UUID

from mill_actors.errors import JobNotFound
from mill_actors.jobs.jsons import decode

__all__ = ["decode", "job_id", "storable"]


def job_id(text: str) -> str:
    """Return an id as the database writes it; raise `JobNotFound` for what can be nobody's."""
    try:
        return str(UUID(text))
    except ValueError:
        raise JobNotFound(text) from None


def storable(text: str) -> str:
    """Return a text without what Postgres' text cannot hold: NUL and halves of surrogate pairs."""
    text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
