"""Secrets: text that is encrypted with the key of its workspace, by AES-256-GCM.

Sealed text is base64 of a nonce, the ciphertext and its tag; padded so that its bytes are a multiple of 16,
by which Windmill's command line tells it from text that is not sealed.
"""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 16
TAG_BYTES = 16
BLOCK_BYTES = 16


class NotSealed(ValueError):
    """It was not encrypted with this key, or has been changed since."""


def seal(key: bytes, text: str) -> str:
    """Encrypt a text; two times the same text look different."""
    plain = text.encode()
    filler = BLOCK_BYTES - len(plain) % BLOCK_BYTES
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, plain + bytes([filler]) * filler, None)
    return base64.b64encode(nonce + sealed).decode()


def unseal(key: bytes, sealed: str) -> str:
    """Return the text; raise `NotSealed`."""
    try:
        whole = base64.b64decode(sealed, validate=True)
    except (binascii.Error, ValueError):
        raise NotSealed from None
    if len(whole) < NONCE_BYTES + TAG_BYTES + BLOCK_BYTES:
        raise NotSealed
    try:
        padded = AESGCM(key).decrypt(whole[:NONCE_BYTES], whole[NONCE_BYTES:], None)
    except InvalidTag:
        raise NotSealed from None
    return padded[: -padded[-1]].decode()
