"""What a route is: a method and a path, what it takes, what it answers, and who may.

A handler gets a `Call`, with query and body as the types that the route names: what does not fit them has
been refused before. The OpenAPI document is made of the same types.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from aiohttp import web
from msgspec import Struct

from mill_actors.api.permissions import Principal

if TYPE_CHECKING:
    from mill_actors.api.services import Services

Q = TypeVar("Q")
B = TypeVar("B")

Method = Literal["GET", "POST", "DELETE", "PUT", "PATCH"]
#: JSON, text/plain, server-sent events, an archive …
Form = Literal["json", "text", "ndjson", "events", "bytes", "none"]

_NAME = re.compile(r"\{(\w+)(\*?)\}")


class NoQuery(Struct):
    """Takes no parameters; others are ignored, everywhere."""


@dataclass(slots=True)
class Call(Generic[Q, B]):
    """One request, checked."""

    services: Services
    request: web.Request
    who: Principal
    workspace: str
    #: what stands in the path
    names: dict[str, str]
    query: Q
    body: B

    @property
    def path(self) -> str:
        """The `{path*}` of the route."""
        return self.names["path"]

    @property
    def id(self) -> str:
        """The `{id}` of the route."""
        return self.names["id"]


Handler = Callable[[Call[Any, Any]], Awaitable[web.StreamResponse]]


class Route(Struct, frozen=True):
    """One operation. `path` is below `/api`; `{name*}` takes slashes too."""

    method: Method
    path: str
    handler: Handler
    tag: str
    query: type
    #: None: there is none. `bytes`: any JSON, or what the handler makes of it
    body: Any
    status: int
    form: Form
    #: what is answered, as far as the document knows it
    returns: Any
    is_public: bool
    #: of a public one: who has a good token is known all the same
    looks_at_token: bool
    domain: str
    action: str
    #: whether it is another path of an operation
    is_alias: bool = False

    @property
    def name(self) -> str:
        """The operation's id."""
        return self.handler.__name__ + ("_also" if self.is_alias else "")

    @property
    def summary(self) -> str:
        """The first line of what is said about it."""
        return (self.handler.__doc__ or self.name).partition("\n")[0]

    @property
    def description(self) -> str:
        """The rest."""
        return (self.handler.__doc__ or "").partition("\n")[2].strip()

    @property
    def pattern(self) -> str:
        """The path as aiohttp matches it."""
        return _NAME.sub(lambda found: "{" + found[1] + (":.+" if found[2] else "") + "}", self.path)

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return _NAME.sub(r"{\1}", self.path)

    @property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return [found[1] for found in _NAME.finditer(self.path)]


class Routes:
    """The routes of one noun."""

    def __init__(self, tag: str, domain: str | None = None) -> None:
        self._tag = tag
        self._domain = domain or tag
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def add(
        self,
        method: Method,
        path: str,
        *,
        query: type[Q] = NoQuery,  # type: ignore[assignment]  # the default of a type parameter
        body: Any = None,
        returns: Any = None,
        status: int = 200,
        form: Form = "json",
        is_public: bool = False,
        looks_at_token: bool = False,
        action: str | None = None,
        also: str | None = None,
    ) -> Callable[[Callable[[Call[Q, Any]], Awaitable[web.StreamResponse]]], Handler]:
        """Declare a route; `action` is what a token's scopes must allow: read, run or write.

        `also` is a second path of the same operation.
        """

        def declare(handler: Callable[[Call[Q, Any]], Awaitable[web.StreamResponse]]) -> Handler:
            told = action or ("read" if method == "GET" else "write")
            for place in (path, also):
                if place is not None:
                    route = Route(
                        method, place, handler, self._tag, query, body, status, form, returns, is_public,
                        looks_at_token, self._domain, told, is_alias=place is not path,
                    )  # fmt: skip
                    self._routes.append(route)
            return handler

        return declare

    def get(
        self, path: str, **options: Any
    ) -> Callable[[Callable[[Call[Any, Any]], Awaitable[web.StreamResponse]]], Handler]:
        """Declare a GET."""
        return self.add("GET", path, **options)

    def post(
        self, path: str, **options: Any
    ) -> Callable[[Callable[[Call[Any, Any]], Awaitable[web.StreamResponse]]], Handler]:
        """Declare a POST."""
        return self.add("POST", path, **options)

    def delete(
        self, path: str, **options: Any
    ) -> Callable[[Callable[[Call[Any, Any]], Awaitable[web.StreamResponse]]], Handler]:
        """Declare a DELETE."""
        return self.add("DELETE", path, **options)
