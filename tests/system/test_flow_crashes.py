"""Flows while nodes die: killed, drained, cut off from the database. Nodes are processes here.

Generated flows run under two paths each: one goes through the queue, the other is dedicated and held whole.
All their scripts are one, which writes into a ledger when it starts and when it is about to answer.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from mill_actors.errors import MillError
from mill_actors.flows.version import FlowOptions
from mill_actors.jobs.script import make_script
from mill_actors.store.flow_versions import make_flow
from mill_actors.store.submission import Submission
from tests.flows.generated import answer_of, evaluate, flows, run_script
from tests.flows.oracle import Oracle
from tests.store.floor import Floor
from tests.store.test_flow_transitions import Mill, plain
from tests.system.engine import Engine, NodeProcess
from tests.system.proxy import Proxy, wait_until

Json = Any
EXAMPLES = int(os.environ.get("MILL_TEST_EXAMPLES", "0"))
FLOWS = 50
KILLS = max(4, EXAMPLES // 20)
#: Copies of each flow, of each kind.
COPIES = max(1, EXAMPLES // 100)
SCRIPT = "f/crash/work"
PATIENCE = 90.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + EXAMPLES * 2)]

#: What `generated.run_script` says, for real. Attempts are those of the step, in the file of its tries.
WORK = """
import os
import time


def write(ledger, *words):
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND)
    os.write(file, (" ".join(words) + "\\n").encode())
    os.close(file)


def main(ledger, code, leaf, attempt, x=None):
    job, root = os.environ["WM_JOB_ID"], os.environ["WM_ROOT_FLOW_JOB_ID"]
    parent, step = os.environ["WM_FLOW_JOB_ID"], os.environ["WM_FLOW_STEP_ID"]
    write(ledger, "start", job, root, parent, step, leaf)
    time.sleep(0.005)  # as if it worked
    what, _, number = code.partition(" ")
    odd = isinstance(x, int) and x % 2 == 1
    fails = what == "fail" or (what == "fail_before" and attempt < int(number)) or (what == "fail_odd" and odd)
    write(ledger, "end", job, root, parent, step, leaf)
    if fails:
        raise type(what, (Exception,), {})(code)
    if what == "const":
        return {"v": int(number)}
    if what == "recover":
        return {"recover": True, "got": x}
    if what == "list":
        return [x]
    return x
