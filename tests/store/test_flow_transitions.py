"""Flows whose steps go through the queue, end to end on a real database: transitions within a settle.

A `Worker` claims with the engine's claim, "runs" scripts as Python functions, and settles with the
engine's settle. It remembers nothing between two settles. Time passes when a test says so.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mill_actors.errors import JobNotFound, StoreRefused
from mill_actors.flows.effects import NewJob
from mill_actors.flows.expressions import Evaluator
from mill_actors.flows.program import Program
from mill_actors.flows.state import Phase
from mill_actors.flows.version import FlowOptions
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome, Verdict
from mill_actors.store import claims, flow_control, jobs, nodes, settlement
from mill_actors.store.arrays import JsonArray
from mill_actors.store.connection import Connection
from mill_actors.store.flow_rows import wake_flows
from mill_actors.store.flow_values import CHUNK_ITEMS, Library
from mill_actors.store.flow_versions import FlowText, compiled, deploy_flow, flow_by_hash, make_flow
from mill_actors.store.holder import Holder
from mill_actors.store.resources import put_resource
from mill_actors.store.settlement import FlowPart, Retrial, Settled
from mill_actors.store.submission import Restart, Submission, submit
from mill_actors.store.transitions import FlowWorker
from mill_actors.store.variables import put_variable
from tests.flows.generated import answer_of, evaluate, flows, run_script
from tests.flows.oracle import Oracle
from tests.store.floor import Floor, eventually

Json = Any
Script = Callable[[str, Json, int], tuple[bool, Json]]
EXAMPLES = int(os.environ.get("MILL_TEST_EXAMPLES", "0"))
EVALUATOR = Evaluator()
PATH = "f/flows/test"
TAGS = ("flow", "python3")
MOST_TURNS = 3000
ANY_FLOW = flows()
#: Every example on the same tables: what one leaves behind would be the next one's.
generated = settings(
    deadline=None,
    database=None,
    derandomize=not EXAMPLES,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + EXAMPLES)]


# -- flows in few words --------------------------------------------------------------------


def js(expr: str) -> Json:
    return {"type": "javascript", "expr": expr}


def static(value: Json) -> Json:
    return {"type": "static", "value": value}


def raw(name: str, code: str = "echo", /, x: Json = None, **options: Json) -> Json:
    """A script on `x`, which is an expression if it is text."""
    inputs = {"x": js(x) if isinstance(x, str) else static(x)}
    value = {"type": "rawscript", "language": "python3", "content": code, "input_transforms": inputs}
    for name_of in ("tag", "concurrent_limit", "custom_concurrency_key"):
        if name_of in options:
            value[name_of] = options.pop(name_of)
    return {"id": name, "value": value, **options}


def script(name: str, path: str, x: Json = None, **options: Json) -> Json:
    inputs = {"x": js(x) if isinstance(x, str) else static(x)}
    return {"id": name, "value": {"type": "script", "path": path, "input_transforms": inputs}, **options}


def identity(name: str, **options: Json) -> Json:
    return {"id": name, "value": {"type": "identity"}, **options}


def loop(name: str, over: Json, *modules: Json, **options: Json) -> Json:
    value: Json = {"type": "forloopflow", "modules": modules, "skip_failures": False}
    value["iterator"] = js(over) if isinstance(over, str) else static(over)
    for name_of in ("parallel", "parallelism", "skip_failures"):
        if name_of in options:
            value[name_of] = options.pop(name_of)
    return {"id": name, "value": value, **options}


def repeat(name: str, *modules: Json, **options: Json) -> Json:
    value = {
        "type": "whileloopflow",
        "modules": modules,
        "skip_failures": options.pop("skip_failures", False),
    }
    return {"id": name, "value": value, **options}


def one(name: str, *branches: tuple[str, list[Json]], default: Sequence[Json] = (), **options: Json) -> Json:
    told = [{"expr": expr, "modules": modules} for expr, modules in branches]
    return {"id": name, "value": {"type": "branchone", "branches": told, "default": default}, **options}


def every(name: str, *branches: list[Json], parallel: bool = False, **options: Json) -> Json:
    forgiven = options.pop("forgiven", ())
    told = [{"modules": modules, "skip_failure": n in forgiven} for n, modules in enumerate(branches)]
    return {"id": name, "value": {"type": "branchall", "branches": told, "parallel": parallel}, **options}


def nested(name: str, path: str = "f/flows/inner", n: Json = None, **options: Json) -> Json:
    inputs = {"n": js(n) if isinstance(n, str) else static(n)}
    return {"id": name, "value": {"type": "flow", "path": path, "input_transforms": inputs}, **options}


def again(attempts: int = 1, seconds: float = 0, **options: Json) -> Json:
    return {"constant": {"attempts": attempts, "seconds": seconds}, **options}


def stop(expr: str = "true", **options: Json) -> Json:
    return {"expr": expr, "skip_if_stopped": False, **options}


def flow(*modules: Json, **options: Json) -> Json:
    return {"modules": modules, **options}


def perform(code: str, args: Json, attempt: int) -> tuple[bool, Json]:
    """The scripts of these tests: `fail 2` fails in its first two attempts."""
    what, _, number = code.partition(" ")
    given = args.get("x")
    failed = False, {"error": {"name": "Boom", "message": code}}
    match what:
        case "fail":
            return failed if attempt <= int(number or 99) else (True, given)
        case "odd":
            return failed if given % 2 else (True, given)
        case "double":
            return True, given * 2
        case "sum":
            return True, sum(given)
        case "count":
            return True, len(given)
        case "attempt":
            return True, attempt
        case "recover":
            return True, {"recover": True, "got": given}
        case _:
            return True, given


# -- the mill ------------------------------------------------------------------------------


class Dropped(Exception):
    """A worker is gone."""


class Mill:
    """A database with flows, and all that is done to them from outside."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self._contents: dict[str, str] = {}
        self._programs: dict[str, Program] = {}

    @property
    def connection(self) -> Connection:
        return self.floor.connection

    def clear(self) -> None:
        self.floor.clear()
        for table in (
            "flow_run", "flow_item", "flow_resume", "flow_path", "flow", "variable", "resource", "result_cache",
            "deletion",
        ):  # fmt: skip
            self.floor.do(f"delete from mill.{table}")

    def deploy(
        self, value: Json, path: str = PATH, options: FlowOptions | None = None, tag: str | None = None
    ) -> FlowText:
        text = make_flow("default", path, json.dumps(value).encode(), options=options, tag=tag)
        deploy_flow(self.connection, text, "u/admin")
        return text

    def submit(self, args: Json = None, path: str = PATH, **options: Any) -> str:
        told = Submission(path=path, args=args or {}, **options)
        return submit(self.connection, [told]).receipts[0].id

    def content(self, digest: str) -> str:
        if digest not in self._contents:
            self._contents[digest] = self.floor.value(
                "select content from mill.script where hash = %s", digest
            )
        return self._contents[digest]

    def program(self, digest: str) -> Program:
        if digest not in self._programs:
            text = flow_by_hash(self.connection, "default", digest)
            assert text is not None
            self._programs[digest] = compiled(text).program
        return self._programs[digest]

    def worker(self, **options: Any) -> Worker:
        return Worker(self, **options)

    # -- what passes outside ---------------------------------------------------------------

    def suspended(self) -> list[tuple[str, str]]:
        """Return (run, the step whose approval it waits for)."""
        rows = self.floor.rows(
            "select id::text, flow, body, (state->>1)::integer from mill.flow_run "
            "where (state->>0)::integer = %s and wake_at > now() order by depth, id",
            int(Phase.SUSPENDED),
        )
        return [(run, self.program(digest).bodies[body].steps[at - 1].id) for run, digest, body, at in rows]

    def answer(self, run: str, *, approved: bool = True, value: Json = "yes", **told: Any) -> str:
        return flow_control.resume_flow(
            self.connection,
            "default",
            run,
            value,
            "ruben",
            approved=approved,
            resume_id=told.get("resume_id"),
        )

    def pass_time(self, answer: Callable[[str], str] = lambda _: "approve") -> bool:
        """Let everything that waits have its time, or its answer; False: nothing waits."""
        asking = self.suspended()
        for run, step in asking:
            said = answer(step)
            if said == "time_out":
                self.floor.do("update mill.flow_run set wake_at = now() where id = %s", run)
                self._let_wake(run)
            else:
                self.answer(run, approved=said == "approve")
        slept = self.floor.rows(
            "update mill.flow_run set wake_at = now() where (state->>0)::integer = %s and wake_at > now() "
            "returning id::text",
            int(Phase.SLEEPING),
        )
        for (run,) in slept:
            self._let_wake(run)
        later = self.floor.do(
            "update mill.queue set scheduled_for = now() where scheduled_for > now() and not is_flow"
        )
        return bool(asking or slept or later)

    def _let_wake(self, run: str) -> None:
        """The row to claim is the body's own, or that of the flow that somebody held whole."""
        self.floor.do(
            "update mill.queue q set scheduled_for = now() where q.scheduled_for > now() and q.id = ("
            "select case when exists (select from mill.queue o where o.id = r.id) then r.id else r.root end "
            "from mill.flow_run r where r.id = %s)",
            run,
        )

    # -- what became of it -----------------------------------------------------------------

    def ended(self, job: str) -> tuple[str, Json]:
        status, result = self.floor.row(
            "select status, result::text from mill.completed_job where id = %s", job
        )
        return status, json.loads(result)

    def children(self, parent: str, step: str | None = None) -> list[tuple[str, int | None, str, Json]]:
        """Return (step, iteration, status, result) of what has ended, in the order of the iterations."""
        rows = self.floor.rows(
            "select step, iteration, status, result::text from mill.completed_job "
            "where parent_job = %s and (%s::text is null or step = %s) order by iteration, completed_at, id",
            parent, step, step,
        )  # fmt: skip
        return [(name, number, status, json.loads(text)) for name, number, status, text in rows]

    def check_clean(self) -> None:
        """Nothing is left of any flow; no child is there twice."""
        for table in ("queue", "flow_run", "flow_item", "flow_resume", "concurrency_slot"):
            assert self.floor.value(f"select count(*) from mill.{table}") == 0, (
                f"something is left in {table}"
            )
        twice = self.floor.rows(
            "select parent_job, step, iteration, count(*) from mill.completed_job where parent_job is not null "
            "group by 1, 2, 3 having count(*) > 1"
        )
        assert twice == []
        assert self.floor.rows("select id from mill.completed_job group by id having count(*) > 1") == []

    def open(self) -> list[Any]:
        return [
            *self.floor.rows(
                "select id::text, path, is_flow, step, iteration, running, claim::text, scheduled_for - now() "
                "from mill.queue"
            ),
            *self.floor.rows("select id::text, body, state::text, woken, wake_at - now() from mill.flow_run"),
        ]

    def play(
        self, *workers: Worker, answer: Callable[[str], str] = lambda _: "approve", most: int = MOST_TURNS
    ) -> None:
        """Work until nothing is open."""
        for _ in range(most):
            moved = [worker.turn() for worker in workers]
            if not any(moved) and not self.pass_time(answer):
                break
        assert not self.floor.value("select exists (select from mill.queue)"), self.open()

    def run(self, value: Json, args: Json = None, **options: Any) -> tuple[str, Json]:
        """Deploy a flow, and run it to its end."""
        job = self.start(value, args, **options.pop("submission", {}))
        self.play(self.worker(**options))
        self.check_clean()
        return self.ended(job)

    def start(self, value: Json, args: Json = None, **options: Any) -> str:
        self.deploy(value)
        return self.submit(args, **options)

    def rescue(self, node: str) -> None:
        """A node is dead; it is not the jobs' fault that so many are."""
        nodes.rescue_node(self.connection, node, None)
        self.floor.do("update mill.queue set rescues = 0 where rescues > 0")


