"""What the expressions of flows name: at hand, or fetched, all of a round in a few statements.

What never changes (a finished step's result, a flow's input, a loop's items, a version) is kept in a
`Library` from round to round; what a path means now is asked each round.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec
import orjson
from msgspec import Raw

from mill_actors.flows.effects import Items
from mill_actors.flows.expressions import Missing, UnknownName
from mill_actors.flows.run import Run
from mill_actors.flows.state import Event
from mill_actors.flows.version import FlowVersion
from mill_actors.jobs.jsons import encode
from mill_actors.jobs.script import Script
from mill_actors.store.arrays import literal
from mill_actors.store.connection import Connection
from mill_actors.store.flow_versions import compiled, flow_by_hash, flow_text
from mill_actors.store.queries import sql
from mill_actors.store.scripts import script_by_hash, script_of_row
from mill_actors.store.shared_values import Kind, read_shared

#: Items of a loop in one row.
CHUNK_ITEMS = 256
#: Texts a library keeps.
MAX_KEPT_BYTES = 32 * 1024 * 1024
#: What an entry costs beside its text.
ENTRY_BYTES = 300
#: A larger text is fetched again when it is named again.
MAX_TEXT_BYTES = 1024 * 1024
MAX_VERSIONS = 1000

_chunks = msgspec.json.Decoder(list[Raw])
Key = tuple[str, str]
Blocked = Iterable[tuple[Run, Event, frozenset[str]]]


class Library:
    """What one Completer remembers; used from its thread alone."""

    def __init__(self) -> None:
        self._texts: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._flows: OrderedDict[Key, FlowVersion] = OrderedDict()
        self._scripts: OrderedDict[Key, Script] = OrderedDict()

    def get(self, run: str, name: str) -> bytes | None:
        """Return a text, if it is kept."""
        found = self._texts.get((run, name))
        if found is not None:
            self._texts.move_to_end((run, name))
        return found

    def put(self, run: str, name: str, text: bytes) -> None:
        """Keep a text that will not change."""
        if len(text) > MAX_TEXT_BYTES:
            return
        self.drop(run, name)
        self._texts[run, name] = text
        self._bytes += len(text) + ENTRY_BYTES
        while self._bytes > MAX_KEPT_BYTES:
            _, old = self._texts.popitem(last=False)
            self._bytes -= len(old) + ENTRY_BYTES

    def drop(self, run: str, name: str) -> None:
        """Forget a text."""
        old = self._texts.pop((run, name), None)
        if old is not None:
            self._bytes -= len(old) + ENTRY_BYTES

    def flow(self, connection: Connection, workspace: str, digest: str) -> FlowVersion | None:
        """Return a version, ready to run."""
        found = self._flows.get((workspace, digest))
        if found is None:
            text = flow_by_hash(connection, workspace, digest)
            if text is None:
                return None
            found = self.keep_flow(compiled(text))
        return found

    def keep_flow(self, flow: FlowVersion) -> FlowVersion:
        """Keep a version; return the one that is kept."""
        found = self._flows.setdefault((flow.workspace, flow.hash), flow)
        if len(self._flows) > MAX_VERSIONS:
            self._flows.popitem(last=False)
        return found

    def knows_flow(self, workspace: str, digest: str) -> FlowVersion | None:
        """Return a version if it is kept."""
        return self._flows.get((workspace, digest))

    def script(self, connection: Connection, workspace: str, digest: str) -> Script | None:
        """Return a script's version."""
        found = self._scripts.get((workspace, digest))
        if found is None:
            found = script_by_hash(connection, workspace, digest)
            if found is not None:
                self._scripts[workspace, digest] = found
                if len(self._scripts) > MAX_VERSIONS:
                    self._scripts.popitem(last=False)
        return found


