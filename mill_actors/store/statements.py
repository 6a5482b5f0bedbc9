"""SQL text taken apart: comments away, statements one by one.

The statements go to PostgreSQL without their comments, because psycopg reads a
percent sign in a comment as a placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# What may hold a semicolon or two dashes without meaning them, and comments.
# Block comments are matched without nesting.
_TOKEN = re.compile(
    r"""
      (?P<comment> [ \t]*--[^\n]* | /\*.*?\*/ )
    | (?P<quoted>  (?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
                 | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag) )
    | (?P<end>     ; )
    | (?P<text>    [^-/'"$;eE \t]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


def split(text: str) -> list[str]:
    """Return the statements of a text, without comments and semicolons."""
    return [statement for part in _parts(text) if (statement := part.strip())]


def _parts(text: str) -> Iterator[str]:
    part: list[str] = []
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "comment":
            part.append(" ")
        elif match.lastgroup == "end":
            yield "".join(part)
            part = []
        else:
            part.append(match.group())
    yield "".join(part)
