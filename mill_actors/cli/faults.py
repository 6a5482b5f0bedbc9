"""How errors reach people: one clear line on standard error, an exit code, never a traceback.

A traceback means a bug of ours, and only then is there one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mill_actors.cli.output import say
from mill_actors.errors import (
    CannotListen,
    ConfigError,
    FlowNotFound,
    InvalidArgs,
    InvalidFlow,
    MillError,
    SchemaMismatch,
    ScriptNotFound,
    StoreUnavailable,
)

#: The job failed, or what was asked for is not so.
FAILED = 1
#: Usage or configuration: the same command fails again until something around it is changed.
USAGE = 2
INTERRUPTED = 130

_USAGE = (
    CannotListen,
    ConfigError,
    FlowNotFound,
    InvalidArgs,
    InvalidFlow,
    ScriptNotFound,
    SchemaMismatch,
    StoreUnavailable,
)


@contextmanager
def ending() -> Iterator[None]:
    """Turn errors into lines and exit codes."""
    try:
        yield
    except MillError as error:
        say(f"mill: {_words(error)}")
        raise SystemExit(USAGE if isinstance(error, _USAGE) else FAILED) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # `mill job list | head`: whoever read has enough. Python would complain at exit, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except Exception as error:
        refusal = postgres_words(error)
        if refusal is None:
            raise
        say(f"mill: PostgreSQL refused: {refusal}")
        raise SystemExit(FAILED) from None


def postgres_words(error: BaseException) -> str | None:
    """Return what the server said, on one line, if it is an error of the server."""
    # Only the store knows psycopg; its errors are known by this attribute.
    if getattr(error, "sqlstate", None) is None:
        return None
    return str(error).split("\n", 1)[0]


def _words(error: MillError) -> str:
    told = str(error).strip()
    cause = error.__cause__
    if not isinstance(error, StoreUnavailable) or cause is None:
        return told
    if str(cause).strip() not in told:
        told = f"{told.rstrip('.')}: {cause}"
    # The driver's words come in many lines: one for each address it tried.
    return " ".join(told.split())
