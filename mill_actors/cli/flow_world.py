"""What a flow that is rehearsed can reach: scripts and flows on disk beside it, values that were told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mill_actors.cli.flow_sources import FlowSource, make_flows, read_flows
from mill_actors.errors import InvalidArgs, InvalidFlow

if TYPE_CHECKING:
    from mill_actors.flows.rehearsal import World
    from mill_actors.flows.version import FlowVersion
    from mill_actors.jobs.script import Script

#: A resource may name another one.
DEEPEST = 10


class Disk:
    """Scripts and flows that lie below the same f/ and u/."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._scripts: dict[str, Script | None] = {}
        self._flows: dict[str, FlowVersion | None] = {}

    def script(self, path: str, _digest: str | None = None) -> Script | None:
        """Return the script that has a path; of versions there is only the one on disk."""
        if path not in self._scripts:
            self._scripts[path] = self._read_script(path)
        return self._scripts[path]

    def _read_script(self, path: str) -> Script | None:
        from mill_actors.cli.sources import find_sources, make_scripts
        from mill_actors.runtimes.languages import LANGUAGES

        if self._root is None:
            return None
        for language in LANGUAGES.values():
            for suffix in (*language.suffixes, ".bun.ts"):
                file = self._root / f"{path}{suffix}"
                if file.is_file():
                    sources, _ = find_sources([str(file)], path)
                    return make_scripts("rehearsal", sources, {})[0][0]
        return None

    def flow(self, path: str) -> FlowVersion | None:
        """Return the flow that has a path; raise `InvalidFlow`."""
        if path not in self._flows:
            self._flows[path] = self._read_flow(path)
        return self._flows[path]

    def _read_flow(self, path: str) -> FlowVersion | None:
        from mill_actors.cli.flow_files import FOLDERS, PLAIN, document_of

        if self._root is None:
            return None
        for ending in (*FOLDERS, *PLAIN):
            place = self._root / f"{path}{ending}"
            file = document_of(place) if place.is_dir() else place
            if file is not None and file.is_file():
                return read_version(FlowSource(file, path))
        return None


def read_version(source: FlowSource) -> FlowVersion:
    """Read one flow, ready to run; raise `InvalidFlow`."""
    from mill_actors.store.flow_versions import compiled

    flows, faults = read_flows([source])
    if faults:
        raise InvalidFlow(faults, source.path)
    return compiled(make_flows("rehearsal", flows)[0])


def fill_references(args: bytes, world: World) -> bytes:
    """Return arguments with what `$var:` and `$res:` in them mean, as a worker does."""
    if b'"$var:' not in args and b'"$res:' not in args:
        return args
    from mill_actors.jobs.jsons import decode, encode

    def fill(value: Any, depth: int) -> Any:
        match value:
            case str() if value.startswith("$var:"):
                path = value.removeprefix("$var:")
                if path not in world.variables:
                    raise InvalidArgs(value, f"say --variable {path}=TEXT")
                return world.variables[path]
            case str() if value.startswith("$res:"):
                path = value.removeprefix("$res:")
                if path not in world.resources or depth > DEEPEST:
                    raise InvalidArgs(value, f"say --resource {path}=JSON")
                return fill(decode(world.resources[path]), depth + 1)
            case dict():
                return {name: fill(item, depth) for name, item in value.items()}
            case list():
                return [fill(item, depth) for item in value]
            case _:
                return value

    return encode(fill(decode(args), 0))
