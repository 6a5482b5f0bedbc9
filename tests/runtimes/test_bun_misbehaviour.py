"""What user code may do in a Bun process without harming the engine or another job."""

from __future__ import annotations

import signal

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.harness import Warm, result_of

SOURCE = """
    import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
    import { exec, spawn, spawnSync } from "node:child_process";
    import { chdir } from "node:process";
    import { spawnSync as imported } from "bun";

    const later = (run: () => void) => { setTimeout(run, 3); };
    const inherit = { stdio: ["inherit", "inherit", "inherit"] } as const;
    const jobs: Record<string, () => unknown> = {
        async order() {
            console.log("a"); process.stdout.write("b\\n"); writeSync(1, "c\\n"); await Bun.write(Bun.stdout, "d\\n");
            console.error("e"); process.stderr.write("f\\n"); Bun.spawnSync(["echo", "g"], inherit); console.info("h");
            process.stdout.write(new Uint8Array([105, 10])); process.stdout.write("6a0a", "hex"); console.warn("k");
        },
        partial() { process.stdout.write("no newline"); },
        megabytes() { console.log("x".repeat(3_000_000)); },
        unawaited() { Bun.write(Bun.stdout, "unawaited"); Bun.write(Bun.stderr, Buffer.from("!")); },
        async writer() { const out = Bun.stdout.writer(); out.write("written"); await out.end(); },
        callback: () => new Promise((resolve) => process.stdout.write("called", () => resolve("back"))),
        end() { process.stdout.end("bye"); },
        destroy() { process.stdout.destroy(); process.stderr.destroy(); },
        close() { for (const fd of [0, 1, 2]) closeSync(fd); },
        closeAndOpen() { closeSync(1); openSync("/dev/null", "w"); },
        replaceWrite() { process.stdout.write = (() => true) as never; },
        replaceConsole() { console.log = console.error = console.info = () => {}; },
        async stdin() { let text = ""; for await (const chunk of process.stdin) text += chunk; return text; },
        stdinSync: () => readFileSync(0, "utf8"),
        chdir() { chdir("/"); },
        umask() { process.umask(0o777); },
        environ() { process.env.LEFT = "1"; delete process.env.PATH; process.env.HOME = "/changed"; },
        environReplace() { process.env = { A: "1" }; },
        environToken() { process.env.WM_TOKEN = "forged"; delete process.env.WM_JOB_ID; },
        exitCode() { process.exitCode = 5; },
        listeners() {
            process.removeAllListeners(); process.on("SIGTERM", () => {}); process.on("SIGINT", () => {});
            process.on("uncaughtException", () => process.abort());
        },
        state: () => [
            process.cwd(), process.umask(), process.env.LEFT, process.env.HOME, "PATH" in process.env,
            process.env.WM_JOB_ID, process.env.WM_TOKEN, process.exitCode ?? 0, process.listenerCount("SIGTERM"),
            spawnSync("sh", ["-c", "echo $LEFT-$HOME-$WM_JOB_ID-$WM_TOKEN-$(pwd)"]).stdout.toString(),
            imported(["sh", "-c", "echo $LEFT-$HOME-$WM_JOB_ID-$WM_TOKEN-$(pwd)"]).stdout.toString(),
            imported({ cmd: ["sh", "-c", "echo $WM_JOB_ID $X"], env: { X: "only" } }).stdout.toString(),
            readFileSync(0, "utf8"),
        ],
        exit() { process.exit(3); },
        async exitAsync() { await Bun.sleep(1); process.exit(0); },
        async exitCaught() { try { process.exit(3); } catch {} return 1; },
        exitTimer: () => new Promise(() => later(() => process.exit(4))),
        exitLater() { later(() => process.exit(1)); },
        throwLater() { later(() => { throw new Error("stray"); }); },
        rejectLater() { later(() => { Promise.reject(new Error("nobody")); }); },
        async rejectNow() { Promise.reject(new Error("nobody")); await Bun.sleep(1); return "ok"; },
        async wait() { await Bun.sleep(20); return "waited"; },
        loops() { let n = 0; later(() => { n += 1; console.log("ticked"); }); },
        abort() { process.abort(); },
        async kill() { process.kill(process.pid, "SIGKILL"); await Bun.sleep(1000); },
        realExit() { (process as any).reallyExit(6); },
        outlive: () => spawn("sleep", ["60"], { detached: true }).pid,
        async fds() {
            const list = ["sh", "-c", "ls -l /proc/self/fd | grep -c -e pipe: -e memfd"];
            const viaExec = await new Promise((resolve) => exec(list[2]!, (_, out) => resolve(out)));
            return [spawnSync("ls", ["/proc/self/fd"]).stdout.toString().split("\\n").length - 1, viaExec];
        },
        async shell() { return (await Bun.$`sh -c 'echo $WM_JOB_ID; ls /proc/self/fd | wc -l'`.text()).split("\\n"); },
        worker: () => new Promise((resolve, reject) => {
            const url = URL.createObjectURL(new Blob(["console.log('from a worker'); postMessage(1)"]));
            const worker = new Worker(url);
            worker.onmessage = (event) => { worker.terminate(); resolve(event.data); };
            worker.onerror = reject;
        }),
    };
    export function main(what: string) { return jobs[what]!(); }
"""

