from __future__ import annotations

import base64
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mill_actors.errors import InvalidToken
from mill_actors.ids import new_id
from mill_actors.jobs.token import Statement, signer, statement_of, verify

KEY = b"k" * 32
NOW = 1_800_000_000.0
STATEMENT = Statement("default", "u/ann", int(NOW) + 60)


def encoded(told: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(told)).rstrip(b"=").decode()


@given(
    st.text(st.characters(codec="utf-8")),
    st.text(st.characters(codec="utf-8")),
    st.integers(int(NOW) + 1, 2**60),
)
def test_a_token_says_what_was_signed(workspace: str, runs_as: str, expires_at: int) -> None:
    statement, job = Statement(workspace, runs_as, expires_at), new_id()
    token = signer(KEY, statement)(job)
    assert verify(KEY, token, NOW) == (statement, job)
    assert statement_of(token) == statement
    assert token.isascii()
    assert not set(token) & set(" \n\"'$&|;<>")


def test_one_signer_signs_many_jobs() -> None:
    sign = signer(KEY, STATEMENT)
    ids = [new_id() for _ in range(10)]
    assert [verify(KEY, sign(job), NOW)[1] for job in ids] == ids
    assert sign(ids[0]) == sign(ids[0])


def test_a_token_is_worth_nothing_from_its_expiry_on() -> None:
    token = signer(KEY, STATEMENT)(new_id())
    verify(KEY, token, STATEMENT.expires_at - 0.001)
    for now in (STATEMENT.expires_at, STATEMENT.expires_at + 1e9):
        with pytest.raises(InvalidToken, match="expired"):
            verify(KEY, token, now)


def test_another_workspaces_key_makes_nothing_valid_here() -> None:
    token = signer(b"other" * 8, STATEMENT)(new_id())
    with pytest.raises(InvalidToken, match="signature"):
        verify(KEY, token, NOW)


def test_no_part_can_be_exchanged() -> None:
    version, told, job, mac = signer(KEY, STATEMENT)(new_id()).split(".")
    other = encoded({"w": "acme", "u": "u/ann", "e": STATEMENT.expires_at})
    later = encoded({"w": "default", "u": "u/ann", "e": STATEMENT.expires_at + 9})
    forged = [
        ("wm2", told, job, mac), (version, other, job, mac), (version, later, job, mac),
        (version, told, new_id(), mac), (version, told, job, "0" * 32), (version, told, job, mac.upper()),
        (version, told, job, ""), (version, told + "=", job, mac), (version, told, "", mac),
    ]  # fmt: skip
    for parts in forged:
        with pytest.raises(InvalidToken):
            verify(KEY, ".".join(parts), NOW)


@given(st.data())
def test_a_changed_character_makes_it_worthless(data: st.DataObject) -> None:
    token = signer(KEY, STATEMENT)("01a2042b-c0e9-7692-ad7f-6555ac000000")
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters().filter(lambda c: c != token[place]))
    with pytest.raises(InvalidToken):
        verify(KEY, token[:place] + character + token[place + 1 :], NOW)


@given(st.text() | st.text(".wm1eyJ-_="))
@pytest.mark.parametrize(
    "read", [statement_of, lambda token: verify(KEY, token, NOW)], ids=["read", "verify"]
)
def test_nonsense_is_an_invalid_token_and_nothing_else(read: object, token: str) -> None:
    assert callable(read)
    with pytest.raises(InvalidToken):
        read(token)


@pytest.mark.parametrize(
    "told",
    [{}, [], None, 1, {"w": "default"}, {"w": 1, "u": "u", "e": 1}, {"w": "w", "u": "u", "e": "soon"}],
    ids=str,
)
def test_a_statement_of_another_form_is_malformed(told: object) -> None:
    for token in (f"wm1.{encoded(told)}.{new_id()}.0", f"wm1.{encoded(told)}"):
        with pytest.raises(InvalidToken):
            verify(KEY, token, NOW)
        with pytest.raises(InvalidToken, match="malformed"):
            statement_of(token)


def test_statements_written_otherwise_are_not_what_was_signed() -> None:
    """The mac is over the canonical text: one statement has one token a job."""
    job = new_id()
    spaced = base64.urlsafe_b64encode(b'{"w": "default", "u": "u/ann", "e": %d}' % STATEMENT.expires_at)
    mac = signer(KEY, STATEMENT)(job).rsplit(".", 1)[1]
    with pytest.raises(InvalidToken):
        verify(KEY, f"wm1.{spaced.rstrip(b'=').decode()}.{job}.{mac}", NOW)


def test_keys_of_any_length_sign() -> None:
    for size in (1, 32, 64, 100):
        key = os.urandom(size)
        assert verify(key, signer(key, STATEMENT)("j"), NOW) == (STATEMENT, "j")
