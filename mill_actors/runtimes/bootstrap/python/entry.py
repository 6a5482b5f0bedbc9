"""Which function of the script a job calls: `main`, or the one its arguments name.

Windmill's convention: an argument `_ENTRYPOINT_OVERRIDE` holds the name, and is no argument of the
function. A job without it pays nothing: only arguments that are not exactly those of `main` are
looked at.
"""

from __future__ import annotations

import types
from typing import Any

from . import script
from .arguments import OVERRIDE, Signature
from .failures import Failure


class EntryPoints:
    """The functions that jobs of a script call, each read at its first job."""

    def __init__(self, module: types.ModuleType, *, lenient: bool) -> None:
        self._module = module
        self._lenient = lenient
        self._known: dict[str, Signature] = {}
        try:
            self.main = self._named("main")
        except Failure:
            # Its jobs fail, those with another entry point don't.
            self.main = Signature(self._without_main, lenient=lenient)

    def chosen(self, args: Any) -> Signature:
        """Return what a job with these arguments calls; takes the name out of them."""
        if type(args) is not dict or OVERRIDE not in args:
            return self.main
        name = args.pop(OVERRIDE)
        if type(name) is not str:
            raise Failure("InvalidArgs", f"{OVERRIDE} is {type(name).__name__}, not the name of a function")
        return self._known.get(name) or self._named(name)

    def _named(self, name: str) -> Signature:
        signature = Signature(script.function(self._module, name), name=name, lenient=self._lenient)
        self._known[name] = signature
        return signature

    def _without_main(self, **_: Any) -> Any:
        return script.function(self._module, "main")