LINES = "".join(f"{letter}\n" for letter in "abcdefghijk")


@pytest.fixture
def warm(bun: Start) -> Warm:
    return bun(SOURCE)


def is_unharmed(warm: Warm) -> bool:
    reply = warm.run({"what": "order"})
    result_of(reply)
    return warm.log(reply) == LINES


@pytest.mark.parametrize(
    "what",
    [
        "end",
        "destroy",
        "close",
        "closeAndOpen",
        "replaceWrite",
        "replaceConsole",
        "chdir",
        "umask",
        "environ",
        "environReplace",
        "environToken",
        "exitCode",
        "listeners",
    ],
)
def test_what_a_job_changes_is_put_back_before_the_next(warm: Warm, what: str) -> None:
    before = warm.result({"what": "state"}, job="same")
    warm.run({"what": what})
    assert warm.result({"what": "state"}, job="same") == before
    assert is_unharmed(warm)


def test_output_keeps_its_order_whoever_writes_it(warm: Warm) -> None:
    assert is_unharmed(warm)
    assert warm.printed({"what": "partial"}) == "no newline"
    assert warm.printed({"what": "megabytes"}) == "x" * 3_000_000 + "\n"
    assert warm.printed({"what": "unawaited"}) == "unawaited!"
    assert warm.printed({"what": "writer"}) == "written"
    reply = warm.run({"what": "callback"})
    assert (result_of(reply), warm.log(reply)) == ("back", "called")
    assert is_unharmed(warm)


def test_standard_input_is_empty(warm: Warm) -> None:
    assert warm.result({"what": "stdin"}) == ""
    assert warm.result({"what": "stdinSync"}) == ""


@pytest.mark.parametrize(
    ("what", "code"), [("exit", "3"), ("exitAsync", "0"), ("exitCaught", "3"), ("exitTimer", "4")]
)
def test_process_exit_ends_the_job(warm: Warm, what: str, code: str) -> None:
    error = warm.error({"what": what})
    assert error["name"] == "ProcessExit"
    assert error["message"] == f"the script called process.exit({code})"
    assert is_unharmed(warm)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("exitLater", "ProcessExit: the script called process.exit(1)"),
        ("throwLater", "Error: stray"),
        ("rejectLater", "Error: nobody"),
    ],
)
def test_what_an_earlier_job_left_behind_fails_no_other(warm: Warm, what: str, text: str) -> None:
    warm.result({"what": what})
    reply = warm.run({"what": "wait"})
    assert result_of(reply) == "waited"
    assert text in warm.log(reply)
    assert is_unharmed(warm)


def test_a_rejection_nobody_handles_is_logged(warm: Warm) -> None:
    reply = warm.run({"what": "rejectNow"})
    assert result_of(reply) == "ok"
    assert "unhandled rejection outside of what main awaits: Error: nobody" in warm.log(reply)


def test_timers_go_on_between_and_during_jobs(warm: Warm) -> None:
    warm.result({"what": "loops"})
    assert warm.printed({"what": "wait"}) == "ticked\n"


@pytest.mark.parametrize(
    ("what", "code"), [("abort", -signal.SIGABRT), ("kill", -signal.SIGKILL), ("realExit", 6)]
)
def test_what_ends_the_process_ends_it_without_an_answer(warm: Warm, what: str, code: int) -> None:
    warm.send({"what": what})
    assert warm.death() == code


def test_children_work_and_inherit_nothing_private(warm: Warm) -> None:
    assert warm.result({"what": "outlive"}) > 0
    # 0, 1, 2 and the folder that is listed; of exec, only standard output and error are pipes or sockets.
    listed, by_exec = warm.result({"what": "fds"})
    assert listed == 4
    assert int(by_exec) <= 2
    job, fds, _ = warm.result({"what": "shell"}, job="in-shell")
    assert (job, fds) == ("in-shell", "4")
    assert is_unharmed(warm)


def test_a_worker_thread(warm: Warm) -> None:
    assert warm.result({"what": "worker"}) == 1
    assert is_unharmed(warm)
