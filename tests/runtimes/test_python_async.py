"""An `async def main`: one warm loop, and nothing of a job left in it."""

from __future__ import annotations

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.harness import Warm

SOURCE = """
    import asyncio, contextlib, contextvars, gc, signal, sys
    DONE = []
    LOOPS = set()
    VAR = contextvars.ContextVar("VAR", default="unset")
    async def forever(name):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print(f"{name} cancelled")
            raise
    async def stubborn():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        raise ValueError("while cancelled")
    async def ticks():
        try:
            for n in range(100): yield n
        finally:
            print("closed")

    async def plain(): return 1
    async def loop():
        LOOPS.add(asyncio.get_running_loop()); return len(LOOPS)
    async def leave_tasks():
        KEEP = [asyncio.create_task(forever("a")), asyncio.create_task(stubborn())]
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())
    async def tasks(): return len(asyncio.all_tasks())
    async def leave_generator():
        async for n in ticks():
            if n == 2: return n
    async def timeout():
        try:
            async with asyncio.timeout(0.01): await asyncio.sleep(5)
        except TimeoutError: return "timed out"
    async def group():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, n)) for n in range(3)]
        return [task.result() for task in tasks]
    async def thread(): return await asyncio.to_thread(lambda: "from a thread")
    async def process():
        child = await asyncio.create_subprocess_exec("echo", "from a child")
        return await child.wait()
    async def server():
        async def echo(reader, writer):
            writer.write(await reader.readline()); writer.close()
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\\n")
            line = await reader.readline()
            writer.close()
            return line.decode()
    async def var():
        seen = VAR.get(); VAR.set("set"); return seen
    async def cancel_self():
        asyncio.current_task().cancel(); await asyncio.sleep(0)
    async def exits(): sys.exit(4)
    async def child_exits():
        await asyncio.create_task(exits())
    async def interrupted():
        signal.raise_signal(signal.SIGINT); await asyncio.sleep(5)
    async def stop(): asyncio.get_running_loop().stop(); await asyncio.sleep(0); return "went on"
    async def factories():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **k: asyncio.Task(coro, loop=loop, name="changed", **k))
        loop.set_exception_handler(lambda *a: None)
    async def settings():
        loop = asyncio.get_running_loop()
        return [loop.get_task_factory() is None, loop.get_exception_handler() is None, loop.is_running()]
    async def signal_handler():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    async def never_awaited(): plain(); gc.collect()

    async def main(what):
        return await globals()[what]()
"""


@pytest.fixture
def warm(python: Start) -> Warm:
    return python(SOURCE)


def test_the_loop_stays(warm: Warm) -> None:
    assert [warm.result({"what": "loop"}) for _ in range(3)] == [1, 1, 1]
    assert warm.result({"what": "plain"}) == 1


def test_what_a_job_leaves_in_the_loop_ends_with_it(warm: Warm) -> None:
    reply = warm.run({"what": "leave_tasks"})
    log = warm.log(reply)
    assert "a cancelled" in log
    assert "failed while it was cancelled" in log
    assert warm.result({"what": "tasks"}) == 1
    for _ in range(2):
        assert warm.printed({"what": "leave_generator"}) == "closed\n"
    assert warm.printed({"what": "tasks"}) == ""


@pytest.mark.parametrize(
    ("what", "result"),
    [
        ("timeout", "timed out"),
        ("group", [0, 1, 2]),
        ("thread", "from a thread"),
        ("process", 0),
        ("server", "hello\n"),
        ("var", "unset"),
        ("settings", [True, True, True]),
        ("stop", "went on"),
    ],
)
def test_asyncio_works_as_usual_in_every_job(warm: Warm, what: str, result: object) -> None:
    warm.result({"what": "factories"})
    warm.result({"what": "signal_handler"})
    assert [warm.result({"what": what}) for _ in range(2)] == [result, result]


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("cancel_self", "CancelledError"),
        ("exits", "SystemExit"),
        ("child_exits", "SystemExit"),
        ("interrupted", "KeyboardInterrupt"),
    ],
)
def test_what_would_end_the_loop_ends_the_job(warm: Warm, what: str, name: str) -> None:
    assert warm.error({"what": what})["name"] == name
    assert warm.result({"what": "plain"}) == 1
    assert warm.result({"what": "tasks"}) == 1


def test_other_ways_to_be_asynchronous(python: Start) -> None:
    assert python("async def work(a): return a\ndef main(a): return work(a)").result({"a": 1}) == 1
    warm = python("import asyncio\nasync def main():\n  yield 1\n  await asyncio.sleep(0)\n  yield 2")
    assert [warm.result() for _ in range(2)] == [[1, 2], [1, 2]]
    assert python("import asyncio\ndef main(): return asyncio.run(asyncio.sleep(0, 5))").result() == 5