"""


class Line:
    """A line of the ledger, and where it stands."""

    def __init__(self, place: int, text: str) -> None:
        self.place = place
        self.kind, self.job, self.root, self.parent, self.step, self.leaf = text.split()


def examples() -> list[tuple[Json, dict[str, Json]]]:
    """The same flows every time: those in which most happens, of many."""
    found: list[tuple[int, int, tuple[Json, dict[str, Json]]]] = []

    @settings(
        max_examples=300,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(flows())
    def collect(example: Any) -> None:
        value, inner = example
        if '"fail_before' in json.dumps(example):
            return  # how often it was tried is known to nobody who runs
        value, inner = hurried(value), {path: hurried(each) for path, each in inner.items()}
        ran: Counter[str] = Counter()
        Oracle(evaluate, run_script, answer_of, inner, ran).flow(value, {"n": 2})
        if ran.total() <= 40:
            found.append((ran.total(), len(found), (value, inner)))

    collect()
    found.sort(reverse=True)
    assert len(found) >= FLOWS
    return [example for *_, example in found[:FLOWS]]


def hurried(value: Json) -> Json:
    """The same flow with pauses that nobody notices."""
    if isinstance(value, list):
        return [hurried(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: hurried(each) for name, each in value.items()}
    sleep = found.get("sleep")
    if sleep is not None:
        if sleep["type"] != "static":
            del found["sleep"]
        elif sleep["value"] > 0:
            sleep["value"] = 0.05
    if "suspend" in found and answer_of(found["id"]) == "time_out":
        found["suspend"]["timeout"] = 0.2
    if found.get("constant"):
        found["constant"]["seconds"] = min(found["constant"]["seconds"], 0.05)
    return found


def deployable(value: Json, ledger: str, inner: str) -> Json:
    """The same flow, with the one script that there is, and its own inner flow."""
    if isinstance(value, list):
        return [deployable(each, ledger, inner) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: deployable(each, ledger, inner) for name, each in value.items()}
    told = found.get("value")
    if isinstance(told, dict) and told.get("type") == "rawscript":
        inputs = {"ledger": ledger, "code": told["content"], "leaf": found["id"], "attempt": 1}
        more = {name: {"type": "static", "value": each} for name, each in inputs.items()}
        found["value"] = {
            "type": "script",
            "path": SCRIPT,
            "input_transforms": {**told["input_transforms"], **more},
        }
    elif isinstance(told, dict) and told.get("type") == "flow":
        told["path"] = inner
    return found


class Works:
    """Nodes, generated flows of both kinds, and the count at the end."""

    def __init__(self, engine: Engine, floor: Floor) -> None:
        self.engine = engine
        self.floor = floor
        self.mill = Mill(self.floor)
        self.expected: dict[str, Any] = {}
        self.nodes: list[NodeProcess] = []
        self._deployed: list[tuple[str, Any]] = []
        engine.client.deploy(make_script("default", SCRIPT, "python3", WORK))

    def deploy(self, *, count: int = FLOWS) -> None:
        for number, (value, inner) in enumerate(examples()[:count]):
            oracle = Oracle(evaluate, run_script, answer_of, inner, Counter())
            out = oracle.flow(value, {"n": 2})
            for kind, options in (("queued", FlowOptions()), ("held", FlowOptions(dedicated=True))):
                path = f"f/crash/{kind}_{number}"
                for each in inner.values():
                    self._deploy(f"{path}_inner", each, FlowOptions())
                self._deploy(path, value, options)
                self._deployed.append((path, plain((out.status, out.result))))

    def _deploy(self, path: str, value: Json, options: FlowOptions) -> None:
        told = deployable(value, str(self.engine.ledger), f"{path}_inner")
        text = make_flow("default", path, json.dumps(told).encode(), options=options)
        self.engine.client.deploy_flow(text)

    def submit(self) -> list[str]:
        told = [Submission(path=path, args={"n": 2}) for path, _ in self._deployed]
        found = [receipt.id for receipt in self.engine.client.submit_many(told)]
        for job, (_, expected) in zip(found, self._deployed, strict=True):
            self.expected[job] = expected
        return found

    def node(self, **settings: Any) -> NodeProcess:
        node = self.engine.node_process(
            worker__processes=2, worker__dedicated=["*"], worker__poll_seconds=1, **settings
        )
        self.nodes.append(node)
        return node

    # -- while it runs ---------------------------------------------------------------------

    def lines(self) -> list[Line]:
        return [Line(place, text) for place, text in enumerate(self.engine.ledger.read_text().splitlines())]

    def answer(self) -> None:
        """Answer whoever asks; those that time out are left alone."""
        for run, step in self.mill.suspended():
            said = answer_of(step)
            if said != "time_out":
                with suppress(MillError):  # it has just ended
                    self.mill.answer(run, approved=said == "approve")

    def open(self) -> int:
        self.answer()
        return int(self.floor.value("select count(*) from mill.queue"))

    def await_more(self, count: int) -> bool:
        """Wait until so many more scripts have ended; False: everything has."""
        before = len(self.lines())
        wait_until(
            lambda: len(self.lines()) >= before + 2 * count or self.open() == 0, "it goes on", PATIENCE
        )
        return bool(self.open())

    def await_end(self) -> None:
        wait_until(lambda: self.open() == 0, f"all flows end: {self.mill.open()[:6]}", PATIENCE)

    # -- afterwards ------------------------------------------------------------------------

    def check(self) -> None:
        self.mill.check_clean()
        rows = self.floor.rows(
            "select id::text, status, result::text from mill.completed_job where parent_job is null"
        )
        ends = {job: plain((status, json.loads(result))) for job, status, result in rows}
        wrong = {job: (ends.get(job), due) for job, due in self.expected.items() if ends.get(job) != due}
        assert not wrong, f"{len(wrong)} of {len(self.expected)} ended otherwise: {list(wrong.items())[:2]}"
        self._check_effects()

    def _check_effects(self) -> None:
        """What history knows of has happened, and before what came after it began."""
        rows = self.floor.rows(
            "select id::text, parent_job::text, step from mill.completed_job "
            "where path = %s and not is_flow and duration_us > 0",
            SCRIPT,
        )
        ended: dict[str, int] = {}
        for line in self.lines():
            if line.kind == "end":
                ended.setdefault(line.job, line.place)
        lost = [row for row in rows if row[0] not in ended]
        assert not lost, f"{len(lost)} steps are over and left no trace: {lost[:3]}"
        # Children of a body in the order of its steps: `s3`, and `s3~0` for a try that was set aside.
        done: dict[str, list[tuple[int, int]]] = {}
        for job, parent, step in rows:
            if step.partition("~")[0][1:].isdigit():
                done.setdefault(parent, []).append((int(step.partition("~")[0][1:]), ended[job]))
        for line in self.lines():
            if line.kind != "start" or not line.step[1:].isdigit():
                continue
            early = [
                (number, place)
                for number, place in done.get(line.parent, ())
                if number < int(line.step[1:]) and place > line.place
            ]
            assert not early, f"{line.step} of {line.parent} started before {early} had ended"


@pytest.fixture
def works(engine: Engine) -> Iterator[Works]:
    with Floor(engine.dsn) as floor:
        yield Works(engine, floor)


def test_flows_end_as_they_should_however_often_nodes_are_killed(works: Works) -> None:
    works.deploy()
    works.node()
    works.node()
    for _ in range(COPIES):
        works.submit()
    kills = 0
    while kills < KILLS and works.await_more(25):
        # It is the nodes' fault, and not the flows'.
        works.floor.do("update mill.queue set rescues = 0 where rescues > 0")
        works.nodes.pop(0).kill()
        kills += 1
        works.node()
    works.await_end()
    assert kills >= 3
    works.check()


def test_nodes_that_are_drained_hand_their_flows_on(works: Works) -> None:
    works.deploy(count=40)
    works.node()
    works.submit()
    for _ in range(2):
        assert works.await_more(15)
        last = works.nodes.pop()
        works.node()
        last.signal(signal.SIGTERM)
        assert last.exit_code() == 0
    works.await_end()
    works.check()
    # Nothing ran twice: what ran was let finish, what had not started was given back.
    starts = Counter(line.job for line in works.lines() if line.kind == "start")
    assert starts.most_common(1)[0][1] == 1
    assert works.floor.value("select count(*) from mill.completed_job where rescues > 0") == 0


def test_an_outage_loses_nothing(works: Works, proxy: Proxy) -> None:
    works.deploy(count=20)
    node = works.node(environment={"DATABASE_URL": proxy.dsn})
    works.submit()
    for outage in (1, 2):
        assert works.await_more(15)
        proxy.shut()
        node.wait("log", lambda line: "settle" in line["text"] and "away" in line["text"], count=outage)
        proxy.open()
    works.await_end()
    works.check()


@pytest.mark.parametrize("held", [False, True], ids=["queued", "held"])
def test_the_reply_to_a_commit_is_lost(works: Works, proxy: Proxy, held: bool) -> None:
    works.deploy(count=10)
    kind = "held" if held else "queued"
    works._deployed = [each for each in works._deployed if f"/{kind}_" in each[0]]
    statements = (b"settle_held", b"COMMIT") if held else (b"finish_jobs", b"COMMIT", b"put_runs")
    lost = [proxy.lose_reply("mill completer", statement) for statement in statements]
    works.node(environment={"DATABASE_URL": proxy.dsn})
    works.submit()
    works.await_end()
    assert all(each.is_set() for each in lost)
    works.check()


def test_a_folder_shared_by_steps_goes_with_its_node(engine: Engine, folder: Path) -> None:
    """Another machine takes the flow over, and says what is missing."""
    engine.deploy(
        "share", "def main(name):\n    open('./shared/' + name, 'a').close()\n    import os\n    return sorted(os.listdir('./shared'))\n"
    )  # fmt: skip
    steps = [
        {
            "id": name,
            "value": {
                "type": "script",
                "path": "f/test/share",
                "input_transforms": {"name": {"type": "static", "value": name}},
            },
        }
        for name in ("a", "b", "c")
    ]
    value = {"modules": steps, "same_worker": True}
    engine.client.deploy_flow(make_flow("default", "f/test/sharing", json.dumps(value).encode()))
    engine.node_process()
    assert engine.run("sharing").value == ["a", "b", "c"]
    assert not list((folder / "work" / "shared").glob("*"))