class RoundValues:
    """The values of one round, on top of a library; implements `flows.interpreter.Values`.

    `keeps_all`: of a flow in hand whose steps are not written one by one.
    """

    def __init__(self, library: Library, *, keeps_all: bool = False) -> None:
        self.library = library
        self._keeps_all = keeps_all
        self._texts: dict[Key, bytes | None] = {}
        self._absent: set[Key] = set()
        self._chunks: dict[tuple[str, str, int], list[Raw]] = {}
        self._scripts: dict[Key, Script | None] = {}
        self._flows: dict[Key, FlowVersion | None] = {}
        self._cached: dict[Key, bytes | None] = {}

    # -- flows.interpreter.Values --------------------------------------------------

    def get(self, run: str, name: str) -> bytes | None:
        """Return a text; None: not at hand. Raise `UnknownName`: there is none."""
        if name.startswith("item."):
            return self._item(run, name)
        if (run, name) in self._texts:
            text = self._texts[run, name]
            if text is None:
                raise UnknownName(name)
            return text
        return self.library.get(run, name)

    def put(self, run: str, name: str, text: bytes) -> None:
        """Keep what was just learnt."""
        if self._keeps_all:
            self._texts[run, name] = text
        else:
            self._texts.pop((run, name), None)
            self.library.put(run, name, text)
            if len(text) > MAX_TEXT_BYTES:
                self._texts[run, name] = text

    def drop(self, run: str, name: str) -> None:
        """Forget what has changed."""
        self._texts.pop((run, name), None)
        self.library.drop(run, name)

    def script(self, workspace: str, path: str, digest: str | None) -> Script | None:
        """Return what a path means now. Raise `Missing`; None: there is no such script."""
        key = (workspace, path if digest is None else f"#{digest}")
        if key not in self._scripts:
            raise Missing({f"script:{key[1]}"})
        return self._scripts[key]

    def flow(self, workspace: str, path: str) -> FlowVersion | None:
        """Return what a path means now. Raise `Missing`; None: there is no such flow."""
        if (workspace, path) not in self._flows:
            raise Missing({f"flow:{path}"})
        return self._flows[workspace, path]

    def cached(self, workspace: str, key: str) -> bytes | None:
        """Return a result that may be used again. Raise `Missing`; None: there is none."""
        if (workspace, key) not in self._cached:
            raise Missing({f"cache:{key}"})
        return self._cached[workspace, key]

    # -- items ---------------------------------------------------------------------

    def keep_items(self, items: Items) -> list[tuple[int, list[Raw]]]:
        """Keep a loop's items; return them in chunks, as they are to be written."""
        found = []
        for number, start in enumerate(range(0, len(items.items), CHUNK_ITEMS)):
            chunk = items.items[start : start + CHUNK_ITEMS]
            found.append((number, chunk))
            if number == 0 or self._keeps_all:
                self._chunks[items.run.id, items.step.id, number] = chunk
        if found:
            self.library.put(items.run.id, f"chunk.{items.step.id}.0", _encode_chunk(found[0][1]))
        return found

    def _item(self, run: str, name: str) -> bytes | None:
        _, step, number = name.split(".")
        chunk, place = divmod(int(number), CHUNK_ITEMS)
        found = self._chunks.get((run, step, chunk))
        if found is None:
            text = self.library.get(run, f"chunk.{step}.{chunk}")
            if text is None:
                return None
            found = self._chunks[run, step, chunk] = _chunks.decode(text)
        return bytes(found[place])

    def forget_decoded(self) -> None:
        """Let go of chunks that are kept as text anyway: between two rounds of a flow in hand."""
        if not self._keeps_all:
            self._chunks.clear()

    # -- fetching ------------------------------------------------------------------

    def forget_absent(self) -> None:
        """What was not there may have come since."""
        self._cached.clear()
        for key in self._absent:
            self._texts.pop(key, None)
        self._absent.clear()

    def fetch(self, connection: Connection, blocked: Blocked) -> None:
        """Read all that is named, by one statement a kind; what there is not is remembered as such."""
        wanted: dict[str, set[tuple[Run, str]]] = {}
        since = float("inf")
        for run, _, names in blocked:
            since = min(since, run.began)
            for name in names:
                kind = name.partition(".")[0].partition(":")[0]
                wanted.setdefault(kind, set()).add((run, name))
        for kind, entries in wanted.items():
            match kind:
                case "results" | "all_iters":
                    self._fetch_results(connection, entries, since)
                case "child":
                    self._fetch_children(connection, entries, since)
                case "item":
                    self._fetch_items(connection, entries)
                case "flow_input":
                    self._fetch_inputs(connection, entries)
                case "resume" | "resumes" | "approvers":
                    self._fetch_resumes(connection, entries)
                case "variable" | "resource":
                    self._fetch_shared(connection, kind, entries)
                case "script":
                    self._fetch_scripts(connection, entries)
                case "flow":
                    self._fetch_flows(connection, entries)
                case "cache":
                    self._fetch_cached(connection, entries)
                case _:
                    for run, name in entries:
                        self._learn(run.id, name, None, keep=False)

    def _learn(self, run: str, name: str, text: str | None, *, keep: bool) -> None:
        if text is None:
            self._texts[run, name] = None
            self._absent.add((run, name))
        elif keep:
            self.put(run, name, text.encode())
        else:
            self._texts[run, name] = text.encode()

    def _fetch_results(self, connection: Connection, entries: set[tuple[Run, str]], since: float) -> None:
        places: dict[Key, bool] = {}
        for run, name in entries:
            step = run.body.steps[run.state.at].id if name == "all_iters" else name.removeprefix("results.")
            holder = run.holder_of(step)
            if holder is not None:
                places[holder, step] = _is_many(run, step)
        rows = connection.execute(
            sql.step_results,
            {
                "runs": literal(run for run, _ in places),
                "steps": [step for _, step in places],
                "many": list(places.values()),
                "since": since,
            },
        ).fetchall()
        for run_id, step, text in rows:
            # An array may still grow; a result does not change.
            self._learn(run_id, f"results.{step}", text, keep=not places[run_id, step])

    def _fetch_children(self, connection: Connection, entries: set[tuple[Run, str]], since: float) -> None:
        places = [(run.id, *name.split(".")[1:]) for run, name in entries]
        rows = connection.execute(
            sql.child_results,
            {
                "runs": literal(place[0] for place in places),
                "steps": [place[1] for place in places],
                "iterations": literal(place[2] for place in places),
                "since": since,
            },
        ).fetchall()
        found = {(run, step, str(iteration)): text for run, step, iteration, text in rows}
        for run_id, step, iteration in places:
            self._learn(run_id, f"child.{step}.{iteration}", found.get((run_id, step, iteration)), keep=False)

    def _fetch_items(self, connection: Connection, entries: set[tuple[Run, str]]) -> None:
        places = {
            (run.id, name.split(".")[1], int(name.split(".")[2]) // CHUNK_ITEMS) for run, name in entries
        }
        rows = connection.execute(
            sql.item_chunks,
            {
                "runs": literal(place[0] for place in places),
                "steps": [place[1] for place in places],
                "chunks": literal(str(place[2]) for place in places),
            },
        ).fetchall()
        for run_id, step, chunk, text in rows:
            self._chunks[run_id, step, chunk] = _chunks.decode(text)
            self.library.put(run_id, f"chunk.{step}.{chunk}", text.encode())

    def _fetch_inputs(self, connection: Connection, entries: set[tuple[Run, str]]) -> None:
        ids = {run.flow_run for run, _ in entries}
        for run_id, text in connection.execute(sql.flow_inputs, {"ids": literal(ids)}).fetchall():
            self.put(run_id, "flow_input", text.encode())

    def _fetch_resumes(self, connection: Connection, entries: set[tuple[Run, str]]) -> None:
        runs = {run.id: run for run, _ in entries}
        answers: dict[str, list[tuple[str, str]]] = {run_id: [] for run_id in runs}
        rows = connection.execute(sql.resumes, {"ids": literal(runs)}).fetchall()
        for run_id, step, _, value, approver in rows:
            at = runs[run_id].state.at
            if at > 0 and step == runs[run_id].body.steps[at - 1].id:
                answers[run_id].append((value, approver))
        for run_id, given in answers.items():
            values = [value.encode() for value, _ in given]
            self._texts[run_id, "resumes"] = b"[%b]" % b",".join(values)
            self._texts[run_id, "resume"] = values[-1] if values else b"null"
            self._texts[run_id, "approvers"] = orjson.dumps(
                [approver or "anonymous" for _, approver in given]
            )

    def _fetch_shared(self, connection: Connection, kind: str, entries: set[tuple[Run, str]]) -> None:
        told: Kind = "variable" if kind == "variable" else "resource"
        places = {(run.owner.reader, name.partition(":")[2]) for run, name in entries}
        found = read_shared(connection, told, places)
        for reader, path in places:
            text = found.get((reader, path))
            if text is not None and told == "variable":
                text = encode(text).decode()
            self._learn("/".join(reader), f"{told}:{path}", text, keep=False)

    def _fetch_scripts(self, connection: Connection, entries: set[tuple[Run, str]]) -> None:
        places = {(run.owner.workspace, name.partition(":")[2]) for run, name in entries}
        for workspace, path in places:
            self._scripts[workspace, path] = (
                self.library.script(connection, workspace, path[1:]) if path.startswith("#") else None
            )
        by_path = [place for place in places if not place[1].startswith("#")]
        if by_path:
            rows = connection.execute(
                sql.current_scripts,
                {"workspaces": [w for w, _ in by_path], "paths": [p for _, p in by_path]},
            ).fetchall()
            for path, workspace, *row in rows:
                self._scripts[workspace, path] = script_of_row(row)

    def _fetch_cached(self, connection: Connection, entries: set[tuple[Run, str]]) -> None:
        places = {(run.owner.workspace, name.partition(":")[2]) for run, name in entries}
        self._cached |= dict.fromkeys(places)
        rows = connection.execute(
            sql.cached_results,
            {
                "workspaces": [w for w, _ in places],
                "keys": [bytes.fromhex(key) for _, key in places],
                "now": None,
            },
        ).fetchall()
        for workspace, key, text in rows:
            self._cached[workspace, bytes(key).hex()] = text.encode()

    def _fetch_flows(self, connection: Connection, entries: set[tuple[Run, str]]) -> None:
        places = {(run.owner.workspace, name.partition(":")[2]) for run, name in entries}
        self._flows |= dict.fromkeys(places)
        rows = connection.execute(
            sql.current_flows, {"workspaces": [w for w, _ in places], "paths": [p for _, p in places]}
        ).fetchall()
        for path, workspace, *row in rows:
            text = flow_text(row)
            known = self.library.knows_flow(workspace, text.hash)
            self._flows[workspace, path] = known or self.library.keep_flow(compiled(text))


def _is_many(run: Run, name: str) -> bool:
    body = run.body
    for _ in range(body.levels_up(name) or 0):
        assert body.parent is not None
        body = body.parent
    step = body.step(name)
    return step is not None and step.is_many


def _encode_chunk(items: list[Raw]) -> bytes:
    return b"[%b]" % b",".join(map(bytes, items))


def chunk_texts(chunks: Iterable[list[Raw]]) -> list[bytes]:
    """Return chunks as JSON texts."""
    return [_encode_chunk(chunk) for chunk in chunks]
