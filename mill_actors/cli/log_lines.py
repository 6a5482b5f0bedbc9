"""The log of a node: one readable line a record on standard error, or one JSON object."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer


class Level(StrEnum):
    """From the most to the least talkative."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevel = Annotated[Level, typer.Option("--log-level", help="What is worth a line on standard error.")]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log lines are JSON objects.")]


def set_up(level: Level, *, as_json: bool) -> None:
    """Send all log records to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Pykka's own steps are interesting when Pykka is.
    logging.getLogger("pykka").setLevel(logging.WARNING)


class Lines(logging.Formatter):
    """`12:34:56.789 WARNING mill_actors.actors.puller: what happened`."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone()
        head = f"{when:%H:%M:%S}.{int(record.msecs):03d} {record.levelname:<7} {record.name}: "
        return head + _with_stack(self, record, record.getMessage())


class JsonLines(logging.Formatter):
    """`{"time": …, "level": …, "logger": …, "thread": …, "message": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        import orjson

        told = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["stack"] = self.formatException(record.exc_info)
        return orjson.dumps(told, default=str).decode("utf-8", "replace")


def _with_stack(formatter: logging.Formatter, record: logging.LogRecord, message: str) -> str:
    if record.exc_info:
        message += "\n" + formatter.formatException(record.exc_info)
    if record.stack_info:
        message += "\n" + formatter.formatStack(record.stack_info)
    return message
