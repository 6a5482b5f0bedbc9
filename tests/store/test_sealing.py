"""Secrets' ciphertext, and what is kept of passwords."""

from __future__ import annotations

import base64

import pytest

from mill_actors.store.passwords import NOBODY, hash_password, is_password
from mill_actors.store.sealing import NotSealed, seal, unseal

KEY = bytes(range(32))


@pytest.mark.parametrize("text", ["", "x", "x" * 15, "x" * 16, "pässword\n", "é" * 10_000])
def test_what_is_sealed_is_unsealed(text: str) -> None:
    sealed = seal(KEY, text)
    assert unseal(KEY, sealed) == text
    assert seal(KEY, text) != sealed
    assert len(base64.b64decode(sealed)) % 16 == 0


def test_nothing_else_is() -> None:
    sealed = seal(KEY, "secret")
    data = base64.b64decode(sealed)
    changed = [bytes([*data[:place], data[place] ^ 1, *data[place + 1 :]]) for place in range(len(data))]
    for wrong in ("", "secret", "ü", sealed[:-4], *(base64.b64encode(each).decode() for each in changed)):
        with pytest.raises(NotSealed):
            unseal(KEY, wrong)
    with pytest.raises(NotSealed):
        unseal(bytes(32), sealed)


def test_a_password_is_kept_with_a_salt_of_its_own() -> None:
    kept = hash_password("pässword")
    assert kept != hash_password("pässword")
    assert is_password("pässword", kept)
    assert not is_password("password", kept)
    assert not is_password("", NOBODY)
