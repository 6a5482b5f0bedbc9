"""One flow's files: its document as JSON or YAML, with the code of its steps beside it.

YAML is read as version 1.2 has it, like Windmill does: `on` and `2024-01-01` are text. What is written
`!inline <file>` is that file's text, found from the flow's folder and never outside of it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

#: What a document may be called in a folder of its own.
DOCUMENTS = ("flow.yaml", "flow.yml", "flow.json")
#: Endings of folders, of Windmill's layout and of its newer one.
FOLDERS = (".flow", "__flow")
#: Endings of documents that stand alone.
PLAIN = (".flow.yaml", ".flow.yml", ".flow.json")

_INLINE = "!inline"


class FlowFileError(Exception):
    """A document cannot be read; `faults` say why, each with its place in it if there is one."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


def read_document(file: Path) -> Any:
    """Return what a file says, with inline code filled in; raise `FlowFileError` with every fault."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FlowFileError([f"cannot be read: {error}"]) from None
    try:
        document = _json(text) if file.suffix == ".json" else yaml.load(text, _Loader)  # noqa: S506  safe
    except yaml.YAMLError as error:
        raise FlowFileError([f"is not YAML: {_words(error)}"]) from None
    except ValueError as error:
        raise FlowFileError([f"is not JSON: {error}"]) from None
    except RecursionError:
        raise FlowFileError(["is nested too deep"]) from None
    faults: list[str] = []
    try:
        _fill_in(document, file.parent, "", faults, set())
    except RecursionError:
        raise FlowFileError(["is nested too deep"]) from None
    if faults:
        raise FlowFileError(faults)
    return document


def _json(text: str) -> Any:
    import json

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{twice!r} is there twice")
        return found

    return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)


# ---------------------------------------------------------------- inline code


def _fill_in(value: Any, folder: Path, path: str, faults: list[str], seen: set[int]) -> None:
    """Replace `!inline` of code and locks in place. An anchor is met more than once, and filled in once."""
    if not isinstance(value, dict | list) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, list):
        for index, item in enumerate(value):
            _fill_in(item, folder, f"{path}[{index}]", faults, seen)
        return
    for key, item in value.items():
        place = f"{path}.{key}" if path else str(key)
        if key in {"content", "lock"} and isinstance(item, str) and item.startswith(_INLINE):
            name = item.removeprefix(_INLINE).strip()
            found = _inline(folder, name)
            if isinstance(found, Exception):
                faults.append(f"{place}: {name or 'the file'} {found}")
            else:
                value[key] = found
        else:
            _fill_in(item, folder, place, faults, seen)


def _inline(folder: Path, name: str) -> str | Exception:
    inside = folder.resolve()
    file = (inside / name).resolve()
    if not name or not file.is_relative_to(inside):
        return ValueError("is not in the flow's folder")
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ValueError("is not there")
    except (OSError, UnicodeDecodeError) as error:
        return ValueError(f"cannot be read: {error}")


# ---------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values; keys that are there twice are a fault."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's name for them

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            first: dict[str, Any] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                    continue
                if key.value in first:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is there twice", key.start_mark
                    )
                first[key.value] = key
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
    ("tag:yaml.org,2002:merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)


def _number(_loader: yaml.SafeLoader, node: Any) -> int:
    text = str(node.value)
    # PyYAML's own reads 010 as 8, as YAML 1.1 does.
    return int(text, 16) if text[:2].lower() == "0x" else int(text)


def _float(_loader: yaml.SafeLoader, node: Any) -> float:
    return float(node.value)


def _tagged(_loader: yaml.SafeLoader, node: Any) -> str:
    return f"{_INLINE} {node.value}"


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor(_INLINE, _tagged)


def _words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return problem if mark is None else f"line {mark.line + 1}: {problem}"


# ---------------------------------------------------------------- which files


def document_of(folder: Path) -> Path | None:
    """Return the document of a flow's own folder."""
    return next((folder / name for name in DOCUMENTS if (folder / name).is_file()), None)


def flow_stem(name: str) -> str | None:
    """Return what a flow's folder or its plain file is called without its ending; None: it is neither."""
    for ending in (*FOLDERS, *PLAIN):
        if name.endswith(ending) and len(name) > len(ending):
            return name.removesuffix(ending)
    return None


def flows_below(folder: Path) -> Iterator[Path]:
    """Yield flows' folders and plain files, in the order of their names; what is hidden is not looked at."""
    for each in sorted(folder.iterdir()):
        if each.name.startswith((".", "__pycache__", "node_modules")):
            continue
        is_folder = each.is_dir()
        if is_folder and each.name.endswith(FOLDERS):
            yield each
        elif is_folder:
            yield from flows_below(each)
        elif each.name.endswith(PLAIN):
            yield each
