"""An account's tokens. SQL: `sql/access.sql`; what a token means: `access.py`."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from mill_actors.store.connection import Connection
from mill_actors.store.paging import Page
from mill_actors.store.queries import sql


class ListedToken(Struct, frozen=True):
    """What is known of a token; `prefix` are its first letters."""

    prefix: str
    label: str | None
    workspace: str | None
    scopes: list[str] | None
    expires_at: datetime | None
    created_at: datetime
    last_used_at: datetime


def list_tokens(
    connection: Connection, email: str, page: Page, *, workspace: str | None, sessions: bool
) -> list[ListedToken]:
    """Return tokens, newest first: with a workspace those alone that are good there and nowhere else."""
    rows = connection.execute(
        sql.list_tokens,
        {
            "email": email,
            "workspace": workspace,
            "sessions": sessions,
            "limit": page.limit,
            "offset": page.offset,
        },
    ).fetchall()
    return [ListedToken(*row) for row in rows]


def delete_token(connection: Connection, email: str, prefix: str, *, workspace: str | None) -> bool:
    """Delete a token by its first letters; False: there was none."""
    told = {"email": email, "prefix": prefix, "workspace": workspace}
    return connection.execute(sql.delete_token, told).fetchone() is not None
