"""The environment variables of a process, as jobs see them: in `os.environ` and in C.

Two of them differ from job to job. `os.putenv` would be the way, but glibc keeps every string
it was ever given by setenv: 250 bytes a job, for good. So each of the two is a buffer of ours,
handed to C's putenv once and overwritten in place.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from typing import Any

_JOB = b"WM_JOB_ID"
_TOKEN = b"WM_TOKEN"
_ROOM = 4096


class _Variable:
    """One variable of C's environment, in memory of ours."""

    def __init__(self, name: bytes) -> None:
        self._putenv = ctypes.CDLL(None, use_errno=True).putenv
        self._prefix = name + b"="
        self._grow(_ROOM)

    def _grow(self, room: int) -> None:
        # C may still read the buffer before this one: it is never freed.
        self._room = room
        self._buffer = ctypes.create_string_buffer(self._prefix, len(self._prefix) + room)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._buffer))
        self._view = memoryview(self._buffer).cast("B")[len(self._prefix) :]
        self.install()

    def install(self) -> None:
        """Put the buffer back into the environment, from which a job may have taken it."""
        self._putenv(self._buffer)

    def set(self, value: bytes) -> None:
        """Change the value."""
        end = len(value) + 1
        if end > self._room:
            self._grow(2 * end)
        self._view[:end] = value + b"\0"


class Environment:
    """What every job's environment begins as."""

    def __init__(self) -> None:
        self._environ = os.environ
        # Any: the bytes below os.environ, which its typed surface hides.
        self._data: dict[bytes, bytes] = self._mapping()._data
        self._base = dict(self._data)
        self._wanted = dict(self._data)
        self._job = _Variable(_JOB)
        self._token = _Variable(_TOKEN)

    def _mapping(self) -> Any:
        return self._environ

    def context(self, variables: Mapping[str, str]) -> None:
        """Replace the variables of the previous context by these."""
        wanted = dict(self._base)
        wanted.update((name.encode(), value.encode()) for name, value in variables.items())
        self._wanted = wanted
        self._put_back()

    def identify(self, job_id: str, token: str) -> None:
        """Set the two variables that differ from job to job."""
        job, secret = job_id.encode(), token.encode()
        data, wanted = self._data, self._wanted
        data[_JOB] = wanted[_JOB] = job
        data[_TOKEN] = wanted[_TOKEN] = secret
        self._job.set(job)
        self._token.set(secret)

    def restore(self) -> None:
        """Put back what the job changed, `os.environ` itself included."""
        if self._data != self._wanted or os.environ is not self._environ:
            self._put_back()

    def _put_back(self) -> None:
        os.environ = self._environ  # noqa: B003 - this is the real one
        data, wanted = self._data, self._wanted
        has_other_zone = data.get(b"TZ") != wanted.get(b"TZ")
        for name in [name for name in data if name not in wanted]:
            os.unsetenv(name)
        for name, value in wanted.items():
            if data.get(name) != value and name not in {_JOB, _TOKEN}:
                os.putenv(name, value)
        data.clear()
        data.update(wanted)
        self._job.install()
        self._token.install()
        if has_other_zone:
            time.tzset()
