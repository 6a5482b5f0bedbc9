"""What begins a job again that has been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mill_actors.errors import InvalidArgs
from mill_actors.flows.definition import ByAi, InputTransform, Javascript, Static
from mill_actors.flows.expressions import Evaluator, UnknownName
from mill_actors.jobs.jsons import decode, encode
from mill_actors.jobs.script import Script, is_preview
from mill_actors.store.connection import Connection
from mill_actors.store.flow_versions import FlowText, flow_by_hash
from mill_actors.store.jobs import Job, get_job
from mill_actors.store.previews import put_preview
from mill_actors.store.runnables import flow_version
from mill_actors.store.scripts import script_by_hash
from mill_actors.store.submission import Submission

_evaluator = Evaluator()


def plan_rerun(
    connection: Connection,
    workspace: str,
    job: str,
    *,
    latest: bool = False,
    transforms: Mapping[str, InputTransform] | None = None,
) -> Submission:
    """Return what runs a job once more, with its arguments and its version, or the `latest` of its path.

    `transforms` make further arguments, of `job.input`, `job.id`, `job.path`, `job.created_by` and
    `job.scheduled_for`. Raises `JobNotFound`, `InvalidArgs`, and `ExpressionError`.
    """
    old = get_job(connection, workspace, job)
    if old.is_flow:
        version = flow_version(connection, workspace, old.script)
        if version is not None and version[0] != old.path:
            raise InvalidArgs(old.id, "is a part of a flow's run: run the whole flow again")
    if is_preview(old.script):
        _keep(connection, old)
    return Submission(
        workspace=workspace,
        path=old.path,
        kind="flow" if old.is_flow else "script",
        hash=None if latest and not is_preview(old.script) else old.script,
        args=_args(old, transforms or {}),
    )


def _keep(connection: Connection, old: Job) -> None:
    """Let a preview's version be there for as long as the job that begins now."""
    what: FlowText | Script | None = (flow_by_hash if old.is_flow else script_by_hash)(
        connection, old.workspace, old.script
    )
    if what is not None:
        put_preview(connection, what, old.created_by)


class _Nothing:
    def value(self, name: str) -> bytes:
        raise UnknownName(name)


def _args(old: Job, transforms: Mapping[str, InputTransform]) -> bytes:
    if not transforms:
        return old.args.encode()
    args: dict[str, Any] = decode(old.args)
    told = {
        "id": old.id,
        "input": args,
        "path": old.path,
        "created_by": old.created_by.removeprefix("u/"),
        "scheduled_for": old.scheduled_for,
    }
    job = {"job": encode(told)}
    return encode(args | {name: decode(_value(each, job)) for name, each in transforms.items()})


def _value(transform: InputTransform, job: Mapping[str, bytes]) -> bytes:
    match transform:
        case Static(value):
            return bytes(value)
        case Javascript(expr):
            return _evaluator.evaluate(expr, _Nothing(), job)
        case ByAi():
            raise InvalidArgs("ai", "inputs filled in by a model are not run here")
