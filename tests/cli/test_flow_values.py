"""`mill variable` and `mill resource`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Mill


def test_variables(mill: Mill) -> None:
    mill("variable", "set", "f/a/url", "http://stub", "--description", "the stub")
    mill("variable", "set", "f/a/key", "-", stdin="two\nlines")
    assert mill("variable", "get", "f/a/url").out == "http://stub\n"
    assert mill("variable", "get", "f/a/key", "--json").json["value"] == "two\nlines"
    listed = mill("variable", "list").out
    assert "http://stub" not in listed
    assert "the stub" in listed
    mill("variable", "set", "f/a/url", "http://other")
    assert mill("variable", "list", "--json").json == [
        {"path": "f/a/key", "value": "two\nlines", "description": ""},
        {"path": "f/a/url", "value": "http://other", "description": "the stub"},
    ]
    mill("variable", "delete", "f/a/url")
    for command in ("get", "delete"):
        told = mill("variable", command, "f/a/url", code=1).err
        assert told == "mill: There is no variable 'f/a/url' in workspace 'default'.\n"
    assert "a path looks like" in mill("variable", "set", "url", "x", code=2).err


def test_a_secret_is_shown_to_whoever_asks_for_it_alone(mill: Mill) -> None:
    mill("variable", "set", "f/a/key", "-", "--secret", stdin="s3cret")
    assert mill("variable", "get", "f/a/key").out == "s3cret\n"
    assert mill("variable", "get", "f/a/key", "--json").json["is_secret"] is True
    assert "secret" in mill("variable", "list").out
    assert "s3cret" not in mill("variable", "list").out + mill("variable", "list", "--json").out
    # Once a secret, it remains one.
    mill("variable", "set", "f/a/key", "an0ther")
    assert "an0ther" not in mill("variable", "list", "--json").out
    mill("variable", "set", "f/a/key", "public", "--no-secret")
    listed = mill("variable", "list", "--json").json
    assert listed == [{"path": "f/a/key", "value": "public", "description": ""}]


@pytest.mark.parametrize("value", [None, 3, "text", [1], {"n": 36893488147419103232}])
def test_resources(value: Any, mill: Mill) -> None:
    mill("resource", "set", "f/a/api", json.dumps(value), "--type", "postgresql")
    assert json.loads(mill("resource", "get", "f/a/api").out) == value
    (mill.folder / "value.json").write_text('{"a": 1}')
    mill("resource", "set", "f/a/api", "@value.json", "--description", "from a file")
    assert mill("resource", "list", "--json").json == [
        {
            "path": "f/a/api",
            "value": {"a": 1},
            "resource_type": "postgresql",
            "description": "from a file",
        }
    ]
    assert "postgresql   from a file" in mill("resource", "list").out
    mill("resource", "delete", "f/a/api")
    assert "There is no resource 'f/a/api'" in mill("resource", "get", "f/a/api", code=1).err
    assert "VALUE: is not JSON" in mill("resource", "set", "f/a/api", "{", code=2).err
    assert mill("resource", "list").err == "mill: no resources\n"
