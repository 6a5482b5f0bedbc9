"""The languages there are, by Windmill's name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mill_actors.runtimes.bun import BUN
from mill_actors.runtimes.language import Language
from mill_actors.runtimes.python import PYTHON

LANGUAGES: Mapping[str, Language] = MappingProxyType({language.name: language for language in (PYTHON, BUN)})


def language_of(filename: str) -> Language | None:
    """Return the language a file's name says it is in."""
    for language in LANGUAGES.values():
        if filename.endswith(language.suffixes):
            return language
    return None
