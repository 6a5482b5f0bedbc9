from __future__ import annotations

import json
import math
import os
import random
from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mill_actors.flows import interpreter
from mill_actors.flows.effects import NewJob
from mill_actors.flows.rehearsal import Rehearsal
from mill_actors.flows.state import decode_state
from mill_actors.flows.stored import Stored
from tests.flows.generated import answer_of, evaluate, flows, run_script
from tests.flows.oracle import Oracle
from tests.flows.theatre import EVALUATOR, step, version, world

EXAMPLES = int(os.environ.get("MILL_TEST_EXAMPLES", "2000"))
MOST_MOVES = 3000
ANY_FLOW = flows()
quick = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
rarely = settings(quick, max_examples=max(EXAMPLES // 8, 1))
INPUT = {"n": 2}

pytestmark = pytest.mark.timeout(60 + EXAMPLES / 50)


def plain(value: Any) -> Any:
    """What the oracle says too: of an error its name, and what it includes."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    error = value.get("error")
    if isinstance(error, dict) and "name" in error:
        return {"error": {name: plain(error[name]) for name in ("name", "result") if name in error}}
    return {name: plain(item) for name, item in value.items()}


def place_of(step: str) -> float:
    """Where a step is in its body: ids are given in that order."""
    name = step.partition("~")[0]
    if name == "failure":
        return math.inf
    return int(name.removesuffix("-v")[1:]) + (0.5 if name.endswith("-v") else 0)


class Stage:
    """A rehearsal, and what was seen of it."""

    def __init__(self, example: Any, seed: int = 0, *, fetches: bool = False, keeps: bool = False) -> None:
        flow, inner = example
        self.flow, self.world = version(flow), world(inner)
        self.chance = random.Random(seed)
        self.commits: list[Stored] = []
        self.keeps = keeps
        self.longest = 0
        self.ran: Counter[str] = Counter()
        self.started: Counter[tuple[str, str, int | None, int]] = Counter()
        self.rehearsal = Rehearsal(
            self.flow, json.dumps(INPUT).encode(), self.world,
            evaluator=EVALUATOR, fetches=fetches, on_commit=self.on_commit,
        )  # fmt: skip

    def on_commit(self, rehearsal: Rehearsal) -> None:
        for run in rehearsal.stored.runs.values():
            self.longest = max(self.longest, len(run.state))
        if self.keeps:
            self.commits.append(rehearsal.snapshot())

    def script(self, code: str, args: Any, attempt: int) -> tuple[bool, Any]:
        return run_script(code, args, attempt)

    def play(self) -> None:
        seen: dict[str, NewJob] = {}
        for _ in range(MOST_MOVES):
            for job in self.rehearsal.ready:
                if job.id not in seen:
                    seen[job.id] = job
                    self.ran[job.leaf.id] += 1
                    self.started[job.run.id, job.step.id, job.iteration, self.tries(job)] += 1
            if not step(self.rehearsal, self.script, answer_of, self.chance.randrange):
                return
        pytest.fail("it does not end")

    def tries(self, job: NewJob) -> int:
        return decode_state(self.rehearsal.stored.runs[job.run.id].state).tries

    @property
    def ended(self) -> tuple[str | None, Any]:
        result = self.rehearsal.result
        return self.rehearsal.status, None if result is None else plain(json.loads(result))


def played(example: Any, seed: int = 0, *, fetches: bool = False) -> Stage:
    stage = Stage(example, seed, fetches=fetches)
    stage.play()
    return stage


@quick
@given(ANY_FLOW, st.integers(0, 2**16))
def test_any_flow_ends_as_the_oracle_says(example: Any, seed: int) -> None:
    value, inner = example
    stage = played(example, seed, fetches=seed % 2 == 1)
    oracle = Oracle(evaluate, run_script, answer_of, inner, Counter())
    out = oracle.flow(value, INPUT)
    assert stage.ended == (out.status, plain(out.result))
    assert stage.ran == oracle.ran
    assert all(times == 1 for times in stage.started.values())
    assert stage.longest < 200
    assert not stage.rehearsal.ready
    assert not stage.rehearsal.stored.runs
    rows = stage.rehearsal.rows
    assert all(row.status is not None for row in rows)
    places = Counter((row.parent, row.step, row.iteration) for row in rows)
    assert all(times == 1 for times in places.values())
    for parent in {row.parent for row in rows}:
        begun = [place_of(row.step) for row in rows if row.parent == parent]
        assert begun == sorted(begun)


@rarely
@given(ANY_FLOW, st.integers(0, 2**16))
def test_dropped_after_any_commit_it_ends_the_same(example: Any, seed: int) -> None:
    with patch.object(interpreter, "MOST_TURNS", 1 + seed % 4):
        undisturbed = Stage(example, seed, fetches=True, keeps=True)
        undisturbed.play()
    commits = undisturbed.commits
    for stored in random.Random(seed).sample(commits, min(len(commits), 6)):
        disturbed = Stage(example, seed)
        lost = [job for job in stored.rows if stored.rows[job].status is None]
        lost = [job for job in lost if random.Random(f"{seed}{job}").random() < 0.4]
        disturbed.rehearsal = Rehearsal.resume(
            disturbed.flow, stored, disturbed.world, lost=lost, evaluator=EVALUATOR, fetches=seed % 3 == 0
        )
        disturbed.play()
        assert disturbed.ended == undisturbed.ended


@rarely
@given(ANY_FLOW, st.integers(0, 2**16), st.integers(0, 2**16))
def test_the_order_in_which_jobs_end_does_not_matter(example: Any, one: int, other: int) -> None:
    first, second = played(example, one), played(example, other)
    assert first.ended == second.ended


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("count", [10, 2000])
def test_the_state_does_not_grow(count: int, parallel: bool) -> None:
    leaf = {"type": "rawscript", "language": "python3", "content": "echo", "input_transforms": {}}
    loop = {"type": "forloopflow", "iterator": {"type": "static", "value": count}, "parallel": parallel}
    flow = {"modules": [{"id": "loop", "value": loop | {"modules": [{"id": "s1", "value": leaf}]}}]}
    stage = Stage((flow, {}))
    while step(stage.rehearsal, run_script):
        pass
    assert stage.ended == ("success", [None] * count)
    assert stage.longest < 100
