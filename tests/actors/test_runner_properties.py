"""Whatever happens in whatever order: no job is lost, none ends twice, no log is somebody else's.

The process of this test is honest about permits and slow about answers: what it has said lies
in the pipe until the test delivers it, so that every message can cross every other.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from pykka import ActorDeadError

from mill_actors.actors import runner as runner_module
from mill_actors.actors.messages import Cancel, Drain, Run, Tick
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Verdict
from mill_actors.jobs.retry import ConstantRetry, RetryPolicy
from mill_actors.jobs.script import ScriptOptions
from supervisors import stop
from tests.actors.stage import Stage, Stager, make_job

#: What happens how often. What ends a process is rare, or nothing would happen before.
WEIGHTS = {
    "run": 60, "begin": 150, "print": 100, "answer": 120, "deliver": 60, "tick": 20, "cancel": 20,
    "again": 60, "timeout": 3, "drain": 2, "nonsense": 2, "exit": 8,
}  # fmt: skip
#: What still happens between the kill of a process and the news of its death: anything.
AFTER_A_KILL = ["begin", "answer", "deliver", "run", "again", "cancel", "tick", "drain", "exit", "exit"]


class World:
    """A Runner, its process, and the account of every job."""

    def __init__(self, on: Stage) -> None:
        self.on = on
        self.given: Counter[str] = Counter()
        self.jobs: dict[str, ClaimedJob] = {}
        self.in_process: ClaimedJob | None = None
        self.begun: set[str] = set()
        self.pipe: list[bytes] = []
        self.printed: dict[str, str] = {}
        self.answered: set[str] = set()
        self.is_over = False
        self.is_dead = False
        self.seen_returned = 0
        #: Who may be cancelled, whose time may be over, and that somebody else may have killed.
        self.asked: set[str] = set()
        self.late: set[str] = set()
        self.is_attacked = False

    def step(self, what: str, how: int) -> None:
        if self.is_over:
            return
        if not self.on.ref.is_alive():
            self.is_over = True
            return
        getattr(self, what)(how)
        if not self.is_over:
            self.settle()

    def settle(self) -> frozenset[str]:
        try:
            return self.on.settle()
        except ActorDeadError:
            self.is_over = True
            return frozenset()

    # -- from above ----------------------------------------------------------------

    def run(self, count: int) -> None:
        jobs = [make_job(timeout_seconds=1e9) for _ in range(count % 4 + 1)]
        self.jobs |= {job.id: job for job in jobs}
        self.given.update(job.id for job in jobs)
        self.on.ref.tell(Run(jobs))

    def again(self, _: int) -> None:
        """The Puller found no other Runner for what came back."""
        returned = self.on.returned
        if len(returned) > self.seen_returned:
            self.seen_returned = len(returned)
            job = returned[-1]
            self.given[job.id] += 1
            self.on.ref.tell(Run([job]))

    def cancel(self, mask: int) -> None:
        latest = list(self.jobs)[-8:]
        wanted = {job for bit, job in enumerate(latest) if mask >> bit & 1}
        self.asked |= wanted
        self.on.ref.tell(Cancel(frozenset(wanted)))

    def tick(self, _: int) -> None:
        self.on.ref.tell(Tick())

    def drain(self, _: int) -> None:
        self.on.ref.tell(Drain())

    def timeout(self, _: int) -> None:
        if self.in_process is not None:
            self.late.add(self.in_process.id)
        for job in self.jobs.values():
            job.timeout_seconds = 1e-9
        self.on.ref.tell(Tick())
        self.settle()
        for job in self.jobs.values():
            job.timeout_seconds = 1e9

    def nonsense(self, _: int) -> None:
        if self.is_free:
            self.pipe.append(b"nonsense")

    # -- in the process ------------------------------------------------------------

    @property
    def is_free(self) -> bool:
        return not self.is_dead

    def begin(self, _: int) -> None:
        if not self.is_free or self.in_process is not None:
            return
        permits = self.on.process.take_permits(1)
        if permits:
            frame = next(f for f in self.on.process.frames if f[0] == "run" and f[1] == permits[0])
            self.in_process = self.jobs[frame[2]]
            self.begun.add(self.in_process.id)
            self.printed[self.in_process.id] = ""

    def print(self, count: int) -> None:
        if self.is_free and self.in_process is not None:
            text = f"{self.in_process.id[-4:]}é" * (count % 8)
            self.on.process.print(text)
            self.printed[self.in_process.id] += text

    def answer(self, dice: int) -> None:
        job = self.in_process
        if not self.is_free or job is None:
            return
        self.pipe.append(self.on.process.done(job) if dice % 4 else self.on.process.fail(job))
        self.answered.add(job.id)
        self.in_process = None

    def deliver(self, _: int) -> None:
        if self.pipe:
            lines, self.pipe = self.pipe, []
            self.on.process.say(*lines)

    def exit(self, _: int = 0) -> None:
        self.is_attacked |= self.on.process.kills == 0
        self.deliver(0)
        self.is_dead = self.is_over = True
        self.on.process.exit(signal=9)

    # -- the end -------------------------------------------------------------------

    def finish(self) -> None:
        """Let the process come to an end, one way or the other."""
        for _ in range(200):
            if self.is_over or not self.on.ref.is_alive():
                break
            if self.on.process.kills:
                self.exit()
                break
            self.step("begin", 0)
            self.step("answer", 1)
            self.step("deliver", 0)
            if self.in_process is None and not self.settle():
                break
        if self.is_over:
            self.on.ended()
        stop(self.on.ref)


@given(seed=st.integers(0, 1 << 32), length=st.integers(1, 120), small_file=st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_job_ends_once(
    stage: Stager, monkeypatch: pytest.MonkeyPatch, seed: int, length: int, small_file: bool
) -> None:
    random = Random(seed)  # hypothesis' own lists seldom get long enough for a story
    monkeypatch.setattr(runner_module, "MAX_CAPTURE_BYTES", 50 if small_file else 1 << 30)
    policy = RetryPolicy(constant=ConstantRetry(1, 0.0))
    on = stage(options=ScriptOptions(retry=policy))
    world = World(on)
    for step in random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=length):
        happens = random.choice(AFTER_A_KILL) if on.process.kills else step
        note(happens)
        world.step(happens, random.randrange(256) & random.randrange(256))
    world.finish()

    ended = Counter(o.job.id for o in [*on.finished, *on.retried])
    gone = Counter(job.id for job in [*on.returned, *on.released])
    assert ended + gone == world.given, "each job leaves as often as it came"
    assert max(ended.values(), default=0) <= 1
    for outcome in on.finished:
        if outcome.verdict is Verdict.SUCCESS:
            assert outcome.job.id in world.answered
        if outcome.verdict is Verdict.FAILURE:
            assert outcome.job.id in world.begun, "nobody fails who has not begun"
        if outcome.verdict is Verdict.CANCELLED:
            assert outcome.job.id in world.asked
    for job, error in on.errors().items():
        if error["name"] == "Timeout":
            assert job in world.late, "nobody is blamed for another one's time"
        if error["name"] in {"ProcessDied", "ProtocolBroken"}:
            assert world.is_attacked, "nobody dies for another one's cancel"
    returned_last = {job.id for job in on.returned} - set(ended)
    assert not returned_last & world.answered, "an answer counts"
    logs = on.logs()
    for job in set(ended) & world.answered:
        assert logs.get(job, "") == world.printed[job]
    for job, text in logs.items():
        assert text.replace("\ufffd", "") in world.printed.get(job, ""), "nobody has another one's output"
