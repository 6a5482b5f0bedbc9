"""A workflow engine: jobs in PostgreSQL, actors that run them in warm processes.

`Client` and `AsyncClient` submit jobs, also inside a transaction of the caller's, and wait for results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mill_actors.store.async_client import AsyncClient
    from mill_actors.store.client import Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    # Late, because a language process or `mill --help` needs no PostgreSQL driver.
    match name:
        case "Client":
            from mill_actors.store.client import Client  # noqa: PLC0415

            return Client
        case "AsyncClient":
            from mill_actors.store.async_client import AsyncClient  # noqa: PLC0415

            return AsyncClient
        case _:
            raise AttributeError(name)
