"""What user code may do in a Python process without harming the engine or another job."""

from __future__ import annotations

import signal

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.harness import Warm, result_of

SOURCE = """
    import asyncio, atexit, builtins, contextvars, ctypes, decimal, io, os, pathlib, signal, subprocess
    import sys, threading, time, types, warnings, locale, gc, random

    KEPT = []

    def print_partial(): print("no newline", end="")
    def print_megabytes(): print("x" * 3_000_000)
    def write_1(): os.write(1, b"raw\\n")
    def c_puts(): ctypes.CDLL(None).printf(b"from C")
    def order():
        print("a"); os.write(1, b"b\\n"); print("c", file=sys.stderr); os.system("echo d"); print("e")
        subprocess.run(["echo", "f"]); ctypes.CDLL(None).puts(b"g"); print("h")
    def close_0(): os.close(0)
    def close_1(): os.close(1)
    def close_2(): os.close(2)
    def close_all():
        for fd in range(3): os.close(fd)
        KEPT.append([open("/dev/null", "w") for _ in range(3)])
    def close_stdout(): sys.stdout.close()
    def close_stderr(): sys.stderr.close()
    def close_stdin(): sys.stdin.close()
    def detach(): sys.stdout.detach()
    def replace_stdout(): sys.stdout = io.StringIO()
    def replace_all(): sys.stdout = sys.stderr = sys.stdin = None
    def wrap_stdout():
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, write_through=False)
        print("wrapped")
    def delete_stdout(): del sys.stdout
    def dup_over(): os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    def read_stdin(): return [sys.stdin.read(), os.read(0, 10).decode()]
    def input_(): return input()
    def chdir(): os.chdir("/")
    def umask(): os.umask(0o777)
    def environ():
        os.environ["LEFT"] = "1"; os.environ.pop("PATH"); os.environ["HOME"] = "/changed"
    def environ_clear(): os.environ.clear()
    def environ_replace(): os.environ = {"A": "1"}
    def environ_token(): os.environ["WM_TOKEN"] = "forged"; del os.environ["WM_JOB_ID"]
    def path():
        sys.path.insert(0, "/evil"); sys.path = ["/worse"]
    def argv(): sys.argv.append("x"); sys.argv = []
    def recursion(): sys.setrecursionlimit(5000)
    def hooks():
        sys.excepthook = sys.displayhook = threading.excepthook = sys.unraisablehook = lambda *a: None
    def handlers():
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *a: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    def alarm(): signal.alarm(1)
    def itimer(): signal.setitimer(signal.ITIMER_REAL, 0.02)
    def handled_alarm():
        def ring(*_): raise TimeoutError("rang")
        signal.signal(signal.SIGALRM, ring); signal.setitimer(signal.ITIMER_REAL, 0.01)
        time.sleep(5)
    def wait_a_bit(): time.sleep(0.06)
    def trace(): sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)
    def no_gc(): gc.disable()
    def context(): decimal.getcontext().prec = 3
    def asyncio_run(): return asyncio.run(asyncio.sleep(0, "slept"))
    def policy(): asyncio.set_event_loop(asyncio.new_event_loop())
    def thread():
        def later(event): event.wait(); print("from a thread")
        KEPT.append(threading.Event()); threading.Thread(target=later, args=KEPT[-1:], daemon=True).start()
    def let_thread():
        KEPT[-1].set()
        while any(t.name.endswith("(later)") for t in threading.enumerate()): time.sleep(0.001)
    def join_all():
        for t in threading.enumerate():
            if t is not threading.current_thread(): t.join()
        return threading.active_count()
    def thread_raises():
        t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()
    def exit_0(): sys.exit(0)
    def exit_text(): sys.exit("no good")
    def quit_(): raise SystemExit
    def interrupt(): raise KeyboardInterrupt
    def interrupt_self(): os.kill(os.getpid(), signal.SIGINT); time.sleep(5)
    def generator_exit(): raise GeneratorExit("why")
    class Odd(BaseException):
        def __str__(self): raise RuntimeError("no text")
    def odd(): raise Odd
    def os_exit(): os._exit(7)
    def segfault(): ctypes.string_at(0)
    def abort(): os.abort()
    def fork_returns():
        child = os.fork()
        if child == 0: print("in the child"); return "child"
        return os.waitpid(child, 0)[1]
    def fork_raises():
        child = os.fork()
        if child == 0: raise ValueError("in the child")
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    def fork_exits():
        child = os.fork()
        if child == 0: sys.exit(9)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    def outlive():
        return subprocess.Popen(["sleep", "60"]).pid
    def child_fds():
        return sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
    def subprocess_fds():
        return subprocess.check_output(["ls", "/proc/self/fd"], close_fds=False, text=True).split()
    def state():
        import tempfile
        return [
            os.getcwd(), sys.argv, [p for p in sys.path if "evil" in p or "worse" in p],
            os.environ.get("LEFT"), os.environ.get("HOME"), "PATH" in os.environ,
            sys.getrecursionlimit(), sys.gettrace() is None, sys.getprofile() is None, gc.isenabled(),
            decimal.getcontext().prec, sys.excepthook is sys.__excepthook__,
            threading.excepthook is threading.__excepthook__,
            [str(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP)],
            str(signal.getsignal(signal.SIGINT))[:20], str(signal.getsignal(signal.SIGPIPE)),
            os.umask(0o22), type(os.environ).__name__, sys.stdin.read(), signal.alarm(0),
            subprocess.check_output(["sh", "-c", "echo $LEFT-$HOME-$WM_JOB_ID-$WM_TOKEN-$(pwd)"], text=True),
        ]

    def main(what):
        return globals()[what]()
"""


