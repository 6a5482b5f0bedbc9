"""The errors of mill_actors: one tree, read by attribute and never by message.

MillError
├─ CannotListen         host, port, why: the API's address is taken, or not ours
├─ ConfigError          faults: every fault of the configuration at once
├─ InvalidArgs          subject, why: what the caller sent is not accepted
├─ InvalidFlow          path, faults: every fault of a flow at once
├─ InvalidToken         why: a WM_TOKEN that is worth nothing
├─ ScriptNotFound       workspace, path, similar
├─ FlowNotFound         workspace, path, similar
├─ JobNotFound          job_id
├─ SubmissionConflict   key, job_id: a known key with other arguments
├─ IllegalMove          job_id, state, move: a bug, never a silent write
├─ SchemaMismatch       found, wanted: code and database do not fit
├─ StoreUnavailable     the world's fault: retried, __cause__ says why
└─ StoreRefused         sqlstate: PostgreSQL refused this value, every time
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc


class MillError(Exception):
    """Something in mill_actors failed."""

    def __init__(self, message: str | None = None) -> None:
        if message is None:
            # The first line of the docstring is the default message, so that
            # what a class means is written once.
            message = cleandoc(type(self).__doc__ or type(self).__name__).split("\n", 1)[0]
        super().__init__(message)


class CannotListen(MillError):
    """The address of the API cannot be listened on."""

    def __init__(self, host: str, port: int, why: str) -> None:
        self.host = host
        self.port = port
        self.why = why
        super().__init__(f"the API cannot listen on {host}, port {port}: {why} (--port sets another)")


class ConfigError(MillError):
    """The configuration has faults."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        lines = "".join(f"\n  {fault}" for fault in self.faults)
        count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"The configuration has {count}:{lines}")


class InvalidArgs(MillError):
    """What was sent is not accepted.

    ``subject`` names what it was sent to: a script's path, a file, an option.
    """

    def __init__(self, subject: str, why: str) -> None:
        self.subject = subject
        self.why = why
        super().__init__(f"{subject}: {why}")


class InvalidFlow(MillError):
    """The flow has faults.

    Each of ``faults`` begins with the place in the document. ``path`` is the flow's, where it is known.
    """

    def __init__(self, faults: Sequence[str], path: str | None = None) -> None:
        self.faults = tuple(faults)
        self.path = path
        subject = "The flow" if path is None else f"The flow {path}"
        lines = "".join(f"\n  {fault}" for fault in self.faults)
        count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{subject} has {count}:{lines}")


class InvalidToken(MillError):
    """The token is worth nothing."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"The token is worth nothing: {why}.")


class ScriptNotFound(MillError):
    """There is no such script. ``similar`` are paths that may have been meant."""

    def __init__(self, workspace: str, path: str, similar: Sequence[str] = ()) -> None:
        self.workspace = workspace
        self.path = path
        self.similar = tuple(similar)
        hint = f" Did you mean {' or '.join(self.similar)}?" if self.similar else ""
        super().__init__(f"There is no script {path!r} in workspace {workspace!r}.{hint}")


class FlowNotFound(MillError):
    """There is no such flow. ``similar`` are paths that may have been meant."""

    def __init__(self, workspace: str, path: str, similar: Sequence[str] = ()) -> None:
        self.workspace = workspace
        self.path = path
        self.similar = tuple(similar)
        hint = f" Did you mean {' or '.join(self.similar)}?" if self.similar else ""
        super().__init__(f"There is no flow {path!r} in workspace {workspace!r}.{hint}")


class JobNotFound(MillError):
    """There is no such job."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"There is no job {job_id}.")


class SubmissionConflict(MillError):
    """A submission repeats a key, or a job id, with other arguments.

    ``job_id`` is the job that the first submission made. A repeat with the
    same arguments is no error: it answers with that id.
    """

    def __init__(self, key: str, job_id: str) -> None:
        self.key = key
        self.job_id = job_id
        super().__init__(f"{key!r} was already submitted with other arguments, as job {job_id}.")


class IllegalMove(MillError):
    """A job cannot move like this from the state that it is in."""

    def __init__(self, job_id: str, state: str, move: str) -> None:
        self.job_id = job_id
        self.state = state
        self.move = move
        super().__init__(f"Job {job_id} is {state}: it cannot {move}.")


class SchemaMismatch(MillError):
    """The schema of the database does not fit this version of mill.

    ``found`` and ``wanted`` are numbers of migrations; 0 is an empty database.
    """

    def __init__(self, found: int, wanted: int, message: str | None = None) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(message or f"The database is at migration {found}, this mill needs {wanted}.")


class StoreUnavailable(MillError):
    """PostgreSQL cannot be reached."""


class StoreRefused(MillError):
    """PostgreSQL refused what it was given, and would again.

    ``sqlstate`` is None where the driver refused before the server could.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        self.sqlstate = sqlstate
        super().__init__(message)
