"""`NAME.script.yaml`, Windmill's file of a script's options, beside the script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mill_actors.jobs.script import ScriptOptions
from mill_actors.jobs.script_document import NAMES

#: What says nothing about how jobs run. Everything else that is not in NAMES is worth a note.
QUIET = frozenset({"summary", "description", "schema", "kind", "lock", "codebase", "is_template"})

_TYPES = {field.name: field.type for field in msgspec.structs.fields(ScriptOptions)}


class Sidecar(Struct, frozen=True):
    """What the file says, by our names; `name` is the file's, for messages."""

    name: str
    options: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def read_sidecar(file: Path) -> Sidecar:
    """Read the file, if there is one. Unknown keys are noted: files may come from Windmill."""
    import yaml

    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Sidecar(str(file))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return Sidecar(str(file), faults=(f"{file}: cannot be read: {' '.join(str(error).split())}",))
    if told is None:
        return Sidecar(str(file))
    if not isinstance(told, dict):
        return Sidecar(str(file), faults=(f"{file}: is not a mapping",))
    options = {NAMES[key]: value for key, value in told.items() if key in NAMES and value is not None}
    notes = []
    if isinstance(options.get("retry"), dict) and "retry_if" in options["retry"]:
        options["retry"] = {key: value for key, value in options["retry"].items() if key != "retry_if"}
        notes.append("retry.retry_if is not evaluated: every failure is retried")
    ignored = [
        str(key) for key, value in told.items() if key not in NAMES and key not in QUIET and _means(value)
    ]
    if ignored:
        notes.append(f"{file.name}: not used: {', '.join(sorted(ignored))}")
    return Sidecar(str(file), options, tuple(notes))


def convert_options(told: Sidecar, flags: Mapping[str, Any]) -> tuple[ScriptOptions, list[str]]:
    """Return the options, and every fault with the name under which it was written."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    written = {ours: theirs for theirs, ours in NAMES.items()}
    for name, value in told.options.items():
        try:
            values[name] = msgspec.convert(value, _TYPES[name])
        except msgspec.ValidationError as error:
            where = (
                "--" + name.removesuffix("_seconds").replace("_", "-")
                if name in flags
                else f"{told.name}: {written[name]}"
            )
            faults.append(f"{where}: {error}")
    return ScriptOptions(**values), faults


def _means(value: object) -> bool:
    # Windmill writes what is off, too: `no_main_func: false`, `envs: []`.
    return value not in (None, False, 0, "", [], {})
