"""The environment variables of a process, as jobs see them: in `os.environ` and in C.

Some differ from job to job. `os.putenv` would be the way, but glibc keeps every string it was
ever given by setenv: 250 bytes a job, for good. So each of these is a buffer of ours, handed to
C's putenv once and overwritten in place.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from typing import Any

_JOB = b"WM_JOB_ID"
_TOKEN = b"WM_TOKEN"
_ROOM = 1024

_putenv = ctypes.CDLL(None).putenv


class _Variable:
    """One variable of C's environment, in memory of ours."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self._room = 0
        self._is_installed = False

    def set(self, value: bytes) -> None:
        """Change the value, and put the variable into the environment if it is not there."""
        end = len(value) + 1
        if end > self._room:
            self._grow(2 * end)
        self._view[:end] = value + b"\0"
        if not self._is_installed:
            self.install()

    def unset(self) -> None:
        """Take the variable out of the environment."""
        os.unsetenv(self.name)
        self._is_installed = False

    def install(self) -> None:
        """Put the buffer back into the environment, from which a job may have taken it."""
        _putenv(self._buffer)
        self._is_installed = True

    def _grow(self, room: int) -> None:
        prefix = self.name + b"="
        self._room = max(room, _ROOM)
        self._buffer = ctypes.create_string_buffer(prefix, len(prefix) + self._room)
        # C may go on reading this buffer after a larger one took its place: it is never freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._buffer))
        self._view = memoryview(self._buffer).cast("B")[len(prefix) :]
        self._is_installed = False


class Environment:
    """What every job's environment begins as."""

    def __init__(self) -> None:
        self._environ = os.environ
        # Any: the bytes below os.environ, which its typed surface hides.
        environ: Any = self._environ
        self._data: dict[bytes, bytes] = environ._data
        self._base = dict(self._data)
        self._wanted = dict(self._data)
        self._context: dict[bytes, bytes] = {}
        self._own: dict[str, str] = {}
        self._named: dict[str, _Variable] = {}  # those a job ever had of its own
        self._variables = {name: _Variable(name) for name in (_JOB, _TOKEN)}
        self._set_job = self._variables[_JOB].set
        self._set_token = self._variables[_TOKEN].set

    def context(self, variables: Mapping[str, str]) -> None:
        """Replace the variables of the previous context by these."""
        self.own({})  # what stands above a context has no part in what changes below
        context = {name.encode(): value.encode() for name, value in variables.items()}
        for name in self._context.keys() - context.keys():
            self._assign(name, self._base.get(name))
        for name, value in context.items():
            if self._wanted.get(name) != value:
                self._assign(name, value)
        self._context = context

    def own(self, variables: Mapping[str, str]) -> None:
        """Replace the variables of the job before, which stand above its context, by this job's."""
        own = self._own
        if variables == own:
            return
        data, wanted, named = self._data, self._wanted, self._named
        for name, value in variables.items():
            if own.get(name) != value:
                variable = named.get(name)
                if variable is None:
                    variable = named[name] = self._variable(name.encode())
                text = value.encode()
                data[variable.name] = wanted[variable.name] = text
                variable.set(text)
                own[name] = value
        if len(own) != len(variables):
            for name in own.keys() - variables.keys():
                below = name.encode()
                self._assign(below, self._context.get(below, self._base.get(below)))
                del own[name]

    def identify(self, job_id: str, token: str) -> None:
        """Set the two variables that differ from job to job."""
        job, secret = job_id.encode(), token.encode()
        data, wanted = self._data, self._wanted
        data[_JOB] = wanted[_JOB] = job
        data[_TOKEN] = wanted[_TOKEN] = secret
        self._set_job(job)
        self._set_token(secret)

    def restore(self) -> None:
        """Put back what the job changed, `os.environ` itself included."""
        if self._data != self._wanted or os.environ is not self._environ:
            self._put_back()

    def _assign(self, name: bytes, value: bytes | None) -> None:
        variable = self._variable(name)
        if value is None:
            del self._data[name], self._wanted[name]
            variable.unset()
        else:
            self._data[name] = self._wanted[name] = value
            variable.set(value)

    def _variable(self, name: bytes) -> _Variable:
        variable = self._variables.get(name)
        if variable is None:
            variable = self._variables[name] = _Variable(name)
        return variable

    def _put_back(self) -> None:
        os.environ = self._environ  # noqa: B003 - this is the real one
        data, wanted = self._data, self._wanted
        has_other_zone = data.get(b"TZ") != wanted.get(b"TZ")
        for name in data.keys() - wanted.keys():
            os.unsetenv(name)
        for name, value in wanted.items():
            if name in self._variables:
                self._variables[name].install()
            elif data.get(name) != value:
                os.putenv(name, value)
        data.clear()
        data.update(wanted)
        if has_other_zone:
            time.tzset()
