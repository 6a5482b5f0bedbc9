"""Files as flows: which files, what path each has, and every fault of all of them at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mill_actors.cli.flow_files import (
    DOCUMENTS,
    FOLDERS,
    PLAIN,
    FlowFileError,
    document_of,
    flow_stem,
    flows_below,
    read_document,
)
from mill_actors.cli.sources import path_within
from mill_actors.errors import InvalidArgs, InvalidFlow
from mill_actors.jobs.script import PATH

if TYPE_CHECKING:
    from mill_actors.flows.document import FlowDocument
    from mill_actors.store.flow_versions import FlowText

#: A flow that is looked at and has no path of its own yet.
NOWHERE = "f/here/flow"
#: Flags of `mill deploy`, and the field of the document that each goes over.
_FLAGS: Mapping[str, tuple[str, str]] = {
    "dedicated": ("", "dedicated_worker"),
    "tag": ("", "tag"),
    "timeout_seconds": ("", "timeout"),
    "priority": ("value", "priority"),
    "concurrency_limit": ("value", "concurrent_limit"),
    "concurrency_key": ("value", "concurrency_key"),
}


class FlowSource(Struct, frozen=True):
    """A flow on disk: `file` is its document."""

    file: Path
    path: str


class ReadFlow(Struct, frozen=True):
    """A flow without faults."""

    source: FlowSource
    document: FlowDocument


def is_flow(file: Path) -> bool:
    """Whether something that was named is one flow: its folder, its document, a plain file."""
    if file.is_dir():
        return file.name.endswith(FOLDERS)
    return file.name in DOCUMENTS or file.name.endswith(PLAIN)


def find_flows(given: Sequence[Path], path: str | None = None) -> tuple[list[FlowSource], list[str]]:
    """Return the flows that are named, and those in folders; and what there is to say about others.

    Plain files are flows if they are called NAME.flow.yaml, .yml or .json. Raises `InvalidArgs` for a
    named one whose path nobody can tell.
    """
    found: list[FlowSource] = []
    notes: list[str] = []
    for each in given:
        if is_flow(each):
            found.append(_named(each, path))
        elif each.is_dir():
            found += _in_folder(each, notes)
    files: dict[str, Path] = {}
    for source in found:
        first = files.setdefault(source.path, source.file)
        if first != source.file:
            raise InvalidArgs(source.path, f"is both {first} and {source.file}")
    return found, notes


def any_flow(given: Path) -> FlowSource:
    """Return a flow that is named and need not have a path, nor a flow's name; raise `InvalidArgs`."""
    if not given.exists():
        raise InvalidArgs(str(given), "there is no such file or folder")
    if is_flow(given):
        try:
            return _named(given, None)
        except InvalidArgs:
            file = document_of(given) if given.is_dir() else given
            if file is None:
                raise
            return FlowSource(file, NOWHERE)
    if given.is_dir() or given.suffix not in {".yaml", ".yml", ".json"}:
        raise InvalidArgs(str(given), "is no flow: its folder NAME.flow, or a YAML or JSON file")
    return FlowSource(given, NOWHERE)


def root_of(source: FlowSource) -> Path | None:
    """Return the folder that holds the f/ or u/ that a flow is in."""
    file = source.file.absolute()
    stands_for = file.parent if file.name in DOCUMENTS else file
    parts = source.path.split("/")
    around = stands_for.parents
    if len(around) < len(parts) or [each.name for each in around[: len(parts) - 1]] != parts[-2::-1]:
        return None
    return around[len(parts) - 1]


def read_flows(
    sources: Sequence[FlowSource], flags: Mapping[str, Any] | None = None
) -> tuple[list[ReadFlow], list[str]]:
    """Return those without faults, and the faults of all others, each with its file."""
    flows: list[ReadFlow] = []
    faults: list[str] = []
    for source in sources:
        try:
            flows.append(ReadFlow(source, _read(source.file, flags or {})))
        except FlowFileError as error:
            faults += [f"{source.file}: {fault}" for fault in error.faults]
        except InvalidFlow as error:
            faults += [f"{source.file}: {fault}" for fault in error.faults]
    return flows, faults


def _read(file: Path, flags: Mapping[str, Any]) -> FlowDocument:
    from mill_actors.flows.document import read_flow

    document = read_document(file)
    if isinstance(document, dict) and "modules" in document and "value" not in document:
        # The `value` alone: what Windmill's editor exports, and its previews take.
        document = {"summary": "", "value": document}
    if isinstance(document, dict):
        document.setdefault("summary", "")
        for flag, (part, name) in _FLAGS.items():
            holder = document.get(part) if part else document
            if flag in flags and isinstance(holder, dict):
                holder[name] = flags[flag]
    return read_flow(document)


def make_flows(workspace: str, flows: Sequence[ReadFlow]) -> list[FlowText]:
    """Return a version of each."""
    from mill_actors.store.flow_versions import flow_of

    return [flow_of(workspace, flow.source.path, flow.document) for flow in flows]


def find_missing(
    flows: Sequence[ReadFlow], scripts: Collection[str], known_flows: Collection[str]
) -> list[str]:
    """Return what there is to say about steps whose script or flow is nowhere: they will fail."""
    from mill_actors.flows.definition import FlowStep, ScriptStep
    from mill_actors.flows.program import Program

    notes = []
    for flow in flows:
        for step in Program(flow.document.value).steps():
            match step.module.value:
                case ScriptStep(path, _, None) if path not in scripts:
                    notes.append(f"{flow.source.path}: step {step.id}: there is no script {path} yet")
                case FlowStep(path) if path not in known_flows:
                    notes.append(f"{flow.source.path}: step {step.id}: there is no flow {path} yet")
                case _:
                    pass
    return notes


# ---------------------------------------------------------------- paths


def _named(given: Path, path: str | None) -> FlowSource:
    file = document_of(given) if given.is_dir() else given
    if file is None:
        raise InvalidArgs(str(given), f"has no {' or '.join(DOCUMENTS)}")
    stands_for = given.absolute() if given.is_dir() or file.name not in DOCUMENTS else given.absolute().parent
    stem = flow_stem(stands_for.name)
    if stem is not None:
        for folder in (stands_for.parent, stands_for.resolve().parent):
            path = path or path_within([*folder.parts, stem])
    if path is None or not PATH.fullmatch(path):
        why = "is not below a folder f/ or u/: say --path f/folder/name"
        raise InvalidArgs(str(given), why if path is None else f"{path!r} does not look like f/folder/name")
    return FlowSource(file, path)


def _in_folder(folder: Path, notes: list[str]) -> list[FlowSource]:
    roots = [folder / name for name in ("f", "u") if (folder / name).is_dir()]
    above: Sequence[str] = ()
    if not roots:
        inside = path_within([*folder.resolve().parts, "any", "name"])
        if inside is None:
            return []
        roots, above = [folder], inside.split("/")[:-2]
    found = []
    for root in roots:
        for each in flows_below(root):
            parts = (*above, *each.relative_to(folder).parts)
            path = "/".join([*parts[:-1], flow_stem(each.name) or each.name])
            file = document_of(each) if each.is_dir() else each
            if file is None:
                notes.append(f"not deployed: {each}: there is no flow.yaml in it")
            elif not PATH.fullmatch(path):
                notes.append(f"not deployed: {each}: {path!r} does not look like f/folder/name")
            else:
                found.append(FlowSource(file, path))
    return found
