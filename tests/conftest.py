"""Markers are in pyproject.toml; fixtures are in the plugins, by what they are about."""

from __future__ import annotations

pytest_plugins = ["tests.fix_db", "tests.fix_actors", "tests.fix_clock"]
