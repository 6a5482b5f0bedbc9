"""Passwords for tokens: logging in, and out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from mill_actors.api.answers import text_answer
from mill_actors.api.authentication import token_of
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, Routes
from mill_actors.store import people
from mill_actors.store.access import new_token, note
from mill_actors.store.connection import Connection
from mill_actors.store.passwords import NOBODY, hash_password, is_password

routes = Routes("users")

SESSION_DAYS = 3
Email = Annotated[str, Meta(max_length=255)]
Password = Annotated[str, Meta(min_length=1, max_length=1000)]


class Login(Struct):
    """Who logs in."""

    email: Email
    password: Password


class NewPassword(Struct):
    """One's own password from now on."""

    password: Annotated[str, Meta(min_length=8, max_length=1000)]


@routes.post("/auth/login", body=Login, returns=str, form="text", is_public=True)
async def login(call: Call[Any, Login]) -> web.Response:
    """A token for email and password, good for three days; it is the cookie `token` too."""
    email, password = call.body.email, call.body.password
    address = call.request.remote or ""
    kept = await call.services.run(lambda connection: people.password_of(connection, email))
    is_right = await call.services.attempts.guess(
        email, address, lambda: is_password(password, kept or NOBODY) and kept is not None
    )
    if not is_right:
        raise Problem(401, "unauthorized", "Email or password is wrong.")
    expires = datetime.now(UTC) + timedelta(days=SESSION_DAYS)

    def work(connection: Connection) -> str:
        with connection.transaction():
            note(connection, "", email, "users.login", "create")
            return new_token(connection, email, label=people.SESSION, expires_at=expires)

    token = await call.services.run(work)
    answer = text_answer(token)
    answer.set_cookie(
        "token",
        token,
        max_age=SESSION_DAYS * 86_400,
        httponly=True,
        samesite="Strict",
        secure=call.services.base_url.startswith("https:")
        or call.request.headers.get("X-Forwarded-Proto") == "https",
    )
    return answer


@routes.post("/auth/logout", returns=str, form="text", is_public=True)
async def logout(call: Call[Any, Any]) -> web.Response:
    """Forget the token of a login; other tokens stay what they are."""
    token = token_of(call.request)
    if token is not None:
        await call.services.change_rights(lambda connection: people.end_session(connection, token))
    answer = text_answer("logged out")
    answer.del_cookie("token")
    return answer


@routes.post("/users/setpassword", body=NewPassword, returns=str, form="text")
async def set_password(call: Call[Any, NewPassword]) -> web.Response:
    """Change one's own password; logins made before end."""
    who = call.who.account
    if who.workspace is not None or who.scopes is not None:
        raise Problem(403, "forbidden", "A job's token, and one with scopes, sets no password.")
    kept = await call.services.attempts.work(lambda: hash_password(call.body.password))

    def work(connection: Connection) -> None:
        with connection.transaction():
            people.set_password(connection, who.email, kept)
            note(connection, "", who.email, "users.setpassword", "update")

    await call.services.change_rights(work)
    return text_answer("password changed")
