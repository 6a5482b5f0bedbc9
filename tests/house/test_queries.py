"""The named statements and the code that uses them fit each other and the schema."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import psycopg
import pytest

from mill_actors.store.queries import sql

PACKAGE = Path(__file__).parents[2] / "mill_actors"
IMPORT = "from mill_actors.store.queries import sql"
PLACEHOLDER = re.compile(r"%\((\w+)\)[sbt]")


def used() -> set[str]:
    names = set()
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        if IMPORT not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Attribute(value=ast.Name(id="sql"), attr=name):
                    names.add(name)
                case ast.Subscript(value=ast.Name(id="sql"), slice=ast.Constant(value=str(name))):
                    names.add(name)
                case _:
                    pass
    return names


def test_every_statement_is_used_and_every_used_one_exists() -> None:
    assert set(sql) == used()


@pytest.mark.parametrize("name", sorted(sql))
def test_every_statement_is_understood_by_postgres(
    name: str, template_connection: psycopg.Connection
) -> None:
    """Types of parameters are inferred as they are for values that are None."""
    names = list(dict.fromkeys(PLACEHOLDER.findall(sql[name])))
    text = PLACEHOLDER.sub(lambda match: f"${names.index(match[1]) + 1}", sql[name]).replace("%%", "%")
    assert "%" not in re.sub(r"\$\d+|'[^']*'", "", text).replace(" % ", ""), "a parameter without a name"
    if re.match(r"/\*.*?\*/ (with|select|insert|update|delete|merge|values)\b", text):
        with template_connection.transaction(force_rollback=True):
            template_connection.execute(f"prepare {name} as {text}".encode())
            template_connection.execute(f"deallocate {name}".encode())
