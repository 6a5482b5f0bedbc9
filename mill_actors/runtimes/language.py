"""A language: how a script of it becomes a command line.

One instance a language, in `python.py` and `bun.py`; `languages.py` lists them. The command
starts through `sh`, which sets the memory limit and puts the protocol on descriptors 3 and 4
before any code of the language runs: 0 is /dev/null, 1 and 2 are the capture file.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from mill_actors.errors import MillError

BOOTSTRAP = Path(__file__).with_name("bootstrap")

# Standard input and output are the protocol, standard error is the capture file.
_REDIRECT = 'exec 3<&0 4>&1 </dev/null 1>&2; exec "$@"'


class InterpreterNotFound(MillError):
    """The program that runs a language is not on this machine."""

    def __init__(self, language: str, tried: Sequence[str], advice: str) -> None:
        self.language = language
        self.tried = tuple(tried)
        super().__init__(f"no program for {language}: tried {', '.join(tried)}; {advice}")


class Language(Struct, frozen=True, kw_only=True):
    """How scripts of one language run."""

    name: str
    """Windmill's name of it, which is also the tag its jobs need of a worker."""
    suffixes: tuple[str, ...]
    """Endings of its script files; a script is written with the first."""
    program: str
    """The bootstrap, as a path below the bootstrap folder."""
    find: Callable[[str | None], str]
    """Returns the interpreter, given the configured one, or raises `InterpreterNotFound`."""
    flags: tuple[str, ...]
    """What stands between the interpreter and the bootstrap."""
    exports: tuple[str, ...] = ()
    """What the interpreter itself needs in its environment, as NAME=value."""
    memory_by_ulimit: bool
    """Whether the memory limit is the data segment's, so that user code sees an error of its own."""

    @property
    def tag(self) -> str:
        """The tag a job in this language has if it names none."""
        return self.name

    def command(
        self,
        *,
        permits: int,
        interpreter: str | None = None,
        bootstrap: Path = BOOTSTRAP,
        memory_mb: int | None = None,
    ) -> list[str]:
        """Return the command line of a process, for a stdin, stdout and stderr as above.

        `permits` is the inherited descriptor of its `Permits`.
        """
        launcher = "".join(f"export {variable}; " for variable in self.exports) + _REDIRECT
        if memory_mb is not None and self.memory_by_ulimit and sys.platform == "linux":
            launcher = f"ulimit -d {memory_mb * 1024} && {launcher}"
        started = [self.find(interpreter), *self.flags, str(bootstrap / self.program), str(permits)]
        return ["/bin/sh", "-c", launcher, f"mill-{shlex.quote(self.name)}", *started]