class Worker:
    """A worker of a node of its own. `library` None: it remembers nothing.

    `boundary` is called around every commit, with its number and where: before, after, and reply, which
    says whether the reply is lost.
    """

    def __init__(
        self,
        mill: Mill,
        *,
        perform: Script = perform,
        takes: bool = True,
        library: Library | None = None,
        chance: random.Random | None = None,
        boundary: Callable[[int, str], bool] | None = None,
        tags: Sequence[str] = TAGS,
        limit: int = 1000,
        connection: Connection | None = None,
    ) -> None:
        self.mill = mill
        self.connection = connection or mill.floor.connect()
        self.holder = Holder(new_id(), "w")
        self.hand: list[ClaimedJob] = []
        self.ran: Counter[str] = Counter()
        self.perform = perform
        self.takes = takes
        self.commits = 0
        self._library = library
        self._chance = chance
        self._boundary = boundary
        self._tags = tags
        self._limit = limit

    # -- pieces ----------------------------------------------------------------------------

    def claim(self) -> list[ClaimedJob]:
        limit = self._limit if self._chance is None else self._chance.randint(1, 3)
        claim = new_id()
        is_lost = self._pass("before")
        found = claims.claim_jobs(self.connection, self.holder, claim, self._tags, limit)
        is_lost = self._pass("after") or is_lost
        if self._pass("reply") or is_lost:
            found = claims.claimed_jobs(self.connection, self.holder, claim)
        self.commits += 1
        return found

    def outcome(self, job: ClaimedJob) -> Outcome:
        """Run a step."""
        assert job.step is not None
        code = self.mill.content(job.script)
        self.ran[job.path.rpartition("/")[2]] += 1
        good, result = self.perform(code, json.loads(job.args), job.attempt)
        verdict = Verdict.SUCCESS if good else Verdict.FAILURE
        return Outcome(job, verdict, json.dumps(result).encode(), 5, monotonic())

    def part(self, begun: Sequence[ClaimedJob] = (), claim: str | None = None) -> FlowPart:
        library = Library() if self._library is None else self._library
        return FlowPart(FlowWorker(self.holder, library, EVALUATOR, self._take), claim or new_id(), begun)

    def settle(
        self,
        finished: Sequence[Outcome],
        begun: Sequence[ClaimedJob] = (),
        retried: Sequence[Retrial] = (),
    ) -> Settled:
        """As a Completer does, also when the reply to its COMMIT is lost."""
        part = self.part(begun)
        with self.connection.transaction():
            done = settlement.settle(self.connection, finished, retried, (), part)
            self._pass("before")
        self._pass("after")
        if self._pass("reply"):
            ours = settlement.landed(self.connection, self.holder.worker, [o.job.id for o in finished])
            taken = claims.claimed_jobs(self.connection, self.holder, part.claim)
            left = [o for o in finished if o.job.id not in ours]
            part = self.part(begun) if taken or ours else part
            done = settlement.settle(self.connection, left, (), (), part)
            done = Settled(done.stale, done.awaited, done.admitted_tags, (*done.handed, *taken), done.ended)
        self.commits += 1
        return done

    def _take(self, job: NewJob, tag: str) -> bool:
        return self.takes and job.delay_seconds <= 0 and tag in self._tags

    def _pass(self, where: str) -> bool:
        return self._boundary is not None and self._boundary(self.commits, where)

    # -- a turn ----------------------------------------------------------------------------

    def turn(self) -> bool:
        """Claim, run, settle; False: there was nothing to do."""
        self.hand += self.claim()
        if not self.hand:
            return False
        # What was taken away and claimed again is here twice: the later claim is the one that holds.
        mine, self.hand = list({job.id: job for job in self.hand}.values()), []
        if self._chance is not None:
            self._chance.shuffle(mine)
            cut = self._chance.randint(1, len(mine))
            mine, self.hand = mine[:cut], mine[cut:]
        begun = [job for job in mine if job.is_flow]
        done = self.settle([self.outcome(job) for job in mine if not job.is_flow], begun)
        self.hand += done.handed
        for job in done.cancelled:
            self.hand += self.cancel(job).handed
        return True

    def cancel(self, job: ClaimedJob) -> Settled:
        part = self.part()
        return settlement.cancel_claimed_flow(self.connection, part.worker, part.claim, job)


@pytest.fixture
def mill(shared_dsn: str) -> Iterator[Mill]:
    with Floor(shared_dsn) as floor:
        mill = Mill(floor)
        mill.clear()
        yield mill


# -- every kind of module, and every option ------------------------------------------------

