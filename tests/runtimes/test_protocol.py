"""Frames, order, attribution and the end of a process: the same in every language."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mill_actors.runtimes.frames import Done, Init, encode_init, encode_run
from mill_actors.runtimes.languages import LANGUAGES
from tests.runtimes.conftest import Start
from tests.runtimes.harness import CLAIM, Warm, is_gone, result_of, until

# The same program in each language: its log, its environment, its patience.
PROGRAMS = {
    "python3": """
        import os, subprocess, time
        COUNT = 0
        def main(text="", env=None, file="", busy=0.0, child=""):
            global COUNT
            COUNT += 1
            if text: print(text)
            if child: subprocess.run(["sh", "-c", child])
            if file: open(file, "w").close()
            end = time.monotonic() + busy
            while time.monotonic() < end: pass
            if env: return [os.environ.get(name) for name in env]
            return COUNT
    """,
    "bun": """
        import { writeFileSync } from "node:fs";
        let count = 0;
        export function main(text = "", env?: string[], file = "", busy = 0, child = "") {
            count += 1;
            if (text) console.log(text);
            if (child) Bun.spawnSync(["sh", "-c", child], { stdio: ["inherit", "inherit", "inherit"] });
            if (file) writeFileSync(file, "");
            const end = performance.now() + busy * 1000;
            while (performance.now() < end) {}
            if (env) return env.map((name) => process.env[name]);
            return count;
        }
    """,
}


@pytest.fixture(params=PROGRAMS)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def warm(start: Start, language: str) -> Warm:
    warm = start(language, PROGRAMS[language], env={"CONSTANT": "c"})
    assert warm.ready().pid == warm.process.pid
    return warm


def test_the_script_is_imported_once_and_keeps_its_state(warm: Warm) -> None:
    assert [warm.result() for _ in range(3)] == [1, 2, 3]


def test_every_job_is_answered_at_once(warm: Warm, tmp_path: Path) -> None:
    warm.send()
    busy = warm.send({"busy": 0.3})
    assert result_of(warm.answer()) == 1
    assert warm.process.poll() is None
    assert warm.answer().job_id == busy


def test_many_jobs_in_the_pipe_are_answered_in_order(warm: Warm) -> None:
    jobs = [warm.send({"text": "x" * (number % 7)}) for number in range(2000)]
    replies = [warm.answer() for _ in jobs]
    assert [reply.job_id for reply in replies] == jobs
    assert [result_of(reply) for reply in replies] == list(range(1, 2001))


def test_a_frame_may_come_in_pieces(warm: Warm) -> None:
    number = warm.next_number()
    warm.permits.grant(number, 1)
    frame = encode_run(number, "job-0", CLAIM, '{"text": "%s"}' % ("é" * 300_000), "t")
    for start in range(0, len(frame), 99_999):
        warm.write(frame[start : start + 99_999])
    reply = warm.answer()
    assert warm.log(reply) == "é" * 300_000 + "\n"
    assert warm.result() == 2


def test_output_belongs_to_the_job_that_wrote_it(warm: Warm) -> None:
    texts = ["", "a", "", "bb", "é" * 1000, "-" * 100_000, "", "end"]
    for text in texts:
        warm.send({"text": text})
    logs = [warm.log(warm.answer()) for _ in texts]
    assert logs == [text + "\n" if text else "" for text in texts]


def test_output_of_children_belongs_to_their_job(warm: Warm) -> None:
    assert warm.printed({"text": "before", "child": "echo out; echo err >&2"}) == "before\nout\nerr\n"
    assert warm.printed({"text": "after"}) == "after\n"


def test_a_child_that_truncates_the_log_harms_only_the_log(warm: Warm) -> None:
    warm.printed({"text": "long enough to be longer"})
    reply = warm.run({"child": "echo short > /dev/stderr"})
    assert warm.log(reply) == "short\n"
    assert warm.printed({"text": "next"}) == "next\n"


def test_the_log_can_be_emptied_between_jobs(warm: Warm) -> None:
    warm.printed({"text": "first"})
    warm.capture.truncate()
    reply = warm.run({"text": "second"})
    assert reply.out == len("second\n")
    assert warm.capture.read(0, reply.out, 100) == b"second\n"


def test_the_environment_of_each_job_is_its_own(warm: Warm) -> None:
    names = ["CONSTANT", "WM_JOB_ID", "WM_TOKEN", "WM_USERNAME", "WM_FLOW_PATH"]
    assert warm.result({"env": names}, job="a", token="ta") == ["c", "a", "ta", None, None]
    warm.context(WM_USERNAME="alice", WM_FLOW_PATH="f/x")
    assert warm.result({"env": names}, job="b", token="tb") == ["c", "b", "tb", "alice", "f/x"]
    assert warm.result({"env": names}, job="c", token="tc") == ["c", "c", "tc", "alice", "f/x"]
    warm.context(WM_USERNAME="bob", CONSTANT="changed")
    assert warm.result({"env": names}, job="d", token="td") == ["changed", "d", "td", "bob", None]
    warm.context()
    assert warm.result({"env": names}, job="e", token="te") == ["c", "e", "te", None, None]
    show = 'echo "$CONSTANT $WM_JOB_ID $WM_TOKEN $WM_USERNAME"'
    warm.context(WM_USERNAME="carol")
    assert warm.printed({"child": show}, job="f", token="x" * 10_000) == f"c f {'x' * 10_000} carol\n"
    assert warm.printed({"child": show}, job="g", token="t") == "c g t carol\n"


def test_contexts_keep_their_place_among_the_runs(warm: Warm) -> None:
    for number in range(50):
        warm.context(WM_USERNAME=str(number))
        warm.send({"env": ["WM_USERNAME"]})
    assert [result_of(warm.answer()) for _ in range(50)] == [[str(number)] for number in range(50)]


def test_no_private_descriptor_reaches_a_child(warm: Warm) -> None:
    log = warm.printed({"child": "ls -l /proc/self/fd | grep -c -e pipe: -e memfd"})
    assert log == "2\n"  # standard output and error, both the capture


def test_the_end_of_the_input_is_the_end(warm: Warm) -> None:
    warm.result()
    warm.close_input()
    assert warm.death() == 0


def test_the_job_that_runs_at_the_end_of_the_input_is_answered(warm: Warm, tmp_path: Path) -> None:
    file = tmp_path / "started"
    warm.send({"file": str(file), "busy": 0.1})
    until(file.exists)
    warm.close_input()
    assert result_of(warm.answer()) == 1
    assert warm.death() == 0


def test_a_node_that_never_came(start: Start, language: str, tmp_path: Path) -> None:
    command = LANGUAGES[language].command(permits=0)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def test_nonsense_ends_the_process_and_says_why(warm: Warm) -> None:
    warm.write(b"hello\n")
    assert warm.death() == 1
    assert "not a frame" in warm.everything()


NODE = """
import os, subprocess, sys
source, command = sys.argv[1], sys.argv[2:]
pipe = os.pipe()
process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
process.stdin.write(bytes.fromhex(source))
process.stdin.flush()
print(process.pid, flush=True)
process.stdout.readline()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_a_process_does_not_outlive_its_node(language: str, how: str, tmp_path: Path, start: Start) -> None:
    script = start(language, PROGRAMS[language]).script
    init = encode_init(Init(script=str(script), path="f/x"))
    # Permit 0 from a file, on a descriptor that the shell of the launcher keeps.
    permits = os.open(tmp_path / "permits", os.O_CREAT | os.O_RDWR)
    high = 60
    os.dup2(permits, high, inheritable=True)
    os.pwrite(high, (0).to_bytes(8, "little"), 0)
    frames = init
    if how == "busy":
        frames += b'["run",0,"j","c",{"busy":60},"t"]\n'
    command = LANGUAGES[language].command(permits=high)
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, frames.hex(), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=(high,),
    )
    os.close(high)
    os.close(permits)
    assert node.stdin is not None
    assert node.stdout is not None
    process = psutil.Process(int(node.stdout.readline()))
    assert node.stdout.readline() == "ready\n"
    node.send_signal(signal.SIGKILL)
    node.wait()
    node.stdin.close()
    node.stdout.close()
    until(lambda: is_gone(process))


def test_replies_are_written_at_once(warm: Warm) -> None:
    """A job is answered before the next one starts, even when both are in the pipe."""
    first, second = warm.send(), warm.send({"busy": 0.5})
    reply = warm.answer()
    assert isinstance(reply, Done)
    assert reply.job_id == first
    taken = warm.permits.take_back()
    assert taken == 0 or warm.process.poll() is None
    if taken == 0:
        assert warm.answer().job_id == second