@pytest.fixture
def warm(python: Start) -> Warm:
    return python(SOURCE)


def is_unharmed(warm: Warm) -> bool:
    reply = warm.run({"what": "order"})
    result_of(reply)
    return warm.log(reply) == "a\nb\nc\nd\ne\nf\ng\nh\n"


@pytest.mark.parametrize(
    "what",
    [
        "close_0",
        "close_1",
        "close_2",
        "close_all",
        "close_stdout",
        "close_stderr",
        "close_stdin",
        "detach",
        "replace_stdout",
        "replace_all",
        "delete_stdout",
        "dup_over",
        "chdir",
        "umask",
        "environ",
        "environ_clear",
        "environ_replace",
        "environ_token",
        "path",
        "argv",
        "recursion",
        "hooks",
        "handlers",
        "alarm",
        "trace",
        "no_gc",
        "context",
        "policy",
    ],
)
def test_what_a_job_changes_is_put_back_before_the_next(warm: Warm, what: str) -> None:
    before = warm.result({"what": "state"}, job="same")
    warm.result({"what": what})
    assert warm.result({"what": "state"}, job="same") == before
    assert is_unharmed(warm)


def test_output_keeps_its_order_whoever_writes_it(warm: Warm) -> None:
    assert is_unharmed(warm)
    assert warm.printed({"what": "print_partial"}) == "no newline"
    assert warm.printed({"what": "c_puts"}) == "from C"
    assert warm.printed({"what": "write_1"}) == "raw\n"
    assert warm.printed({"what": "wrap_stdout"}) == "wrapped\n"
    assert warm.printed({"what": "print_megabytes"}) == "x" * 3_000_000 + "\n"
    assert is_unharmed(warm)


def test_standard_input_is_empty(warm: Warm) -> None:
    assert warm.result({"what": "read_stdin"}) == ["", ""]
    assert warm.error({"what": "input_"})["name"] == "EOFError"
    assert warm.result({"what": "read_stdin"}) == ["", ""]


@pytest.mark.parametrize(
    ("what", "name", "message"),
    [
        ("exit_0", "SystemExit", "the script called sys.exit(0)"),
        ("exit_text", "SystemExit", "the script called sys.exit('no good')"),
        ("quit_", "SystemExit", "the script called sys.exit()"),
        ("interrupt", "KeyboardInterrupt", ""),
        ("interrupt_self", "KeyboardInterrupt", ""),
        ("generator_exit", "GeneratorExit", "why"),
        ("odd", "Odd", "<Odd whose text raised RuntimeError>"),
        ("handled_alarm", "TimeoutError", "rang"),
    ],
)
def test_what_would_end_a_program_ends_the_job(warm: Warm, what: str, name: str, message: str) -> None:
    error = warm.error({"what": what})
    assert (error["name"], error["message"]) == (name, message)
    assert f"in {what}" in error["stack"]
    assert is_unharmed(warm)


@pytest.mark.parametrize(
    ("what", "code"), [("os_exit", 7), ("segfault", -signal.SIGSEGV), ("abort", -signal.SIGABRT)]
)
def test_what_ends_the_process_ends_it_without_an_answer(warm: Warm, what: str, code: int) -> None:
    warm.send({"what": what})
    assert warm.death() == code
    if code < 0:
        assert f"in {what}" in warm.everything()  # where it happened, by faulthandler