TEN = list(range(10))
INNER = flow(raw("p", "double", x="flow_input.n"), raw("q", x="results.p + 1"))
FAILURE = {"failure_module": raw("failure", x="error.name + ' ' + error.step_id")}
RECOVER = {"failure_module": raw("failure", "recover", x="error.name")}
CASES: dict[str, tuple[Json, Json, tuple[str, Json]]] = {
    "empty": (flow(), {"n": 1}, ("success", {"n": 1})),
    "one step": (flow(raw("a", x="flow_input.n")), {"n": 1}, ("success", 1)),
    "results by id": (
        flow(raw("a", x="flow_input.n"), raw("b", x=5), raw("c", x="results.a + results.b")),
        {"n": 1},
        ("success", 6),
    ),
    "identity": (flow(raw("a", x=3), identity("b"), raw("c", x="previous_result")), {}, ("success", 3)),
    "a script by path": (flow(script("a", "f/a/double", x=4)), {}, ("success", 8)),
    "a script that is not there": (
        flow(script("a", "f/a/nowhere", continue_on_error=True), raw("b", x="results.a.error.name")),
        {},
        ("success", "ScriptNotFound"),
    ),
    "a nested flow": (flow(nested("a", n=4), raw("b", x="results.a")), {}, ("success", 9)),
    "a nested flow that is not there": (
        flow(nested("a", "f/a/nowhere", continue_on_error=True), raw("b", x="results.a.error.name")),
        {},
        ("success", "FlowNotFound"),
    ),
    "nested flows in a loop": (
        flow(loop("l", TEN, nested("a", n="flow_input.iter.value"))),
        {},
        ("success", [2 * n + 1 for n in TEN]),
    ),
    "nested flows side by side": (
        flow(loop("l", TEN, nested("a", n="flow_input.iter.value"), parallel=True)),
        {},
        ("success", [2 * n + 1 for n in TEN]),
    ),
    "a loop over an array": (
        flow(loop("l", "[5, 6]", raw("a", x="flow_input.iter.value"))),
        {},
        ("success", [5, 6]),
    ),
    "a loop over a number": (
        flow(loop("l", 3, raw("a", x="flow_input.iter.value"))),
        {},
        ("success", [0, 1, 2]),
    ),
    "a loop over nothing": (flow(loop("l", [], raw("a"))), {}, ("success", [])),
    "a loop over what is no list": (
        flow(loop("l", "'text'", raw("a"), continue_on_error=True), raw("b", x="results.l.error.name")),
        {},
        ("success", "ExecutionErr"),
    ),
    "a loop whose body has two steps": (
        flow(loop("l", TEN, raw("a", "double", x="flow_input.iter.value"), raw("b", x="results.a + 1"))),
        {},
        ("success", [2 * n + 1 for n in TEN]),
    ),
    "a parallel loop": (
        flow(loop("l", TEN, raw("a", "double", x="flow_input.iter.value"), parallel=True)),
        {},
        ("success", [2 * n for n in TEN]),
    ),
    "a parallel loop of bodies, three at a time": (
        flow(
            loop(
                "l",
                TEN,
                raw("a", x="flow_input.iter.value"),
                raw("b", x="results.a"),
                parallel=True,
                parallelism=3,
            )
        ),
        {},
        ("success", TEN),
    ),
    "loops in loops": (
        flow(
            loop(
                "l",
                [10, 20],
                loop("m", [1, 2], raw("a", x="flow_input.iter.value + flow_input.iter_parent.value")),
                raw("b", "sum", x="results.m"),
            )
        ),
        {},
        ("success", [23, 43]),
    ),
    "parallel loops in parallel loops": (
        flow(
            loop(
                "l",
                [10, 20],
                loop(
                    "m",
                    [1, 2],
                    raw("a", x="flow_input.iter.value + flow_input.iter_parent.value"),
                    parallel=True,
                ),
                raw("b", "sum", x="results.m"),
                parallel=True,
            )
        ),
        {},
        ("success", [23, 43]),
    ),
    "a loop that fails": (
        flow(loop("l", [2, 3, 4], raw("a", "odd", x="flow_input.iter.value"))),
        {},
        ("failure", [2, {"error": {"name": "Boom", "message": "odd"}}]),
    ),
    "a loop that skips failures": (
        flow(
            loop("l", [2, 3, 4], raw("a", "odd", x="flow_input.iter.value"), skip_failures=True),
            raw("b", x="results.l.length"),
        ),
        {},
        ("success", 3),
    ),
    "a parallel loop that fails": (
        flow(loop("l", [2, 3], raw("a", "odd", x="flow_input.iter.value"), parallel=True)),
        {},
        ("failure", [2, {"error": {"name": "Boom", "message": "odd"}}]),
    ),
    "a while loop": (
        flow(repeat("w", raw("a", x="flow_input.iter.index", stop_after_if=stop("result >= 3")))),
        {},
        ("success", [0, 1, 2, 3]),
    ),
    "a first branch that is true": (
        flow(one("b", ("false", [raw("a", x=1)]), ("true", [raw("c", x=2), raw("d", x="results.c + 1")]))),
        {},
        ("success", 3),
    ),
    "the default branch": (
        flow(one("b", ("false", [raw("a", x=1)]), default=[raw("c", x=7)])),
        {},
        ("success", 7),
    ),
    "an empty branch": (flow(raw("a", x=1), one("b", ("false", [raw("c", x=2)]))), {}, ("success", 1)),
    "all branches": (
        flow(every("b", [raw("a", x=1)], [raw("c", x=2), raw("d", x=3)])),
        {},
        ("success", [1, 3]),
    ),
    "all branches side by side": (
        flow(every("b", [raw("a", x=1)], [raw("c", x=2), raw("d", x=3)], [], parallel=True)),
        {"n": 1},
        ("success", [1, 3, {"n": 1}]),
    ),
    "a branch whose failure is forgiven": (
        flow(every("b", [raw("a", "fail")], [raw("c", x=2)], forgiven=(0,)), raw("d", x="results.b[1]")),
        {},
        ("success", 2),
    ),
    "an early stop": (
        flow(raw("a", x=1, stop_after_if=stop("result == 1")), raw("b", x=2)),
        {},
        ("success", 1),
    ),
    "an early stop as skipped": (
        flow(raw("a", x=1, stop_after_if=stop(skip_if_stopped=True)), raw("b", x=2)),
        {},
        ("skipped", 1),
    ),
    "an early stop with an error": (
        flow(raw("a", x=1, stop_after_if=stop(error_message="no")), raw("b", x=2)),
        {},
        ("failure", {"error": {"name": "EarlyStopError", "message": "no"}}),
    ),
    "a stop after all iterations": (
        flow(
            loop(
                "l",
                2,
                raw("a", x="flow_input.iter.value"),
                stop_after_all_iters_if=stop("result.length == 2"),
            ),
            raw("b", x=9),
        ),
        {},
        ("success", [0, 1]),
    ),
    "skip_if": (flow(raw("a", x=1), raw("b", x=2, skip_if={"expr": "true"})), {}, ("success", 1)),
    "skip_expr": (flow(raw("a"), skip_expr="flow_input.n == 1"), {"n": 1}, ("skipped", "stopped early")),
    "sleep": (flow(raw("a", x=1, sleep=static(100)), raw("b", x="results.a + 1")), {}, ("success", 2)),
    "sleep after the last step": (flow(raw("a", x=1, sleep=static(100))), {}, ("success", 1)),
    "sleep in a body": (
        flow(
            loop(
                "l",
                3,
                raw("a", x="flow_input.iter.value", sleep=static(9)),
                raw("b", x="results.a"),
                parallel=True,
            )
        ),
        {},
        ("success", [0, 1, 2]),
    ),
    "retry": (flow(raw("a", "fail 2", x=4, retry=again(2))), {}, ("success", 4)),
    "retry with a pause": (
        flow(raw("a", "fail 2", x=4, retry=again(2, 60)), raw("b", x="results.a")),
        {},
        ("success", 4),
    ),
    "retry in vain": (
        flow(raw("a", "fail", retry=again(2)), **FAILURE),
        {},
        ("failure", "Boom a"),
    ),
    "retry of a loop": (
        flow(
            loop("l", 2, raw("a", "fail 1", x=1, retry=again()), retry=again(1, 60)),
            raw("b", "sum", x="results.l"),
        ),
        {},
        ("success", 2),
    ),
    "retry_if": (
        flow(
            raw("a", "fail", retry=again(2, retry_if={"expr": "false"}), continue_on_error=True),
            raw("b", x=1),
        ),
        {},
        ("success", 1),
    ),
    "continue_on_error": (
        flow(raw("a", "fail", continue_on_error=True), raw("b", x="results.a.error.name")),
        {},
        ("success", "Boom"),
    ),
    "a mock": (
        flow(raw("a", "fail", mock={"enabled": True, "return_value": 7}), identity("b")),
        {},
        ("success", 7),
    ),
    "a failure module": (flow(raw("a", "fail"), **FAILURE), {}, ("failure", "Boom a")),
    "a failure module in a body": (
        flow(
            loop("l", [2, 3], raw("a", "odd", x="flow_input.iter.value"), raw("b", x="results.a")), **FAILURE
        ),
        {},
        ("failure", [2, "Boom a"]),
    ),
    "a failure module that recovers": (
        flow(raw("a", "fail"), raw("b"), **RECOVER),
        {},
        ("success", {"recover": True, "got": "Boom"}),
    ),
    "an approval": (
        flow(raw("a", suspend={"required_events": 1}), raw("b", x="resume + ' ' + approvers[0]")),
        {},
        ("success", "yes ruben"),
    ),
    "an approval after the last step": (
        flow(raw("a", x=3, suspend={"required_events": 1})),
        {},
        ("success", 3),
    ),
    "an approval in a body": (
        flow(
            every(
                "b",
                [raw("a", suspend={"required_events": 1}), raw("c", x="resume")],
                [raw("d", x=1)],
                parallel=True,
            )
        ),
        {},
        ("success", ["yes", 1]),
    ),
    "two approvals": (
        flow(
            raw("a", suspend={"required_events": 1}),
            raw("b", suspend={"required_events": 2}),
            raw("c", x="resumes"),
        ),
        {},
        ("success", ["yes", "yes"]),
    ),
    "flow_env": (flow(raw("a", x="flow_env.HELLO"), flow_env={"HELLO": "hi"}), {}, ("success", "hi")),
    "variables and resources": (
        flow(raw("a", x="variable('f/a/v') + resource('f/a/r').port")),
        {},
        ("success", "secret1"),
    ),
    "a broken expression": (
        flow(raw("a", x="results.nowhere.b", continue_on_error=True), raw("b", x="results.a.error.name")),
        {},
        ("success", "ExpressionError"),
    ),
    "an early return": (flow(raw("a", x=1), raw("b", x=2), early_return="a"), {}, ("success", 2)),
}


@pytest.mark.parametrize("takes", [True, False], ids=["taken", "queued"])
@pytest.mark.parametrize("case", CASES)
def test_a_flow_ends_as_it_should(mill: Mill, case: str, takes: bool) -> None:
    mill.floor.deploy("f/a/double", content="double")
    mill.deploy(INNER, "f/flows/inner")
    put_variable(mill.connection, "default", "f/a/v", "secret")
    put_resource(mill.connection, "default", "f/a/r", {"port": 1})
    value, args, expected = CASES[case]
    assert mill.run(value, args, takes=takes) == expected


@settings(generated, max_examples=EXAMPLES or 80)
@given(ANY_FLOW, st.integers(0, 2**16))
def test_any_flow_ends_as_the_oracle_says(mill: Mill, example: Any, seed: int) -> None:
    value, inner = example
    mill.clear()
    for path, each in inner.items():
        mill.deploy(each, path)
    chance = random.Random(seed)
    workers = [
        mill.worker(
            perform=run_script, takes=chance.random() < 0.7, chance=chance, connection=mill.connection
        )
        for _ in range(1 + seed % 2)
    ]
    job = mill.start(value, {"n": 2})
    mill.play(*workers, answer=answer_of)
    oracle = Oracle(evaluate, run_script, answer_of, inner, Counter())
    out = oracle.flow(value, {"n": 2})
    assert plain(mill.ended(job)) == plain((out.status, out.result))
    assert sum((worker.ran for worker in workers), Counter()) == oracle.ran
    mill.check_clean()


