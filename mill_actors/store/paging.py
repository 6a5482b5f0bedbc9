"""Pages of lists: numbers from outside, made such that the database takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")

MAX_PER_PAGE = 10_000
DEFAULT_PER_PAGE = 1000


class Page(Struct, frozen=True):
    """So many rows, after so many."""

    limit: int | None
    offset: int = 0

    def cut(self, rows: Sequence[T]) -> Sequence[T]:
        """Return the page of a list that is there anyway."""
        return rows[self.offset : None if self.limit is None else self.offset + self.limit]


#: No pages.
ALL = Page(None)


def page_of(number: int | None, per_page: int | None) -> Page:
    """Return a page by its number, from 1 on; 0 is the first one too, as Windmill has it.

    >>> page_of(3, 10)
    Page(limit=10, offset=20)
    >>> page_of(0, None)
    Page(limit=1000, offset=0)
    """
    limit = min(max(DEFAULT_PER_PAGE if per_page is None else per_page, 1), MAX_PER_PAGE)
    return Page(limit, min((max(number or 1, 1) - 1) * limit, 2**62))
