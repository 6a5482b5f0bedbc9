"""The whole life of jobs against a model in a dictionary: any moves, in any order, by three workers who
also say what is long out of date. After each move database and model agree on every job.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec import Struct

from mill_actors.errors import JobNotFound
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.lifecycle import Action, State, move
from mill_actors.jobs.outcome import Verdict
from mill_actors.store.claims import release_jobs
from mill_actors.store.jobs import cancel_job, expire_jobs
from mill_actors.store.nodes import MAX_RESCUES, rescue_node
from mill_actors.store.settlement import Retrial, settle
from tests.store.floor import Floor, Hand, outcome

VERDICTS = {Verdict.SUCCESS: Action.SUCCEED, Verdict.FAILURE: Action.FAIL, Verdict.CANCELLED: Action.CANCEL}


class Model(Struct):
    """What we think of one job."""

    priority: int
    place: int
    state: State = State.QUEUED
    claim: str | None = None
    hand: int | None = None
    attempt: int = 1
    rescues: int = 0
    is_cancelling: bool = False

    def act(self, action: Action) -> None:
        self.state = move(self.state, action)
        if self.state is not State.RUNNING:
            self.claim = self.hand = None


class Jobs(RuleBasedStateMachine):
    """Rules are what people and workers do."""

    floor: Floor
    hands: list[Hand]

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, Model] = {}
        self.said: list[ClaimedJob] = []
        self.places = itertools.count()

    @initialize()
    def clean(self) -> None:
        for table in ("queue", "completed_job", "job_attempt"):
            self.floor.do(f"delete from mill.{table}")

    # -- people --------------------------------------------------------------------

    @rule(priorities=st.lists(st.integers(0, 2), min_size=1, max_size=4))
    def submit(self, priorities: list[int]) -> None:
        for priority in priorities:
            job = self.floor.submit(priority=priority)
            self.models[job] = Model(priority, next(self.places))

    @rule(data=st.data(), force=st.booleans())
    def cancel(self, data: st.DataObject, force: bool) -> None:
        if not self.models:
            return
        job = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[job]
        try:
            became = cancel_job(self.floor.connection, "default", job, by="u/ann", force=force)
        except JobNotFound:
            assert model.state.is_final
            return
        if model.state is State.RUNNING and not force:
            assert became == "requested"
            model.is_cancelling = True
        else:
            assert became == "cancelled"
            model.act(Action.CANCEL)

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        waiting = sorted(job for job, model in self.models.items() if model.state is State.QUEUED)
        late = data.draw(st.lists(st.sampled_from(waiting), unique=True, max_size=2)) if waiting else []
        self.floor.do("update mill.queue set expires_at = now() where id = any (%s::uuid[])", late)
        assert set(expire_jobs(self.floor.connection)) == set(late)
        for job in late:
            self.models[job].act(Action.EXPIRE)

    # -- workers -------------------------------------------------------------------

    @rule(number=st.integers(0, 2), limit=st.integers(1, 5))
    def claim(self, number: int, limit: int) -> None:
        order = sorted(
            (job for job, model in self.models.items() if model.state is State.QUEUED),
            key=lambda job: (-self.models[job].priority, self.models[job].place),
        )
        wanted = (
            list(itertools.takewhile(lambda job: not self.models[job].rescues, order[:limit])) or order[:1]
        )
        jobs = self.hands[number].claim(limit)
        assert [job.id for job in jobs] == wanted
        self.said += jobs
        for job in jobs:
            model = self.models[job.id]
            assert (job.attempt, job.rescues) == (model.attempt, model.rescues)
            model.act(Action.CLAIM)
            model.claim, model.hand = job.claim, number

    def some(self, data: st.DataObject) -> tuple[list[ClaimedJob], set[str]]:
        """Choose jobs that were ever claimed, each once, and name those whose claim is out of date."""
        if not self.said:
            return [], set()
        chosen = data.draw(
            st.lists(st.sampled_from(range(len(self.said))), unique_by=lambda n: self.said[n].id, max_size=4)
        )
        jobs = [self.said[number] for number in chosen]
        return jobs, {job.id for job in jobs if self.models[job.id].claim != job.claim}

    @rule(data=st.data(), number=st.integers(0, 2), verdict=st.sampled_from(list(Verdict)))
    def finish(self, data: st.DataObject, number: int, verdict: Verdict) -> None:
        jobs, stale = self.some(data)
        assert self.hands[number].finish(*jobs, verdict=verdict).stale == stale
        for job in jobs:
            if job.id not in stale:
                self.models[job.id].act(VERDICTS[verdict])

    @rule(data=st.data(), number=st.integers(0, 2))
    def retry(self, data: st.DataObject, number: int) -> None:
        jobs, stale = self.some(data)
        told = [Retrial(outcome(job, Verdict.FAILURE), 0.0) for job in jobs]
        assert settle(self.hands[number].connection, [], told).stale == stale
        # All of a batch fall due at the same moment, so their ids decide.
        for job in sorted(jobs, key=lambda job: job.id):
            model = self.models[job.id]
            if job.id in stale:
                continue
            if model.is_cancelling:
                model.act(Action.CANCEL)
            else:
                model.act(Action.RETRY)
                model.attempt += 1
                model.place = next(self.places)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        jobs, stale = self.some(data)
        released = release_jobs(self.floor.connection, [(job.id, job.claim) for job in jobs])
        back = {job.id for job in jobs if job.id not in stale and not self.models[job.id].is_cancelling}
        assert {job for job, _ in released} == back
        for job in jobs:
            if job.id not in stale:
                self.models[job.id].act(Action.RELEASE if job.id in back else Action.CANCEL)

    @rule(number=st.integers(0, 2))
    def die(self, number: int) -> None:
        rescue = rescue_node(self.floor.connection, self.hands[number].node, None)
        assert rescue is not None
        held = {job: model for job, model in self.models.items() if model.hand == number}
        cancelled = {job for job, model in held.items() if model.is_cancelling}
        lost = {job for job, model in held.items() if model.rescues >= MAX_RESCUES} - cancelled
        assert (set(rescue.cancelled), set(rescue.lost)) == (cancelled, lost)
        assert set(rescue.requeued) == set(held) - cancelled - lost
        for job, model in held.items():
            action = Action.CANCEL if job in cancelled else Action.LOSE if job in lost else Action.RESCUE
            model.act(action)
            model.rescues += 1

    # -- what is always so -----------------------------------------------------------

    @invariant()
    def they_agree(self) -> None:
        rows = self.floor.rows(
            """
            select id::text, case when running then 'running' else 'queued' end, claim::text, attempt, rescues,
              cancel_requested_at is not null
            from mill.queue
            union all
            select id::text, status, null, attempt, rescues, null from mill.completed_job
            """
        )
        told: dict[str, Any] = {row[0]: row[1:] for row in rows}
        assert len(told) == len(rows), "a job is in two places"
        assert told == {
            job: (
                model.state, model.claim, model.attempt, model.rescues,
                None if model.state.is_final else model.is_cancelling,
            )
            for job, model in self.models.items()
        }  # fmt: skip

    @invariant()
    def every_attempt_but_the_last_is_kept(self) -> None:
        (kept,) = self.floor.row("select count(*) from mill.job_attempt")
        assert kept == sum(model.attempt - 1 for model in self.models.values())


@pytest.mark.slow
def test_the_store_does_what_the_model_does(floor: Floor) -> None:
    class Here(Jobs):
        pass

    Here.floor, Here.hands = floor, [floor.hand() for _ in range(3)]
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
