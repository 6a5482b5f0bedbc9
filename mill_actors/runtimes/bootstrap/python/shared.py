"""`./shared`: the folder that all steps of a flow see, whichever process they run in.

A link in the folder this process was started in. It is looked at before each job of such a flow, for
the job before may have done anything to it; a job of no such flow finds none of ours.
"""

from __future__ import annotations

import os

from .failures import Failure

# Our own names: a script may replace those in os.
_link, _unlink, _readlink, _rename = os.symlink, os.unlink, os.readlink, os.rename


class Shared:
    """Made before the script can change the working directory."""

    def __init__(self) -> None:
        self._path = os.path.join(os.getcwd(), "shared")
        self._target: str | None = None
        self._count = 0

    def show(self, target: str | None) -> None:
        """Make `./shared` lead to the folder; None takes away the link made for an earlier job."""
        try:
            if target is None:
                self._remove()
            elif self._leads_to() != target:
                self._replace(target)
        except OSError as error:
            raise Failure("SharedFolder", f"./shared can't be changed: {error}") from None
        self._target = target

    def _leads_to(self) -> str | None:
        try:
            return _readlink(self._path)
        except OSError:  # there is nothing, or no link
            return None

    def _remove(self) -> None:
        if self._target is not None and self._leads_to() == self._target:
            _unlink(self._path)

    def _replace(self, target: str) -> None:
        link = self._beside(".new")
        _link(target, link)
        try:
            try:
                _rename(link, self._path)
            except IsADirectoryError:
                # A job's own folder, with data in it: kept, under a name of its own.
                _rename(self._path, self._beside(".old"))
                _rename(link, self._path)
        except OSError:
            _unlink(link)
            raise

    def _beside(self, mark: str) -> str:
        """Return a name that nothing has."""
        while True:
            self._count += 1
            path = f"{self._path}{mark}{self._count}"
            if not os.path.lexists(path):
                return path
