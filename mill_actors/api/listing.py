"""What lists of variables and resources may be asked for."""

from __future__ import annotations

from msgspec import Struct

from mill_actors.api.permissions import Principal
from mill_actors.store.paging import Page, page_of
from mill_actors.store.variables import Filter


class PageQuery(Struct, kw_only=True):
    """Pages are counted from 1; 0 is the first one too."""

    page: int | None = None
    per_page: int | None = None

    @property
    def pages(self) -> Page:
        """The page as the store takes it."""
        return page_of(self.page, self.per_page)


class ListQuery(PageQuery, kw_only=True):
    """What is searched for is text, and no pattern."""

    path: str | None = None
    path_start: str | None = None
    description: str | None = None
    value: str | None = None
    #: in path, description or value
    broad_filter: str | None = None
    label: str | None = None

    def filter(self, who: Principal) -> Filter:
        """Return what is asked for, as far as the caller may read it."""
        return Filter(
            readable=who.readable,
            names=sorted(who.rights.names),
            path=self.path,
            path_start=self.path_start,
            description=self.description,
            value=self.value,
            anywhere=self.broad_filter,
            label=self.label,
        )
