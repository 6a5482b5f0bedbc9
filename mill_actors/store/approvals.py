"""Who asks for an approval, what about, and whom. SQL: `sql/flow_control.sql`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

from mill_actors.errors import JobNotFound
from mill_actors.flows.definition import InputTransform, Static, Suspend
from mill_actors.flows.expressions import Evaluator, ExpressionError, UnknownName
from mill_actors.flows.inputs import Inputs
from mill_actors.flows.program import Body, Step
from mill_actors.flows.state import Phase, decode_state
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode
from mill_actors.store.flow_versions import compiled, flow_by_hash
from mill_actors.store.queries import sql

_inputs = Inputs(Evaluator())


class Gate(Struct, frozen=True):
    """A step that asks, or will, and who may answer it."""

    step: str
    summary: str
    suspend: Suspend
    #: one of them is needed; None: nobody can say which
    groups: tuple[str, ...] | None = ()

    @property
    def is_open_to_all(self) -> bool:
        """Whether a link is enough, without a name."""
        told = self.suspend
        return not (told.user_auth_required or told.self_approval_disabled or self.groups != ())


class Asked(Struct, frozen=True):
    """A body of a flow that an answer is for, and the steps that it may be an answer to."""

    run: str
    root: str
    #: of the whole flow, as its starter
    path: str
    created_by: str
    #: the version, by its hash
    flow: str
    #: it waits now, for an answer to the only gate there is; else it is kept for one of them
    waits: bool
    gates: tuple[Gate, ...]


class Given(Struct, frozen=True):
    """An answer that was given; `step` is None while it is kept for whichever asks."""

    resume_id: int
    approver: str
    approved: bool
    step: str | None

    def is_heard_by(self, gate: Gate | None) -> bool:
        """Whether it is an answer to a step, as far as that is known."""
        return self.step is None or (gate is not None and self.step == gate.step)


def asked(connection: Connection, workspace: str, run: str) -> Asked:
    """Return what a body of a flow asks, and lock it until the transaction ends; raise `JobNotFound`."""
    told = {"workspace": workspace, "id": run}
    row = connection.execute(sql.lock_asked_run, told).fetchone()
    if row is None:
        row = connection.execute(sql.asked_flow, told).fetchone()
    text = None if row is None else flow_by_hash(connection, workspace, row[0])
    if row is None or text is None:
        raise JobNotFound(run)
    flow, address, state, root, path, created_by, args = row
    body = compiled(text).program.bodies[address]
    waits, steps = _asking(body, state)
    gates = tuple(
        Gate(
            step.id,
            step.module.summary,
            suspend,
            _groups(suspend.user_groups_required, args if address == "" else None),
        )
        for step in steps
        if (suspend := step.module.suspend) is not None and suspend.required_events
    )
    return Asked(run, root, path, created_by, flow, waits, gates)


def _asking(body: Body, state: str | None) -> tuple[bool, Sequence[Step]]:
    # Nothing comes after the last step: it does not ask.
    if state is None:
        return False, body.steps[:-1]
    told = decode_state(state)
    if told.phase is Phase.SUSPENDED:
        return True, body.steps[told.at - 1 : told.at]
    return False, body.steps[max(told.at - 1, 0) : -1]


class _Given:
    """What an expression for groups sees: what the flow was given."""

    def __init__(self, args: str | None) -> None:
        self._args = args

    def value(self, name: str) -> bytes:
        if name != "flow_input" or self._args is None:
            raise UnknownName(name)
        return self._args.encode()


def _groups(told: InputTransform | None, args: str | None) -> tuple[str, ...] | None:
    if told is None:
        return ()
    try:
        value = decode(_inputs.value(told, _Given(args)))
    except (ExpressionError, ValueError):
        return None
    if value is None and isinstance(told, Static):
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return None
    return tuple(value)


def step_said(connection: Connection, run: str, step: str) -> dict[str, Any]:
    """Return what a step that asks returned about it: `description`, `default_args` …; {}: nothing."""
    row = connection.execute(sql.step_result, {"run": run, "step": step}).fetchone()
    value = None if row is None or row[0] is None else decode(row[0])
    return value if isinstance(value, dict) else {}


def answers(connection: Connection, run: str) -> list[Given]:
    """Return the answers that a body was given so far, oldest first."""
    rows = connection.execute(sql.answers, {"run": run}).fetchall()
    return [Given(*row) for row in rows]


def flow_summary(connection: Connection, workspace: str, digest: str) -> str:
    """Return what a version says it is."""
    row = connection.execute(sql.flow_summary, {"workspace": workspace, "hash": digest}).fetchone()
    return "" if row is None else row[0]


def signature(connection: Connection, workspace: str, job: str, resume_id: int, approver: str) -> str:
    """Return what stands in a link that answers for a job."""
    row = connection.execute(sql.workspace_key, {"workspace": workspace}).fetchone()
    if row is None:
        raise JobNotFound(job)
    key = hashlib.sha256(b"mill approvals\0" + bytes(row[0])).digest()
    message = UUID(job).bytes + resume_id.to_bytes(4, "big") + approver.encode()
    return hmac.digest(key, message, "sha256").hex()


def form_of(gate: Gate) -> Any:
    """Return the JSON Schema of what an answer should hold."""
    form = gate.suspend.resume_form
    return form.get("schema") if isinstance(form, dict) else None


def conditions(gate: Gate) -> dict[str, Any] | None:
    """Return who may answer, as Windmill tells it."""
    if gate.is_open_to_all:
        return None
    return {
        "user_auth_required": True,
        "user_groups_required": list(gate.groups or ()),
        "self_approval_disabled": gate.suspend.self_approval_disabled,
    }