def test_a_forked_child_never_answers(warm: Warm) -> None:
    reply = warm.run({"what": "fork_returns"})
    assert result_of(reply) == 0
    assert warm.log(reply) == "in the child\n"
    reply = warm.run({"what": "fork_raises"})
    assert result_of(reply) == 1
    assert "ValueError: in the child" in warm.log(reply)
    assert warm.result({"what": "fork_exits"}) == 9
    assert is_unharmed(warm)


def test_a_child_may_outlive_its_job(warm: Warm) -> None:
    assert warm.result({"what": "outlive"}) > 0
    assert is_unharmed(warm)


def test_no_private_descriptor_reaches_a_child(warm: Warm) -> None:
    # The fourth is the folder that `ls` lists.
    assert len(warm.result({"what": "subprocess_fds"})) == 4


def test_an_alarm_left_behind_does_not_ring_in_the_next_job(warm: Warm) -> None:
    warm.result({"what": "itimer"})
    assert warm.result({"what": "wait_a_bit"}) is None


def test_a_late_thread_prints_into_the_job_that_runs_then(warm: Warm) -> None:
    assert warm.printed({"what": "thread"}) == ""
    assert warm.printed({"what": "let_thread"}) == "from a thread\n"
    assert warm.result({"what": "join_all"}) == 1
    assert "ZeroDivisionError" in warm.printed({"what": "thread_raises"})
    assert is_unharmed(warm)


def test_asyncio_run_works_in_every_job(warm: Warm) -> None:
    for _ in range(3):
        assert warm.result({"what": "asyncio_run"}) == "slept"


def test_an_interrupt_between_jobs_is_ignored(warm: Warm) -> None:
    assert is_unharmed(warm)
    warm.process.send_signal(signal.SIGINT)
    assert is_unharmed(warm)


def test_the_memory_limit_is_an_error_of_the_script(python: Start) -> None:
    warm = python("def main(mb): return len(bytearray(mb << 20))", memory_mb=300)
    error = warm.error({"mb": 1000})
    assert error["name"] == "MemoryError"
    assert "memory limit" in error["message"]
    assert "in main" in error["stack"]
    assert warm.result({"mb": 10}) == 10 << 20


def test_the_environment_does_not_grow(python: Start) -> None:
    # glibc's setenv never frees a string: 20,000 jobs with 4 kB tokens would take 80 MB.
    warm = python(
        """
        import os, resource
        def main(): return [os.environ["WM_TOKEN"][-5:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
        """
    )
    _, before = warm.result(token="x" * 4000)
    token, last = "", 0
    for number in range(20_000):
        warm.send(token=f"{'x' * 4000}{number:05}")
        if number % 100 == 99:
            for _ in range(100):
                token, last = result_of(warm.answer())
    assert token == "19999"
    assert last - before < 16 * 1024


def test_what_keeps_a_standard_stream_can_use_it_in_the_next_job(python: Start) -> None:
    warm = python(
        """
        import io, logging, sys
        logging.basicConfig(format="%(message)s", level="INFO", stream=sys.stdout)
        def main(how):
            logging.info("logged")
            if how == "close": sys.stdout.close()
            if how == "wrap": io.TextIOWrapper(sys.stdout.buffer, "latin-1").write("wrapped")
            if how == "detach": io.TextIOWrapper(sys.stdout.detach(), "latin-1").write("detached")
            if how == "with":
                with sys.stdout: print("with")
        """
    )
    printed = [warm.printed({"how": how}) for how in ("close", "wrap", "detach", "with", "")]
    assert printed == ["logged\n", "logged\nwrapped", "logged\ndetached", "logged\nwith\n", "logged\n"]


def test_contexts_do_not_make_the_environment_grow(python: Start) -> None:
    warm = python(
        """
        import os, resource, subprocess
        def main(shown=False):
            text = subprocess.check_output(["sh", "-c", "echo $WM_FLOW_JOB_ID"], text=True) if shown else ""
            return [text[-6:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
        """
    )
    _, before = warm.result({"shown": True})
    replies = []
    for number in range(10_000):
        warm.context(WM_FLOW_JOB_ID=f"{'x' * 4000}{number:05}")
        warm.send({"shown": number == 9_999})
        if number % 100 == 99:
            replies = [warm.answer() for _ in range(100)]
    text, last = result_of(replies[-1])
    assert text == "09999\n"
    assert last - before < 16 * 1024
