"""Passwords, as scrypt keeps them: `scrypt$log2 n$r$p$salt$hash`, each with a salt of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

#: 16 MB and some 50 ms a try (RFC 7914's numbers for interactive use).
LOG_N = 14
R = 8
P = 1
SALT_BYTES = 16
KEY_BYTES = 32

#: Of an account that is not there: whoever tries one learns nothing from the time it takes.
NOBODY = f"scrypt${LOG_N}${R}${P}${'A' * 22}==${'A' * 43}="


def hash_password(password: str) -> str:
    """Return what is kept of a password. Takes its time: not for an event loop."""
    salt = os.urandom(SALT_BYTES)
    return "$".join(
        ("scrypt", str(LOG_N), str(R), str(P), _text(salt), _text(_derive(password, salt, LOG_N, R, P)))
    )


def is_password(password: str, kept: str) -> bool:
    """Whether it is the one. Takes its time: not for an event loop."""
    _, log_n, r, p, salt, key = kept.split("$")
    derived = _derive(password, base64.b64decode(salt), int(log_n), int(r), int(p))
    return hmac.compare_digest(derived, base64.b64decode(key))


def _derive(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << log_n, r=r, p=p, maxmem=1 << 27, dklen=KEY_BYTES
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
