"""What a database would hold of one flow, in memory: the tables of a rehearsal."""

from __future__ import annotations

from msgspec import Raw, Struct, field

from mill_actors.flows.effects import NewJob
from mill_actors.flows.state import Ending, Resume, Stop
from mill_actors.flows.version import FlowVersion


class Row(Struct):
    """A child: a job, a body, or a step that ran nothing. `status` None: it is not over."""

    id: str
    parent: str
    step: str
    iteration: int | None
    status: Ending | None
    args: bytes
    result: bytes | None = None
    stop: Stop = ""


class StoredRun(Struct):
    """A body that is not over, as it is written."""

    flow: FlowVersion
    address: str
    parent: str | None
    step: str | None
    iteration: int | None
    chain: tuple[str, ...]
    depth: int
    overlay: bytes
    state: str


class Stored(Struct):
    """All that a database would hold of one flow."""

    runs: dict[str, StoredRun] = field(default_factory=dict)
    #: in the order written
    rows: dict[str, Row] = field(default_factory=dict)
    #: the ids of a run's children by step, in the order written
    children: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    inputs: dict[str, bytes] = field(default_factory=dict)
    items: dict[tuple[str, str], list[Raw]] = field(default_factory=dict)
    #: the step asked about, and the answers, in the order they came
    answers: dict[tuple[str, str], list[Resume]] = field(default_factory=dict)
    jobs: dict[str, NewJob] = field(default_factory=dict)
    sleeping: dict[str, float] = field(default_factory=dict)
    suspended: dict[str, str] = field(default_factory=dict)
    early: bytes | None = None
    status: Ending | None = None
    result: bytes | None = None

    def put(self, row: Row) -> None:
        """Write a new row."""
        self.rows[row.id] = row
        self.children.setdefault((row.parent, row.step), []).append(row.id)

    def remove(self, job: str) -> None:
        """Take a child away as if it had never been written, and all that is below it."""
        row = self.rows.pop(job)
        self.children[row.parent, row.step].remove(job)
        for tables in (self.jobs, self.runs, self.sleeping, self.suspended):
            tables.pop(job, None)
        for (parent, _), below in list(self.children.items()):
            if parent == job:
                for child in list(below):
                    self.remove(child)

    def set_aside(self, run: str, step: str, tries: int) -> None:
        """Rename the children of a try."""
        name = f"{step}~{tries}"
        moved = self.children.pop((run, step), [])
        for child in moved:
            self.rows[child].step = name
        self.children.setdefault((run, name), []).extend(moved)

    def result_of(self, run: str, step: str, *, is_many: bool) -> bytes | None:
        """Return what a step amounts to: its one child's result, or an array; None: nothing yet."""
        ended = [self.rows[child] for child in self.children.get((run, step), ())]
        ended = [row for row in ended if row.status is not None]
        whole = [row for row in ended if row.iteration is None or not is_many]
        if whole:
            return whole[-1].result
        if not ended:
            return None
        ended.sort(key=lambda row: row.iteration or 0)
        return b"[%b]" % b",".join(row.result or b"null" for row in ended)

    def child(self, run: str, step: str, iteration: int) -> bytes | None:
        """Return the result of an iteration."""
        # The last ones are asked for, of loops that may be long.
        for child in reversed(self.children.get((run, step), ())):
            row = self.rows[child]
            if row.iteration == iteration and row.status is not None:
                return row.result
        return None
