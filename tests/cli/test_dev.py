"""`mill dev` and `mill worker` as processes: start, signals, secrets, the embedded server."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import Mill, Running, open_gate

GATE = """
def main(gate):
    print("waiting at the gate", flush=True)
    open(gate).read()
    return "through"
"""


@pytest.fixture
def gate(mill: Mill) -> Path:
    mill.script("f/a/gate", GATE)
    return mill.gate("gate")


@pytest.fixture
def at_gate(mill: Mill, gate: Path) -> Iterator[tuple[Running, Running]]:
    """A `mill dev`, and a `mill run` whose job waits at the gate."""
    with mill.dev() as dev, mill.running("run", "f/a/gate", "--arg", f"gate={gate}", "--json") as run:
        run.until_err("waiting at the gate")
        yield dev, run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_runs_end(
    number: signal.Signals,
    at_gate: tuple[Running, Running],
    gate: Path,
) -> None:
    dev, run = at_gate
    dev.signal(number)
    dev.until_err(f"{number.name}: finishing what runs")
    open_gate(gate)
    assert json.loads(run.end().out)["result"] == "through"
    dev.end(0)


def test_a_second_one_gives_it_back_without_counting_an_attempt(
    mill: Mill, at_gate: tuple[Running, Running]
) -> None:
    dev, run = at_gate
    (job,) = (row["id"] for row in mill("job", "list", "--json").json)
    dev.signal(signal.SIGINT)
    dev.until_err("SIGINT: finishing what runs")
    dev.signal(signal.SIGINT)
    dev.end(0)
    told = mill("job", "get", job, "--json").json
    assert (told["status"], told["attempt"], told["rescues"]) == ("queued", 1, 0)
    assert told["waits"].startswith("nobody serves its tag")
    run.signal(signal.SIGINT)
    assert "goes on" in run.end(130).err


def test_a_node_answers_signals_and_hides_what_it_knows(mill: Mill) -> None:
    url = mill.environ.pop("DATABASE_URL")
    with mill.running("worker", "--json", "--log-json", "--database-url", url) as worker:
        told = json.loads(worker.until_out('"node"'))
        assert told["dedicated"] == []
        process = psutil.Process(worker.process.pid)
        assert url not in " ".join(process.cmdline())
        assert process.cmdline()[0].startswith(f"mill node {told['name']}")
        if sys.platform == "linux" and os.geteuid() != 0:
            with pytest.raises(PermissionError):
                Path(f"/proc/{process.pid}/environ").read_bytes()
        worker.signal(signal.SIGUSR1)
        stack = json.loads(worker.until_err("worker/puller"))
        assert ", line " in stack["message"]
        worker.signal(signal.SIGTERM)
        err = worker.end(0).err
    assert all(json.loads(line)["level"] for line in err.splitlines())


def test_without_a_database_one_is_made_and_shared_by_the_folders_commands(bare: Mill) -> None:
    with bare.running("dev") as dev:
        assert "making a PostgreSQL database in" in dev.until_err("making")
        assert "every dedicated script" in dev.until_err("runs on its PostgreSQL")
        dev.until_err("mill deploy")
        (bare.folder / "hello.py").write_text("def main(name): return f'Hello {name}'\n")
        bare("deploy", "hello.py", "--path", "f/a/hello")
        assert bare("run", "f/a/hello", "--arg", "name=Ada").out == '"Hello Ada"\n'
        (picture,) = bare("tree", "--json").json
        assert picture["pid"] == dev.process.pid
        dev.signal(signal.SIGINT)
        dev.until_err("SIGINT: finishing what runs")
        dev.end(0)
    # What is there is found again, and stops with the command that started it.
    assert [row["path"] for row in bare("job", "list", "--json").json] == ["f/a/hello"]
    running = [
        p.info["name"]
        for p in psutil.process_iter(["name", "cwd"])
        if str(bare.folder) in (p.info["cwd"] or "")
    ]
    assert running == []
