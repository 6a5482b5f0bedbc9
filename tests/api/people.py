"""Others than the admin, for tests of who may do what."""

from __future__ import annotations

import json

from mill_actors.store.connection import Database
from tests.api.conftest import make_token


def member(dsn: str, username: str, role: str = "developer", *, groups: tuple[str, ...] = ()) -> str:
    """Add somebody to the workspace; return a token of theirs."""
    email = f"{username}@example.com"
    with Database(dsn).connect() as connection:
        connection.execute("insert into mill.account (email) values (%s)", (email,))
        connection.execute(
            "insert into mill.member (workspace, username, email, role) values ('default', %s, %s, %s)",
            (username, email, role),
        )
        for group in groups:
            connection.execute(
                "insert into mill.user_group (workspace, name, members) values ('default', %s, %s)",
                (group, [username]),
            )
    return make_token(dsn, email)


def folder(dsn: str, name: str, **perms: bool) -> None:
    """Make a folder; who may write it has true, who may read it false."""
    with Database(dsn).connect() as connection:
        connection.execute(
            "insert into mill.folder (workspace, name, extra_perms, created_by) values"
            " ('default', %s, (select json_object_agg('u/' || key, value::boolean) from json_each_text(%s)),"
            " 'u/admin')",
            (name, json.dumps(perms)),
        )


def stranger(dsn: str) -> str:
    """Return a token of somebody in another workspace."""
    with Database(dsn).connect() as connection:
        connection.execute("insert into mill.workspace (id) values ('other') on conflict do nothing")
        connection.execute(
            "insert into mill.account (email) values ('stranger@example.com') on conflict do nothing"
        )
        connection.execute(
            "insert into mill.member (workspace, username, email, role)"
            " values ('other', 'stranger', 'stranger@example.com', 'admin') on conflict do nothing"
        )
    return make_token(dsn, "stranger@example.com")
