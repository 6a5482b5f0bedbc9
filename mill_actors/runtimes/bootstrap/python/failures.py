"""A failure this program finds itself, in what goes into `main` or comes out of it."""

from __future__ import annotations

from typing import Any


class Failure(Exception):
    """A failure this program finds itself; it has a message and no stack."""

    def __init__(self, name: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.name = name
        self.extra = extra