def plain(value: Any) -> Any:
    """What the oracle says too: of an error its name, and what it includes."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    error = value.get("error")
    if isinstance(error, dict) and "name" in error:
        return {"error": {name: plain(error[name]) for name in ("name", "result") if name in error}}
    return {name: plain(item) for name, item in value.items()}


# -- dropped -------------------------------------------------------------------------------

RICH: dict[str, Json] = {
    "in a row": flow(
        raw("a", x="flow_input.n"),
        raw("b", "fail 1", x="results.a + 1", retry=again(1, 60)),
        raw("c", x="results.a + results.b", sleep=static(5)),
        raw("d", x="results.c", suspend={"required_events": 1}),
        raw("e", x="[results.d, resume]"),
    ),
    "loops": flow(
        loop("l", "[1, 2, 3]", raw("a", "double", x="flow_input.iter.value"), raw("b", x="results.a + 1")),
        loop("m", "results.l", raw("c", x="flow_input.iter.value"), parallel=True, parallelism=2),
        loop("o", 3, raw("p", x="flow_input.iter.value", sleep=static(3)), raw("q", x="results.p"), parallel=True),
        raw("d", x="[results.l, results.m, results.o]"),
    ),
    "branches": flow(
        every("b", [raw("a", x=1), raw("c", x="results.a + 1")], [nested("n", n=3)], [], parallel=True),
        one("o", ("results.b.length == 3", [raw("e", "fail"), raw("f")]), continue_on_error=True),
        every("s", [raw("g", "fail"), raw("h")], [raw("i", x=4)], forgiven=(0,)),
        raw("j", x="[results.b, results.s]"),
    ),
    "failing": flow(
        raw("a", x=1),
        loop("l", 2, raw("b", "fail 1", x=1, retry=again(1)), raw("c", "odd", x="flow_input.iter.value"),
             retry=again(1)),
        **FAILURE,
    ),
}  # fmt: skip


def play_disturbed(
    mill: Mill,
    boundary: Callable[[int, str], bool],
    *,
    answer: Callable[[str], str] = lambda _: "approve",
    keeps_on: bool = False,
    **options: Any,
) -> int:
    """Play with workers that are dropped; `keeps_on`: the next one is dropped too."""
    # One connection for all of them: it is nobody's business here, and costs more than a flow.
    options.setdefault("connection", mill.connection)
    worker = mill.worker(boundary=boundary, **options)
    commits = 0
    for _ in range(MOST_TURNS):
        try:
            moved = worker.turn()
        except Dropped:
            commits += worker.commits
            mill.rescue(worker.holder.node)
            worker = mill.worker(boundary=boundary if keeps_on else None, **options)
            continue
        if not moved and not mill.pass_time(answer):
            break
    assert not mill.floor.value("select exists (select from mill.queue)"), mill.open()
    mill.check_clean()
    return commits + worker.commits


def never(number: int, where: str) -> bool:
    return False


def once_at(at: int, what: str) -> Callable[[int, str], bool]:
    def boundary(number: int, where: str) -> bool:
        if number != at or where != what:
            return False
        if where == "reply":
            return True
        raise Dropped

    return boundary


@pytest.mark.parametrize("takes", [True, False], ids=["taken", "queued"])
@pytest.mark.parametrize("name", RICH)
def test_dropped_at_any_commit_the_flow_ends_the_same(mill: Mill, name: str, takes: bool) -> None:
    mill.deploy(INNER, "f/flows/inner")
    job = mill.start(RICH[name], {"n": 1})
    commits = play_disturbed(mill, never, takes=takes)
    expected = mill.ended(job)
    assert commits > 10
    for what in ("before", "after", "reply"):
        # What goes through the queue goes the same ways more often.
        for at in range(0, commits, 1 if takes or EXAMPLES else 5):
            job = mill.submit({"n": 1})
            play_disturbed(mill, once_at(at, what), takes=takes)
            assert mill.ended(job) == expected, (what, at)


@settings(generated, max_examples=EXAMPLES or 40)
@given(ANY_FLOW, st.integers(0, 2**16))
def test_dropped_again_and_again_any_flow_ends_as_the_oracle_says(
    mill: Mill, example: Any, seed: int
) -> None:
    value, inner = example
    mill.clear()
    for path, each in inner.items():
        mill.deploy(each, path)
    chance = random.Random(seed)

    def boundary(number: int, where: str) -> bool:
        if chance.random() > 0.08:
            return False
        if where == "reply":
            return True
        raise Dropped

    job = mill.start(value, {"n": 2})
    play_disturbed(
        mill, boundary, answer=answer_of, keeps_on=True, perform=run_script, chance=chance, takes=seed % 3 > 0
    )
    out = Oracle(evaluate, run_script, answer_of, inner, Counter()).flow(value, {"n": 2})
    assert plain(mill.ended(job)) == plain((out.status, out.result))


# -- two at once ---------------------------------------------------------------------------

JOIN = flow(loop("l", 2, raw("a", x="flow_input.iter.value"), parallel=True), raw("b", "sum", x="results.l"))
JOIN_OF_BODIES = flow(
    loop("l", 2, raw("a", x="flow_input.iter.value"), raw("a2", x="results.a"), parallel=True),
    raw("b", "sum", x="results.l"),
)


def apart(mill: Mill, value: Json, steps: int = 2) -> tuple[str, list[Worker], list[ClaimedJob]]:
    """Begin a flow, and give its first steps to a worker each."""
    job = mill.start(value)
    first = mill.worker(takes=False)
    assert first.turn()
    workers = [mill.worker(limit=1) for _ in range(steps)]
    held = [worker.claim()[0] for worker in workers]
    assert not any(step.is_flow for step in held)
    return job, workers, held


@pytest.mark.parametrize("value", [JOIN, JOIN_OF_BODIES], ids=["steps", "bodies"])
def test_two_who_settle_children_of_one_step_at_once_join_it_once(mill: Mill, value: Json) -> None:
    job, (one_worker, other), (first, second) = apart(mill, value)
    while first.step == "a" and value is JOIN_OF_BODIES:
        for worker, step in ((one_worker, first), (other, second)):
            done = worker.settle([worker.outcome(step)])
            (handed,) = done.handed
            worker.hand = [handed]
        first, second = one_worker.hand[0], other.hand[0]
    with one_worker.connection.transaction():
        done = settlement.settle(
            one_worker.connection, [one_worker.outcome(first)], (), (), one_worker.part()
        )
        assert done.handed == ()
        rival = mill.floor.rival(lambda _: other.settle([other.outcome(second)]))
        assert rival.waits()
    (handed,) = rival.result().handed
    assert handed.step == "b"
    other.hand, one_worker.hand = [handed], []
    mill.play(other)
    mill.check_clean()
    assert mill.ended(job) == ("success", 1)
    assert len(mill.children(job, "b")) == 1


@pytest.mark.parametrize("turn", range(3))
def test_eight_who_settle_children_of_one_step_at_once_join_it_once(mill: Mill, turn: int) -> None:
    value = flow(
        loop("l", 8, raw("a", x="flow_input.iter.value"), parallel=True), raw("b", "sum", x="results.l")
    )
    job, workers, held = apart(mill, value, 8)
    # Everybody waits for the flow's row, and gets it in no order of ours.
    with mill.connection.transaction():
        mill.floor.do("select from mill.flow_run where id = %s for update", job)
        rivals = [
            mill.floor.rival(lambda _, worker=worker, step=step: worker.settle([worker.outcome(step)]))  # type: ignore[misc]
            for worker, step in zip(workers, held, strict=True)
        ]
        eventually(lambda: len(mill.floor.waiting()) == 8)
    handed = [step for rival in rivals for step in rival.result().handed]
    assert [step.step for step in handed] == ["b"]
    owner = next(worker for worker in workers if worker.holder.worker == "w" and handed)
    done = owner.settle([owner.outcome(handed[0])])
    assert done.stale == frozenset()
    mill.check_clean()
    assert mill.ended(job) == ("success", 28)


WAKES: dict[str, Callable[[Mill, Connection, ClaimedJob], object]] = {
    "a step is cancelled": lambda _, own, step: jobs.cancel_job(
        own, "default", step.id, by="u/a", force=True
    ),
    "a step has expired": lambda _, own, step: expire(own, step),
    "a step is lost": lambda _, own, step: lose(own, step),
    "somebody says so": lambda _, own, step: settlement.settle_apart(
        own, Outcome(step, Verdict.SUCCESS, b"1", 5, monotonic())
    ),
}


def expire(own: Connection, step: ClaimedJob) -> None:
    own.execute(
        "update mill.queue set expires_at = now(), running = false, claim = null, node = null where id = %s",
        [step.id],
    )
    assert jobs.expire_jobs(own) == [step.id]


def lose(own: Connection, step: ClaimedJob) -> None:
    row = own.execute(
        "update mill.queue set rescues = 3 where id = %s returning node::text", [step.id]
    ).fetchone()
    assert row is not None
    rescue = nodes.rescue_node(own, row[0], None)
    assert rescue is not None
    assert rescue.lost == (step.id,)


@pytest.mark.parametrize("how", WAKES)
def test_a_step_that_ends_without_a_worker_is_heard_of(mill: Mill, how: str) -> None:
    value = flow(
        loop("l", 2, raw("a", x="flow_input.iter.value"), parallel=True, skip_failures=True),
        raw("b", "count", x="results.l"),
    )
    job, (_, other), (first, second) = apart(mill, value)
    WAKES[how](mill, mill.connection, first)
    other.hand = [second]
    mill.play(other)
    mill.check_clean()
    assert mill.ended(job) == ("success", 2)


@pytest.mark.parametrize("how", WAKES)
def test_who_is_woken_while_somebody_looks_is_looked_at_again(mill: Mill, how: str) -> None:
    """The flow was woken by one step, and another one ends while the worker that looks has not committed."""
    value = flow(
        loop("l", 2, raw("a", x="flow_input.iter.value"), parallel=True, skip_failures=True),
        raw("b", "count", x="results.l"),
    )
    job, _, (first, second) = apart(mill, value)
    jobs.cancel_job(mill.connection, "default", first.id, by="u/a", force=True)
    looking = mill.worker()
    begun = looking.claim()
    assert [each.id for each in begun] == [job]
    with looking.connection.transaction():
        settlement.settle(looking.connection, [], (), (), looking.part(begun))
        rival = mill.floor.rival(lambda own: WAKES[how](mill, own, second))
        assert rival.waits()
    rival.result()
    mill.play(mill.worker())
    mill.check_clean()
    assert mill.ended(job) == ("success", 2)


def test_an_answer_while_the_flow_comes_to_rest_is_heard(mill: Mill) -> None:
    job = mill.start(flow(raw("a", suspend={"required_events": 2}), raw("b", x="resumes")))
    worker = mill.worker()
    while not mill.suspended():
        assert worker.turn()
    mill.answer(job, value=1)
    begun = worker.claim()
    with worker.connection.transaction():
        settlement.settle(worker.connection, [], (), (), worker.part(begun))
        rival = mill.floor.rival(
            lambda own: flow_control.resume_flow(own, "default", job, 2, "x", approved=True, resume_id=None)
        )
        assert rival.waits()
    rival.result()
    while worker.turn():
        pass
    assert mill.ended(job) == ("success", [1, 2])


def test_a_child_that_ends_with_the_look_at_its_flow_counts_once(mill: Mill) -> None:
    """One batch has both: the flow that another child has woken, and the end of a child."""
    value = flow(
        loop("l", 3, raw("a", x="flow_input.iter.value"), parallel=True, skip_failures=True),
        raw("b", "count", x="results.l"),
    )
    job, workers, (first, second, third) = apart(mill, value, 3)
    jobs.cancel_job(mill.connection, "default", first.id, by="u/a", force=True)
    worker = workers[1]
    begun = worker.claim()
    assert [each.id for each in begun] == [job]
    worker.hand = list(worker.settle([worker.outcome(second)], begun).handed)
    assert worker.hand == []
    assert mill.children(job, "b") == []
    workers[2].hand = [third]
    mill.play(*workers)
    mill.check_clean()
    assert mill.ended(job) == ("success", 3)


def test_a_child_that_ends_with_a_look_at_a_flow_that_is_no_longer_ours(mill: Mill) -> None:
    value = flow(raw("a", x=1), raw("b", x="results.a"))
    job, (worker,), (step,) = apart(mill, value, 1)
    wake_flows(mill.connection, [job])
    begun = worker.claim()
    assert [each.id for each in begun] == [job]
    # Somebody else has it now, and has looked at it before the step ended.
    claims.release_jobs(mill.connection, [(each.id, each.claim) for each in begun])
    other = mill.worker()
    assert other.turn()
    worker.hand = list(worker.settle([worker.outcome(step)], begun).handed)
    mill.play(worker, other)
    mill.check_clean()
    assert mill.ended(job) == ("success", 1)


class Crowd:
    """Workers in threads of their own, that take what they find until nothing is open."""

    def __init__(self, mill: Mill, count: int, seed: int) -> None:
        self.mill = mill
        self.over = threading.Event()
        self.errors: list[BaseException] = []
        self.workers = [
            mill.worker(takes=number % 2 == 0, chance=random.Random(seed + number)) for number in range(count)
        ]
        self._threads = [threading.Thread(target=self._work, args=(worker,)) for worker in self.workers]
        for thread in self._threads:
            thread.start()

    def _work(self, worker: Worker) -> None:
        try:
            while not self.over.is_set():
                worker.turn()
        except BaseException as error:  # noqa: BLE001  told by whoever joins
            self.errors.append(error)

    def join(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(20)
        assert self.errors == []


CROWDED = flow(
    loop("l", 6, raw("a", x="flow_input.iter.value"), raw("a2", x="results.a"), parallel=True, skip_failures=True),
    every("e", [nested("n", n=3)], [raw("c", sleep=static(9)), raw("d")], [raw("f", x=1)], parallel=True,
          forgiven=(0, 1, 2)),
    loop("m", 3, raw("g", x="flow_input.iter.value"), skip_failures=True),
    raw("h", "count", x="results.l"),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(EXAMPLES // 50 or 2))
def test_a_crowd_of_workers_ends_every_flow_whatever_is_cancelled(mill: Mill, seed: int) -> None:
    """Cancels of steps, bodies and flows, wakings without a cause, and workers that are taken for dead."""
    mill.deploy(INNER, "f/flows/inner")
    mill.deploy(CROWDED)
    flows = [mill.submit() for _ in range(12)]
    chance = random.Random(seed)
    spared = set(flows[:6])
    crowd = Crowd(mill, 4, seed)
    own = mill.floor.connect()
    deadline = monotonic() + 45
    while mill.floor.value("select exists (select from mill.queue)") and not crowd.errors:
        assert monotonic() < deadline, mill.open()
        mill.pass_time()
        rows = mill.floor.rows(
            "select id::text, is_flow from mill.queue where id <> all (%s::uuid[])", list(spared)
        )
        if not rows or chance.random() < 0.5:
            continue
        job, is_flow = chance.choice(rows)
        if chance.random() < 0.1:
            # It lives, and finds that what it holds is somebody else's.
            mill.rescue(chance.choice(crowd.workers).holder.node)
        elif is_flow and chance.random() < 0.7:
            wake_flows(own, [job])
        else:
            with suppress(JobNotFound):
                jobs.cancel_job(own, "default", job, by="u/mia", force=not is_flow)
    crowd.join()
    mill.check_clean()
    ends = [mill.ended(job) for job in flows]
    assert {status for status, _ in ends} <= {"success", "cancelled", "failure"}
    # Steps of theirs may have been cancelled, and were forgiven; but each was counted, once.
    assert {end for end in ends[:6] if end[0] != "failure"} <= {("success", 6)}


# -- what is old ---------------------------------------------------------------------------


def test_a_stale_step_moves_nothing(mill: Mill) -> None:
    job, (worker,), (step,) = apart(mill, flow(raw("a", x=1), raw("b", x="results.a")), 1)
    mill.rescue(worker.holder.node)
    done = worker.settle([worker.outcome(step)])
    assert (done.stale, done.handed) == (frozenset([step.id]), ())
    mill.play(mill.worker())
    mill.check_clean()
    assert mill.ended(job) == ("success", 1)
    assert len(mill.children(job)) == 2


def test_a_flow_that_another_worker_has_taken_is_left_alone(mill: Mill) -> None:
    job = mill.start(flow(raw("a", x=1), raw("b", x="results.a")))
    late = mill.worker()
    begun = late.claim()
    mill.rescue(late.holder.node)
    other = mill.worker()
    other.hand = other.claim()
    assert late.settle([], begun) == Settled()
    assert mill.floor.value("select count(*) from mill.flow_run") == 0
    mill.play(other)
    mill.check_clean()
    assert mill.ended(job) == ("success", 1)


def test_a_step_told_twice_in_one_batch_counts_once(mill: Mill) -> None:
    job, (worker, _), (first, second) = apart(mill, JOIN)
    done = worker.settle([worker.outcome(first), worker.outcome(first), worker.outcome(second)])
    (worker.hand) = list(done.handed)
    mill.play(worker)
    mill.check_clean()
    assert mill.ended(job) == ("success", 1)


def test_a_flow_and_a_step_of_a_dead_node_go_on(mill: Mill) -> None:
    job = mill.start(JOIN)
    worker = mill.worker()
    worker.turn()
    assert worker.hand
    mill.rescue(worker.holder.node)
    wake_flows(mill.connection, [job])
    mill.play(mill.worker(), mill.worker())
    mill.check_clean()
    assert mill.ended(job) == ("success", 1)


def test_a_step_whose_own_policy_tries_again_is_one_step(mill: Mill) -> None:
    job, (worker,), (step,) = apart(mill, flow(raw("a", "fail 1", x=1), raw("b", x="results.a")), 1)
    worker.settle([], (), [Retrial(worker.outcome(step), 0.0)])
    mill.play(worker)
    mill.check_clean()
    assert mill.ended(job) == ("success", 1)
    assert jobs.job_attempts(mill.connection, "default", step.id)[0].attempt == 1


# -- sleep and approvals -------------------------------------------------------------------


def play_until_it_rests(worker: Worker) -> None:
    while worker.turn():
        pass


def test_a_sleep_is_as_long_as_it_says(mill: Mill) -> None:
    mill.start(flow(raw("a", x=90, sleep=js("previous_result")), raw("b")))
    worker = mill.worker()
    play_until_it_rests(worker)
    left, running = mill.floor.row(
        "select extract(epoch from scheduled_for - now())::float8, running from mill.queue"
    )
    assert 80 < left <= 90
    assert not running
    seconds = claims.next_due_seconds(mill.connection, TAGS)
    assert seconds is not None
    assert 80 < seconds <= 90
    assert mill.pass_time()
    mill.play(worker)
    mill.check_clean()


def test_pauses_of_every_kind_of_number_rest_together(mill: Mill) -> None:
    paused = [
        raw("a", sleep=static(90)),
        raw("a", sleep=static(0.5)),
        raw("a", suspend={"required_events": 1, "timeout": 30}),
        raw("a", suspend={"required_events": 1}),
        raw("a"),
    ]
    flows = []
    for number, step in enumerate(paused):
        mill.deploy(flow(step, raw("b", x=1)), f"{PATH}{number}")
        flows.append(mill.submit(path=f"{PATH}{number}"))
    worker = mill.worker()
    play_until_it_rests(worker)
    wake_flows(mill.connection, flows)
    assert worker.turn()
    mill.play(worker)
    assert [mill.ended(job) for job in flows] == [("success", 1)] * len(flows)


def test_a_flow_that_is_woken_in_its_sleep_sleeps_on(mill: Mill) -> None:
    job = mill.start(flow(raw("a", x=1, sleep=static(90)), raw("b", x=2)))
    worker = mill.worker()
    play_until_it_rests(worker)
    wake_flows(mill.connection, [job])
    assert worker.turn()
    assert mill.children(job, "b") == []
    left = mill.floor.value("select extract(epoch from scheduled_for - now())::float8 from mill.queue")
    assert 80 < left <= 90
    mill.play(worker)
    mill.check_clean()
    assert mill.ended(job) == ("success", 2)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "refuse",
            ("failure", {"error": {"name": "SuspendedDisapproved", "message": "Disapproved by ruben"}}),
        ),
        (
            "time_out",
            (
                "failure",
                {"error": {"name": "SuspendedTimedOut", "message": "Timed out waiting to be resumed"}},
            ),
        ),
        ("approve", ("success", "yes")),
    ],
)
def test_an_approval(mill: Mill, said: str, expected: tuple[str, Json]) -> None:
    job = mill.start(flow(raw("a", suspend={"required_events": 1, "timeout": 60}), raw("b", x="resume")))
    mill.play(mill.worker(), answer=lambda _: said)
    mill.check_clean()
    assert mill.ended(job) == expected


@pytest.mark.parametrize("said", ["refuse", "time_out"])
def test_an_approval_that_may_fail(mill: Mill, said: str) -> None:
    asked = {"required_events": 1, "continue_on_disapprove_timeout": True}
    job = mill.start(flow(raw("a", suspend=asked), raw("b", x="resume.error.name"), raw("c", x="results.b")))
    mill.play(mill.worker(), answer=lambda _: said)
    mill.check_clean()
    assert mill.ended(job)[1] in {"SuspendedDisapproved", "SuspendedTimedOut"}


def test_an_answer_before_anybody_asks_is_kept(mill: Mill) -> None:
    job, (worker,), (step,) = apart(
        mill, flow(raw("a", suspend={"required_events": 1}), raw("b", x="resume")), 1
    )
    mill.answer(job, value="early")
    worker.hand = [step]
    play_until_it_rests(worker)
    mill.check_clean()
    assert mill.ended(job) == ("success", "early")


def test_an_answer_counts_once(mill: Mill) -> None:
    job = mill.start(flow(raw("a", suspend={"required_events": 2}), raw("b", x="resumes")))
    worker = mill.worker()
    play_until_it_rests(worker)
    mill.answer(job, value=1, resume_id=5)
    with pytest.raises(Exception, match="given"):
        mill.answer(job, value=1, resume_id=5)
    play_until_it_rests(worker)
    assert mill.suspended()
    mill.answer(job, value=2, resume_id=6)
    play_until_it_rests(worker)
    mill.check_clean()
    assert mill.ended(job) == ("success", [1, 2])


def test_an_answer_to_a_step_reaches_the_body_that_asks(mill: Mill) -> None:
    value = flow(
        loop("l", 2, raw("a", x=1, suspend={"required_events": 1}), raw("b", x="resume"), parallel=True)
    )
    job = mill.start(value)
    worker = mill.worker()
    play_until_it_rests(worker)
    assert len(mill.suspended()) == 2
    for value in ("one", "other"):
        mill.answer(job, value=value)
        play_until_it_rests(worker)
    mill.check_clean()
    status, result = mill.ended(job)
    assert (status, sorted(result)) == ("success", ["one", "other"])


# -- restart -------------------------------------------------------------------------------


@pytest.mark.parametrize("disturbed", [False, True])
def test_a_restart_from_a_step_uses_what_was_before(mill: Mill, disturbed: bool) -> None:
    value = flow(
        raw("a", x="flow_input.n"),
        loop("l", "[1, 2]", raw("b", x="flow_input.iter.value + results.a")),
        raw("c", "double", x="results.l[1]"),
        raw("d", x="[results.a, results.l, results.c]"),
    )
    old = mill.start(value, {"n": 1})
    mill.play(mill.worker())
    expected = mill.ended(old)
    assert expected == ("success", [1, [2, 3], 6])
    new = mill.submit({"n": 1}, restart=Restart(old, "c"))
    worker = mill.worker()
    if disturbed:
        begun = worker.claim()
        with worker.connection.transaction(force_rollback=True):
            settlement.settle(worker.connection, [], (), (), worker.part(begun))
        mill.rescue(worker.holder.node)
        worker = mill.worker()
    mill.play(worker)
    assert mill.ended(new) == expected
    assert worker.ran == Counter(c=1, d=1)
    assert [row[0] for row in mill.children(new, "a")] == ["a"]
    mill.check_clean()


@pytest.mark.parametrize("kind", ["step", "body", "while"])
def test_a_restart_from_an_iteration_keeps_those_before(mill: Mill, kind: str) -> None:
    inside = [raw("a", x="flow_input.iter.index")]
    if kind != "step":
        inside.append(raw("b", x="results.a"))
    if kind == "while":
        inside[-1]["stop_after_if"] = stop("result >= 4")
    steps = repeat("l", *inside) if kind == "while" else loop("l", 5, *inside)
    old = mill.start(flow(steps, raw("c", "sum", x="results.l")))
    mill.play(mill.worker())
    assert mill.ended(old) == ("success", 10)
    new = mill.submit(restart=Restart(old, "l", 3))
    worker = mill.worker()
    mill.play(worker)
    mill.check_clean()
    assert mill.ended(new) == ("success", 10)
    assert worker.ran["a"] == 2
    assert [row[1] for row in mill.children(new, "l")] == [0, 1, 2, 3, 4]


def test_a_plan_to_restart_is_run(mill: Mill) -> None:
    old = mill.start(flow(raw("a", x=1), raw("b", "fail", x="results.a")))
    mill.play(mill.worker())
    assert mill.ended(old)[0] == "failure"
    mill.deploy(flow(raw("a", x=2), raw("b", x="results.a")))
    told = flow_control.plan_restart(mill.connection, "default", old, "b")
    (receipt,) = submit(mill.connection, [told]).receipts
    mill.play(mill.worker())
    assert mill.ended(receipt.id) == ("success", 1)


def test_a_preprocessor_makes_the_input(mill: Mill) -> None:
    value = flow(raw("a", x="flow_input.v"), preprocessor_module=raw("preprocessor", "wrap"))
    job = mill.start(value, {"n": 3}, preprocess=True)

    def wrap(code: str, args: Json, attempt: int) -> tuple[bool, Json]:
        return True, {"v": args["n"] * 10} if code == "wrap" else args["x"]

    mill.play(mill.worker(perform=wrap))
    mill.check_clean()
    assert mill.ended(job) == ("success", 30)


def test_an_early_return_is_told_while_the_flow_goes_on(mill: Mill) -> None:
    job = mill.start(flow(raw("a", x=1), raw("b", x=2), early_return="a"), awaited=True)
    worker = mill.worker()
    worker.turn()
    done = worker.settle([worker.outcome(worker.hand.pop())])
    assert done.awaited == (job,)
    worker.hand = list(done.handed)
    assert jobs.job_results(mill.connection, [job])[0].value == 1
    mill.play(worker)
    assert jobs.job_results(mill.connection, [job])[0].value == 2


# -- what a step is ------------------------------------------------------------------------


def test_steps_carry_what_their_flow_has(mill: Mill) -> None:
    mill.deploy(flow(raw("a", x=1), raw("b", x=1, priority=7), raw("c", x=1, tag="gpu")))
    job = mill.submit(created_by="u/mia", priority=5)
    first = mill.worker(takes=False, tags=(*TAGS, "gpu"))
    seen: dict[str, ClaimedJob] = {}
    for _ in range(20):
        for each in first.claim():
            if each.is_flow:
                first.settle([], [each])
            else:
                assert each.step is not None
                seen[each.step] = each
                first.settle([first.outcome(each)])
    assert {step.created_by for step in seen.values()} == {"u/mia"}
    assert {name: (step.priority, step.tag) for name, step in seen.items()} == {
        "a": (5, "python3"), "b": (7, "python3"), "c": (5, "gpu"),
    }  # fmt: skip
    assert {(step.parent_job, step.root_job, step.depth) for step in seen.values()} == {(job, job, 0)}
    assert mill.ended(job)[0] == "success"


def test_a_tag_of_the_flow_is_that_of_its_steps(mill: Mill) -> None:
    mill.deploy(flow(raw("a", x=1), raw("b", x=1, tag="gpu")), tag="special")
    job = mill.submit()
    worker = mill.worker(tags=("special",))
    mill.play(worker)
    assert mill.ended(job)[0] == "success"


def test_concurrency_limits_hold_for_steps(mill: Mill) -> None:
    mill.floor.deploy("f/a/narrow", content="echo", concurrency_limit=2)
    job = mill.start(flow(loop("l", 6, script("a", "f/a/narrow", x="flow_input.iter.value"), parallel=True)))
    workers = [mill.worker() for _ in range(3)]
    workers[0].turn()
    for _ in range(3):
        held = [(worker, step) for worker in workers for step in worker.claim()]
        assert len(held) == 2
        for worker, step in held:
            worker.settle([worker.outcome(step)])
    mill.check_clean()
    assert mill.ended(job) == ("success", [0, 1, 2, 3, 4, 5])


def test_flows_have_concurrency_limits_too(mill: Mill) -> None:
    mill.deploy(flow(raw("a", x=1), raw("b", x=1, sleep=static(9)), raw("c", x=1), concurrent_limit=1))
    first, second = mill.submit(), mill.submit()
    worker = mill.worker()
    play_until_it_rests(worker)
    assert mill.floor.rows("select count(*) from mill.flow_run") == [(1,)]
    mill.play(worker)
    mill.check_clean()
    assert [mill.ended(job)[0] for job in (first, second)] == ["success", "success"]


@pytest.mark.parametrize("inside", [False, True], ids=["step", "loop"])
def test_a_cached_step_runs_once_for_what_it_is_given(mill: Mill, inside: bool) -> None:
    step = raw("a", x="flow_input.n", cache_ttl=60)
    mill.deploy(flow(loop("l", 2, step, raw("c")) if inside else step, raw("b", x="results.a")))
    worker = mill.worker()
    ended = []
    for n in (1, 1, 2, 1):
        job = mill.submit({"n": n})
        mill.play(worker)
        ended.append(mill.ended(job)[0])
    mill.check_clean()
    assert ended == ["success"] * 4
    assert worker.ran["a"] == 2
    mill.floor.do("update mill.result_cache set expires_at = now()")
    mill.submit({"n": 1})
    mill.play(worker)
    assert worker.ran["a"] == 3


def test_a_failure_is_not_cached(mill: Mill) -> None:
    mill.deploy(flow(raw("a", "fail", cache_ttl=60)))
    worker = mill.worker()
    for _ in range(2):
        mill.submit()
        mill.play(worker)
    assert worker.ran["a"] == 2


def test_a_cached_flow_runs_once_for_what_it_is_given(mill: Mill) -> None:
    mill.deploy(flow(raw("a", x="flow_input.n"), cache_ttl=60))
    worker = mill.worker()
    found = []
    for n in (1, 1, 2):
        job = mill.submit({"n": n})
        mill.play(worker)
        found.append(mill.ended(job))
    mill.check_clean()
    assert found == [("success", 1), ("success", 1), ("success", 2)]
    assert worker.ran["a"] == 2


def test_what_is_to_be_forgotten_after_use_is(mill: Mill) -> None:
    step = raw("a", x="flow_input.n", delete_after_use=True)
    job = mill.start(flow(step, raw("b", x="results.a")), {"n": "secret"})
    mill.play(mill.worker())
    assert mill.ended(job) == ("success", "secret")
    assert mill.children(job, "a") == [("a", None, "success", {})]
    assert mill.children(job, "b") == [("b", None, "success", "secret")]


def test_what_is_to_be_forgotten_later_is_scheduled(mill: Mill) -> None:
    step = raw("a", x="flow_input.n", delete_after_secs=100)
    mill.start(flow(loop("l", 2, step), raw("b", x=1)), {"n": "secret"})
    mill.play(mill.worker())
    due = {row[0] for row in mill.floor.rows("select job::text from mill.deletion where due_at > now()")}
    steps = mill.floor.rows("select id::text from mill.completed_job where path like '%%/a'")
    assert due == {row[0] for row in steps}
    assert len(due) == 2


def test_a_step_has_the_time_that_is_left_to_what_it_is_in(mill: Mill) -> None:
    inner = [raw("a", x=1), raw("b", x=1, timeout=5)]
    mill.deploy(
        flow(loop("l", 1, *inner, timeout=60), raw("c", x=1, timeout=js("flow_input.n * 10"))),
        options=FlowOptions(timeout_seconds=1000),
    )
    mill.submit({"n": 3})
    worker = mill.worker(takes=False)
    limits: dict[str, float | None] = {}
    for _ in range(10):
        for each in worker.claim():
            if each.is_flow:
                worker.settle([], [each])
            else:
                limits[each.path.rpartition("/")[2]] = each.timeout_seconds
                worker.settle([worker.outcome(each)])
    a, b, c = (limits[name] for name in "abc")
    assert a is not None
    assert 50 < a <= 60
    assert (b, c) == (5, 30)


def test_a_more_urgent_job_goes_before_the_next_step(mill: Mill) -> None:
    job = mill.start(flow(raw("a", x=1), raw("b", x=2)))
    worker = mill.worker()
    worker.turn()
    urgent = mill.floor.submit(priority=9)
    done = worker.settle([worker.outcome(worker.hand.pop())])
    assert done.handed == ()
    assert worker.claim()[0].id == urgent
    assert job


def test_a_new_version_of_a_flow_does_not_change_one_that_runs(mill: Mill) -> None:
    job = mill.start(flow(raw("a", x=1), raw("b", x="results.a + 1")))
    worker = mill.worker()
    worker.turn()
    mill.deploy(flow(raw("a", x=1), raw("b", x=100)))
    mill.play(worker)
    assert mill.ended(job) == ("success", 2)


# -- what it costs -------------------------------------------------------------------------


class Watched:
    """A connection that counts statements by name, and the bytes of their parameters."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.statements: list[str] = []
        self.largest = 0

    def execute(self, query: str, parameters: Any = None) -> Any:
        self.statements.append(query.partition("/* ")[2].partition(" */")[0])
        if parameters is not None:
            self.largest = max(self.largest, sum(_size(each) for each in parameters.values()))
        return self._connection.execute(cast("Any", query), parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def _size(value: Any) -> int:
    if isinstance(value, JsonArray):
        return len(value.encode())
    return len(str(value))


def watched(worker: Worker) -> Watched:
    seen = Watched(worker.connection)
    worker.connection = cast("Connection", seen)
    return seen


@pytest.mark.parametrize("warm", [False, True])
def test_what_expressions_name_is_fetched_in_one_statement(mill: Mill, warm: bool) -> None:
    """Twenty flows at once, ten results each: one statement if nothing is at hand, none if all is."""
    early = [raw(f"s{n}", x=n) for n in range(10)]
    named = "[" + ", ".join(f"results.s{n}" for n in range(10)) + "]"
    mill.deploy(flow(*early, raw("x", x=0), raw("y", x=named)))
    flows = [mill.submit() for _ in range(20)]
    worker = mill.worker(library=Library() if warm else None)
    worker.turn()
    while worker.hand[0].step != "x":
        assert worker.turn()
    assert len(worker.hand) == 20
    seen = watched(worker)
    done = worker.settle([worker.outcome(step) for step in worker.hand])
    assert len(done.handed) == 20
    assert seen.statements.count("step_results") == (0 if warm else 1)
    assert len(seen.statements) < 15
    worker.hand = list(done.handed)
    mill.play(worker)
    assert {str(mill.ended(job)) for job in flows} == {str(("success", list(range(10))))}


def test_what_no_expression_names_is_not_loaded(mill: Mill) -> None:
    large = "x" * 100_000
    mill.deploy(flow(raw("a", x="flow_input.large"), raw("b", x=1), raw("c", x="results.b")))
    job = mill.submit({"large": large})
    worker = mill.worker()
    worker.turn()
    worker.turn()
    seen = watched(worker)
    worker.turn()
    worker.turn()
    assert "flow_inputs" not in seen.statements
    assert seen.largest < 10_000
    mill.play(worker)
    assert mill.ended(job) == ("success", 1)


def test_the_state_of_a_thousand_steps_is_as_small_as_that_of_ten(mill: Mill) -> None:
    steps = [raw("s0", x=0)]
    steps += [raw(f"s{n}", x=f"results.s{max(0, n - 700)} + 1") for n in range(1, 1000)]
    job = mill.start(flow(*steps))
    worker = mill.worker(library=Library(), connection=mill.connection)
    seen = watched(worker)
    sizes, counts = [], []
    while worker.turn():
        counts.append(len(seen.statements))
        seen.statements.clear()
        size = mill.floor.rows("select octet_length(state::text) from mill.flow_run")
        sizes += [row[0] for row in size]
    assert len(sizes) == 1000
    assert max(sizes) < 130
    assert max(counts[10:-1]) <= 10
    assert seen.largest < 2_000
    mill.check_clean()
    assert mill.ended(job) == ("success", 2)


@pytest.mark.parametrize("body", [False, True], ids=["steps", "bodies"])
def test_the_state_of_a_long_loop_does_not_grow(mill: Mill, body: bool) -> None:
    inside = [raw("a", x="flow_input.iter.value")]
    if body:
        inside.append(raw("b", x="results.a"))
    count = 1000
    job = mill.start(flow(loop("l", "flow_input.items", *inside)), {"items": list(range(count))})
    worker = mill.worker(library=Library(), connection=mill.connection)
    seen = watched(worker)
    worker.turn()
    seen.largest = 0
    sizes: list[int] = []
    while worker.turn():
        sizes += [row[0] for row in mill.floor.rows("select octet_length(state::text) from mill.flow_run")]
    assert max(sizes) < 130
    assert seen.largest < 3_000
    mill.check_clean()
    assert mill.ended(job) == ("success", list(range(count)))


def test_a_loop_over_five_thousand_items_reads_them_in_pieces(mill: Mill) -> None:
    count = 5000

    def make(code: str, args: Json, attempt: int) -> tuple[bool, Json]:
        if code == "make":
            return True, [{"n": n, "text": "x" * 100} for n in range(count)]
        return perform(code, args, attempt)

    inside = raw("a", x="flow_input.iter.value.n")
    job = mill.start(flow(raw("m", "make"), loop("l", "results.m", inside, parallel=True, parallelism=50)))
    worker = mill.worker(perform=make, limit=100, connection=mill.connection)
    worker.turn()
    worker.turn()  # the items are written once
    assert mill.floor.value("select count(*) from mill.flow_item") == -(-count // CHUNK_ITEMS)
    seen = watched(worker)
    sizes: list[int] = []
    while worker.turn():
        assert len(worker.hand) <= 50
        sizes += [row[0] for row in mill.floor.rows("select octet_length(state::text) from mill.flow_run")]
    assert max(sizes) < 130
    assert seen.largest < 60_000
    assert "step_results" not in seen.statements
    mill.check_clean()
    assert mill.ended(job) == ("success", list(range(count)))


# -- retention -----------------------------------------------------------------------------


def test_history_that_a_flow_under_way_may_read_is_kept(own_floor: Floor) -> None:
    mill = Mill(own_floor)
    mill.clear()
    job = mill.start(flow(raw("a", x=5), raw("b", sleep=static(9e5)), raw("c", x="results.a")))
    worker = mill.worker()
    play_until_it_rests(worker)
    # Ten days ago.
    own_floor.do("select mill.ensure_partitions(0, current_date - n) from generate_series(8, 12) n")
    own_floor.do("update mill.completed_job set completed_at = completed_at - interval '10 days'")
    own_floor.do("update mill.flow_run set started_at = started_at - interval '10 days'")
    for parent in ("completed_job", "job_log"):
        own_floor.do("select mill.drop_partitions(%s, now() - interval '2 days')", parent)
    assert len(mill.children(job)) == 2
    mill.play(worker)
    assert mill.ended(job) == ("success", 5)
    own_floor.do("select mill.drop_partitions('completed_job', now() - interval '2 days')")
    assert [row[0] for row in mill.children(job)] == ["c"]


# -- cancelled -----------------------------------------------------------------------------


def cancel(mill: Mill, job: str, reason: str = "no more") -> str:
    return jobs.cancel_job(mill.connection, "default", job, by="u/mia", reason=reason)


def all_statuses(mill: Mill) -> Counter[str]:
    return Counter(row[0] for row in mill.floor.rows("select status from mill.completed_job"))


def finish_asked(worker: Worker, *steps: ClaimedJob) -> Settled:
    """Their workers have heard that they are to end."""
    asked = worker.mill.floor.rows(
        "select id::text from mill.queue where cancel_requested_at is not null and claim is not null"
    )
    assert {row[0] for row in asked} == {step.id for step in steps}
    return worker.settle([Outcome(step, Verdict.CANCELLED, b"null", 5, monotonic()) for step in steps])


DEEP = flow(
    every(
        "e",
        [nested("n", n=1), raw("n2")],
        [loop("l", 3, raw("a", x=1), raw("a2", x=2), parallel=True), raw("l2")],
        [raw("s", sleep=static(1e5)), raw("s2")],
        [raw("u", suspend={"required_events": 1}), raw("u2")],
        parallel=True,
    ),
    raw("after"),
)


@pytest.mark.parametrize("running", [0, 1, 3, 5])
def test_a_cancel_ends_all_that_is_inside(mill: Mill, running: int) -> None:
    """Children of children; steps that wait, steps that run, what sleeps and what waits for an answer."""
    mill.deploy(INNER, "f/flows/inner")
    job = mill.start(DEEP)
    first = mill.worker(takes=False)
    assert first.turn()
    while not (
        mill.suspended() and mill.floor.value("select count(*) from mill.flow_run where wake_at > now()") == 2
    ):
        for step in first.claim():
            if step.step in {"s", "u"}:
                first.settle([first.outcome(step)])
            elif not step.is_flow:
                claims.release_jobs(first.connection, [(step.id, step.claim)])
    holder = mill.worker(limit=running)
    steps = holder.claim() if running else []
    assert all(not step.is_flow for step in steps)
    assert cancel(mill, job) == "requested"
    worker = mill.worker(tags=("flow",))
    assert worker.turn()
    assert mill.floor.value("select count(*) from mill.flow_run") == 0
    done = finish_asked(holder, *steps)
    assert (done.stale, done.handed) == (frozenset(), ())
    mill.check_clean()
    status, result = mill.ended(job)
    assert status == "cancelled"
    assert result["error"]["canceler"] == "u/mia"
    assert result["error"]["reason"] == "no more"
    assert all_statuses(mill) == Counter(success=2, cancelled=mill.floor.value(
        "select count(*) from mill.completed_job where status <> 'success'"
    ))  # fmt: skip
    assert "after" not in {row[0] for row in mill.floor.rows("select step from mill.completed_job")}
    assert not worker.turn()


def test_a_step_that_succeeds_after_its_flow_was_cancelled_moves_nothing(mill: Mill) -> None:
    job, (holder,), (step,) = apart(mill, flow(raw("a", x=1), raw("b")), 1)
    cancel(mill, job)
    worker = mill.worker()
    assert worker.turn()
    done = holder.settle([holder.outcome(step)])
    assert (done.stale, done.handed) == (frozenset(), ())
    mill.check_clean()
    assert all_statuses(mill) == Counter(success=1, cancelled=1)


def test_a_step_that_ends_before_a_cancel_is_seen_starts_nothing(mill: Mill) -> None:
    job, (holder,), (step,) = apart(mill, flow(raw("a", x=1), raw("b")), 1)
    cancel(mill, job)
    done = holder.settle([holder.outcome(step)])
    assert done.handed == ()
    assert mill.worker().turn()
    mill.check_clean()
    assert all_statuses(mill) == Counter(success=1, cancelled=1)


def test_a_flow_that_has_not_begun_is_cancelled_at_once(mill: Mill) -> None:
    job = mill.start(flow(raw("a")))
    assert cancel(mill, job) == "cancelled"
    mill.check_clean()
    assert mill.ended(job)[0] == "cancelled"


def test_a_flow_that_is_cancelled_before_its_worker_begins_does_not(mill: Mill) -> None:
    job = mill.start(flow(raw("a")))
    worker = mill.worker()
    begun = worker.claim()
    assert cancel(mill, job) == "requested"
    (asked,) = worker.settle([], begun).cancelled
    worker.cancel(asked)
    mill.check_clean()
    assert mill.ended(job)[0] == "cancelled"
    assert mill.children(job) == []


def test_a_nested_flow_that_is_cancelled_is_a_step_that_was(mill: Mill) -> None:
    mill.deploy(INNER, "f/flows/inner")
    value = flow(nested("n", n=1, continue_on_error=True), raw("b", x="results.n.error.name"))
    job, _, _ = apart(mill, value, 1)
    inner = mill.floor.value("select id::text from mill.queue where parent_job = %s", job)
    mill.floor.do("update mill.queue set running = false, claim = null, node = null where not is_flow")
    cancel(mill, inner)
    mill.play(mill.worker())
    mill.check_clean()
    assert mill.ended(job) == ("success", "Canceled")
    assert mill.ended(inner)[0] == "cancelled"


def test_a_step_that_is_claimed_while_its_flow_is_cancelled_is_asked(mill: Mill) -> None:
    """The claim holds the step's row; the cancel passes it by, and asks afterwards."""
    job = mill.start(flow(raw("a", x=1), raw("b")))
    mill.worker(takes=False).turn()
    cancel(mill, job)
    claiming = mill.worker(limit=1, tags=("python3",))
    worker = mill.worker(tags=("flow",))
    (asked,) = worker.settle([], worker.claim()).cancelled
    with claiming.connection.transaction():
        (step,) = claiming.claim()
        rival = mill.floor.rival(lambda _: worker.cancel(asked))
        eventually(lambda: mill.floor.value("select count(*) from mill.completed_job where is_flow") == 1)
    rival.result()
    finish_asked(claiming, step)
    mill.check_clean()
    assert all_statuses(mill) == Counter(cancelled=2)


def test_a_flow_is_cancelled_while_a_step_of_it_is_settled(mill: Mill) -> None:
    job, (holder, other), (step, last) = apart(mill, JOIN)
    cancel(mill, job)
    worker = mill.worker()
    (asked,) = worker.settle([], worker.claim()).cancelled
    with holder.connection.transaction():
        done = settlement.settle(holder.connection, [holder.outcome(step)], (), (), holder.part())
        assert done.handed == ()
        rival = mill.floor.rival(lambda _: worker.cancel(asked))
        assert rival.waits()
    rival.result()
    finish_asked(other, last)
    mill.check_clean()
    assert all_statuses(mill) == Counter(success=1, cancelled=2)


def test_a_cancel_at_the_moment_a_flow_comes_to_rest_for_the_first_time(mill: Mill) -> None:
    """It waits for the row, and then has to see that the flow is under way."""
    job = mill.start(flow(identity("a", sleep=static(1e5)), raw("b")))
    worker = mill.worker()
    begun = worker.claim()
    with worker.connection.transaction():
        settlement.settle(worker.connection, [], (), (), worker.part(begun))
        rival = mill.floor.rival(lambda own: jobs.cancel_job(own, "default", job, by="u/mia"))
        assert rival.waits()
    rival.result()
    while worker.turn():
        pass
    mill.check_clean()
    assert mill.ended(job)[0] == "cancelled"


def test_who_waits_for_what_was_cancelled_is_let_in(mill: Mill) -> None:
    mill.floor.deploy("f/a/narrow", content="echo", concurrency_limit=1)
    job = mill.start(flow(loop("l", 3, script("a", "f/a/narrow", x=1), parallel=True)))
    worker = mill.worker(takes=False)
    worker.turn()
    alone = mill.floor.submit(path="f/a/narrow")
    cancel(mill, job)
    worker.turn()
    (claimed,) = worker.claim()
    assert claimed.id == alone
    mill.floor.hand()
    settlement.settle(worker.connection, [Outcome(claimed, Verdict.SUCCESS, b"1", 5, monotonic())])
    mill.check_clean()


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_worker_that_dies_at_a_cancel_leaves_it_to_the_next(mill: Mill, where: str) -> None:
    job, _, _ = apart(mill, JOIN)
    cancel(mill, job)
    worker = mill.worker()
    (asked,) = worker.settle([], worker.claim()).cancelled
    if where == "before":
        with worker.connection.transaction(force_rollback=True):
            worker.cancel(asked)
    else:
        worker.cancel(asked)
    mill.rescue(worker.holder.node)
    while mill.worker().turn():
        pass
    assert mill.ended(job)[0] == "cancelled"
    assert mill.floor.value("select count(*) from mill.queue where is_flow") == 0


# -- what goes wrong -----------------------------------------------------------------------


def test_a_result_that_the_database_refuses_moves_nothing(mill: Mill) -> None:
    job, (worker,), (step,) = apart(mill, flow(raw("a", x=1), raw("b")), 1)
    with pytest.raises(StoreRefused):
        worker.settle([Outcome(step, Verdict.SUCCESS, b'{"broken', 5, monotonic())])
    assert mill.children(job) == []
    worker.hand = [step]
    mill.play(worker)
    mill.check_clean()


def test_a_flow_that_cannot_go_on_fails_and_its_parent_hears_of_it(mill: Mill) -> None:
    mill.deploy(INNER, "f/flows/inner")
    job, (worker,), (step,) = apart(
        mill, flow(nested("n", n=1, continue_on_error=True), raw("b", x="results.n.error.message")), 1
    )
    inner = mill.floor.value("select id::text from mill.queue where parent_job = %s", job)
    wake_flows(mill.connection, [inner])
    (claimed,) = worker.claim()
    part = worker.part()
    done = settlement.settle_broken_flow(worker.connection, part.worker, part.claim, claimed, "it is broken")
    assert dict(done.ended)[inner] == "failure"
    worker.hand = [*done.handed, step]
    mill.play(worker)
    mill.check_clean()
    assert mill.ended(job) == ("success", "it is broken")


def test_cancelling_what_is_over_is_an_error(mill: Mill) -> None:
    job = mill.start(flow(raw("a")))
    mill.play(mill.worker())
    with pytest.raises(JobNotFound):
        cancel(mill, job)
