"""Load on the API from a process of its own: keep-alive connections, raw HTTP/1.1, as little as can be.

    closed  N connections, each sends when its last answer is there
    open    so many a second whatever the answers do; times count from when a request was due
    hold    N connections send once and wait; says `held` on stdout, then how many were answered

Prints one JSON object: count, seconds, and the milliseconds of each answer, sorted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from urllib.parse import urlsplit


class Caller:
    """One connection."""

    def __init__(self, url: str, token: str, method: str, path: str) -> None:
        told = urlsplit(url)
        self._host, self._port = told.hostname or "", told.port or 80
        self._head = (
            f"{method} {path} HTTP/1.1\r\nHost: {told.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    def send(self, body: str) -> None:
        self._writer.write(f"{self._head}{len(body)}\r\n\r\n{body}".encode())

    async def answer(self) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 20"), head
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return await self._reader.readexactly(length)

    async def call(self, body: str) -> bytes:
        self.send(body)
        return await self.answer()

    def close(self) -> None:
        self._writer.close()


def body_of(number: int) -> str:
    """Return the arguments of a job: 100 bytes."""
    told = json.dumps({"number": 100_000_000 + number, "customer": "c-1", "note": ""})
    return json.dumps({"number": 100_000_000 + number, "customer": "c-1", "note": "x" * (100 - len(told))})


async def closed(callers: list[Caller], requests: int) -> tuple[float, list[float]]:
    numbers = iter(range(requests))
    times: list[float] = []

    async def work(caller: Caller) -> None:
        for number in numbers:
            began = time.perf_counter()
            await caller.call(body_of(number))
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*map(work, callers))
    return time.perf_counter() - began, times


async def steady(callers: list[Caller], requests: int, rate: float) -> tuple[float, list[float]]:
    began = time.perf_counter()
    numbers = iter(range(requests))
    times: list[float] = []

    async def work(caller: Caller) -> None:
        for number in numbers:
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await caller.call(body_of(number))
            times.append(time.perf_counter() - due)

    await asyncio.gather(*map(work, callers))
    return time.perf_counter() - began, times


async def hold(callers: list[Caller]) -> tuple[float, list[float]]:
    for number, caller in enumerate(callers):
        caller.send(body_of(number))
    print("held", flush=True)
    began = time.perf_counter()
    answers = await asyncio.gather(*[caller.answer() for caller in callers])
    for number, answer in enumerate(answers):
        assert json.loads(answer) == {"ok": True, "number": 100_000_000 + number}, answer
    return time.perf_counter() - began, [0.0] * len(answers)


async def main(told: argparse.Namespace) -> None:
    callers = [Caller(told.url, told.token, told.method, told.path) for _ in range(told.connections)]
    for start in range(0, len(callers), 200):
        await asyncio.gather(*[caller.open() for caller in callers[start : start + 200]])
    match told.kind:
        case "closed":
            seconds, times = await closed(callers, told.requests)
        case "open":
            seconds, times = await steady(callers, told.requests, told.rate)
        case _:
            seconds, times = await hold(callers)
    for caller in callers:
        caller.close()
    json.dump({"seconds": seconds, "ms": sorted(t * 1000.0 for t in times)}, sys.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["closed", "open", "hold"])
    parser.add_argument("url")
    parser.add_argument("path")
    parser.add_argument("--method", default="POST")
    parser.add_argument("--token", required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1000.0)
    asyncio.run(main(parser.parse_args()))
