"""Files as scripts: which files, what path each has, and what its options are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from mill_actors.cli.flow_files import FOLDERS
from mill_actors.cli.sidecar import Sidecar, convert_options, read_sidecar
from mill_actors.errors import ConfigError, InvalidArgs
from mill_actors.jobs.script import PATH, Script, make_script
from mill_actors.runtimes.language import Language
from mill_actors.runtimes.languages import LANGUAGES, language_of

#: Folders of Windmill that hold scripts which are parts of something else.
_PARTS = (".app", "__app", ".raw_app", "__raw_app")
_NO_SCRIPTS = (".d.ts", ".script.yaml", ".script.json", ".lock", ".yaml", ".yml", ".json", ".md", ".txt")
#: Windmill names the runtime of a TypeScript file in its name: charge.bun.ts.
_OTHER_RUNTIMES = (".deno", ".fetch", ".nativets")


class Source(Struct, frozen=True):
    """A file that is a script."""

    file: Path
    path: str
    language: Language


def find_sources(given: Sequence[str], path: str | None) -> tuple[list[Source], list[str]]:
    """Return the scripts of files and folders, and what there is to say about other files.

    Raises `InvalidArgs` for a file that cannot be one, and for a folder that is no repository's.
    """
    if path is not None and given and (len(given) != 1 or not Path(given[0]).is_file()):
        raise InvalidArgs("--path", "goes with a single file")
    found: list[Source] = []
    notes: list[str] = []
    for each in map(Path, given):
        if each.is_dir():
            found += _in_folder(each, notes)
        elif each.is_file():
            found.append(_one_file(each, path))
        else:
            raise InvalidArgs(str(each), "there is no such file or folder")
    _refuse_doubles(found)
    return found, notes


def make_scripts(
    workspace: str, sources: Sequence[Source], flags: Mapping[str, Any]
) -> tuple[list[Script], list[str]]:
    """Return a version of each, and what there is to say; raise `ConfigError` with every fault."""
    scripts: list[Script] = []
    notes: list[str] = []
    faults: list[str] = []
    for source in sources:
        sidecar = read_sidecar(
            source.file.with_name(_stem(source.file.name, source.language) + ".script.yaml")
        )
        notes += [f"{source.path}: {note}" for note in sidecar.notes]
        faults += sidecar.faults
        merged = Sidecar(sidecar.name, {**sidecar.options, **flags})
        options, refused = convert_options(merged, flags)
        faults += refused
        try:
            content = source.file.read_text(encoding="utf-8")
            if not faults:
                scripts.append(make_script(workspace, source.path, source.language.name, content, options))
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{source.file}: cannot be read: {error}")
        except InvalidArgs as error:
            faults.append(f"{source.file}: {error.why}")
    if faults:
        # A fault of a flag is found with every file.
        raise ConfigError(list(dict.fromkeys(faults)))
    return scripts, notes


def _one_file(file: Path, path: str | None) -> Source:
    language = language_of(file.name)
    if language is None:
        known = ", ".join(suffix for each in LANGUAGES.values() for suffix in each.suffixes)
        raise InvalidArgs(str(file), f"no language has files that end so; known are {known}")
    stem = _stem(file.name, language)
    for parts in () if path is not None else (file.parent.parts, file.resolve().parent.parts):
        path = path or path_within([*parts, stem])
    if path is None or not PATH.fullmatch(path):
        why = "is not below a folder f/ or u/: say --path f/folder/name"
        raise InvalidArgs(str(file), why if path is None else f"{path!r} does not look like f/folder/name")
    return Source(file, path, language)


def path_within(parts: Sequence[str]) -> str | None:
    """Return the path that begins at the innermost f/ or u/ that makes one."""
    for start in range(len(parts) - 2, -1, -1):
        if parts[start] in {"f", "u"} and PATH.fullmatch("/".join(parts[start:])):
            return "/".join(parts[start:])
    return None


def _in_folder(folder: Path, notes: list[str]) -> Iterator[Source]:
    roots = [folder / name for name in ("f", "u") if (folder / name).is_dir()]
    inside = [*folder.resolve().parts, "any", "name"]
    if roots:
        files = [(file, file.relative_to(folder).parts) for root in roots for file in _files(root, notes)]
    elif (path := path_within(inside)) is not None:
        above = path.split("/")[:-2]
        files = [(file, (*above, *file.relative_to(folder).parts)) for file in _files(folder, notes)]
    else:
        raise InvalidArgs(str(folder), "has no folder f/ or u/, and is not in one")
    for file, parts in files:
        language = language_of(file.name)
        stem = "" if language is None else _stem(file.name, language)
        path = "/".join([*parts[:-1], stem])
        if language is None or stem.endswith(_OTHER_RUNTIMES):
            notes.append(f"not deployed: {file}: there is no runtime for it yet")
        elif not PATH.fullmatch(path):
            notes.append(f"not deployed: {file}: {path!r} does not look like f/folder/name")
        else:
            yield Source(file, path, language)


def _files(folder: Path, notes: list[str]) -> Iterator[Path]:
    for each in sorted(folder.iterdir()):
        if each.name.startswith((".", "__pycache__", "node_modules")):
            continue
        if each.is_dir():
            if each.name.endswith(_PARTS):
                notes.append(f"not deployed: {each}: only scripts and flows are")
            elif not each.name.endswith(FOLDERS):
                yield from _files(each, notes)
        elif not each.name.endswith(_NO_SCRIPTS):
            yield each


def _stem(name: str, language: Language) -> str:
    suffix = max((suffix for suffix in language.suffixes if name.endswith(suffix)), key=len)
    return name.removesuffix(suffix).removesuffix(".bun")


def _refuse_doubles(found: Sequence[Source]) -> None:
    files: dict[str, Path] = {}
    for source in found:
        first = files.setdefault(source.path, source.file)
        if first != source.file:
            raise InvalidArgs(source.path, f"is both {first} and {source.file}")
