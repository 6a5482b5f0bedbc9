"""Rehearsals with Python functions as scripts, driven to the end in any order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from mill_actors.flows.effects import NewJob
from mill_actors.flows.expressions import Evaluator
from mill_actors.flows.program import compile_flow
from mill_actors.flows.rehearsal import Rehearsal, World
from mill_actors.flows.state import Resume
from mill_actors.flows.version import FlowOptions, FlowVersion

Json = Any
Script = Callable[[str, Json, int], tuple[bool, Json]]
EVALUATOR = Evaluator()


def version(value: Json, path: str = "f/tests/flow") -> FlowVersion:
    """Make a flow's value ready to run."""
    return FlowVersion("tests", path, "0", compile_flow(json.dumps(value).encode()), FlowOptions())


def world(flows: Mapping[str, Json]) -> World:
    known = {path: version(value, path) for path, value in flows.items()}
    return World(flow=known.get)


def run_job(rehearsal: Rehearsal, job: NewJob, script: Script) -> None:
    good, result = script(job.script.content, json.loads(job.args), job.attempt)
    rehearsal.finish(job.id, "success" if good else "failure", json.dumps(result).encode())


def step(
    rehearsal: Rehearsal,
    script: Script,
    answer: Callable[[str], str] = lambda _: "approve",
    choose: Callable[[int], int] = lambda _: 0,
) -> bool:
    """Do one of the things that can happen now; return whether there was any."""
    moves: list[Callable[[], None]] = [
        lambda job=job: run_job(rehearsal, job, script)  # type: ignore[misc]
        for job in rehearsal.ready
    ]
    moves += [lambda run=run: rehearsal.wake(run.id) for run, _ in rehearsal.sleeping]  # type: ignore[misc]
    for run in rehearsal.suspended:
        match answer(rehearsal.stored.suspended[run.id]):
            case "time_out":
                moves.append(lambda run=run: rehearsal.time_out(run.id))  # type: ignore[misc]
            case said:
                resume = Resume(said == "approve", b'"yes"', "ruben")
                moves.append(lambda run=run, resume=resume: rehearsal.answer(run.id, resume))  # type: ignore[misc]
    if not moves:
        return False
    moves[choose(len(moves)) if len(moves) > 1 else 0]()
    return True
