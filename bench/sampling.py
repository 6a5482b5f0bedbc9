"""`--profile`: what everybody waits for, and, where py-spy is installed, who has the node's GIL."""

from __future__ import annotations

import collections
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.report import console
from bench.server import ROOT, Link

RATE = 200
LINES = 30
WAIT_SECONDS = 0.005
LEAST_SHARE = 0.01


class Waits:
    """Samples what the engine's backends wait for, from its making until `show`."""

    def __init__(self, dsn: str) -> None:
        self._link = Link(dsn, "bench waits")
        self._seen: collections.Counter[tuple[str, str]] = collections.Counter()
        self._rounds = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def show(self) -> None:
        """Print which share of the time each backend was in which state."""
        self._over.set()
        self._thread.join()
        self._link.close()
        console.print(f"[bold]backends[/] ({self._rounds} samples)")
        for (name, state), count in sorted(self._seen.items(), key=lambda item: (item[0][0], -item[1])):
            share = count / self._rounds
            if share >= LEAST_SHARE:
                console.print(f"  {share:6.1%}  {name}: {state}", highlight=False)

    def _sample(self) -> None:
        while not self._over.wait(WAIT_SECONDS):
            rows = self._link.execute(
                """
                select application_name,
                  case state when 'active' then 'active, ' || coalesce(wait_event, 'wants a core')
                  else state end
                from pg_stat_activity
                where datname = current_database() and application_name like 'mill %%'
                """
            ).fetchall()
            self._rounds += 1
            self._seen.update((name, state) for name, state in rows)


class Sampler:
    """From its making until `show`."""

    def __init__(self, pid: int, name: str) -> None:
        folder = ROOT / ".mill" / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        self._raw = folder / f"{name}-{int(time.time())}.folded"
        beside = Path(sys.executable).parent / "py-spy"
        program = str(beside) if beside.exists() else shutil.which("py-spy")
        self._popen: subprocess.Popen[bytes] | None = None
        if program is None:
            console.print("[yellow]py-spy is not installed: only CPU by process is shown[/]")
            return
        command = [
            program, "record", "--pid", str(pid), "--output", str(self._raw), "--format", "raw",
            "--rate", str(RATE), "--threads", "--gil", "--nonblocking",
        ]  # fmt: skip
        self._popen = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1.0)

    def show(self) -> None:
        """Print who held the GIL, by thread and by function."""
        if self._popen is None:
            return
        self._popen.send_signal(signal.SIGINT)
        self._popen.wait(30)
        if not self._raw.exists():
            console.print("[yellow]py-spy took no samples[/]")
            return
        threads: collections.Counter[str] = collections.Counter()
        functions: collections.Counter[str] = collections.Counter()
        for line in self._raw.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            frames = stack.split(";")
            thread = re.sub(r"\s*\(0x[0-9A-Fa-f]+\)|thread ", "", frames[0])
            threads[thread] += int(count)
            functions[f"{thread}: {frames[-1]}"] += int(count)
        total = sum(threads.values()) or 1
        console.print(f"[bold]with the GIL[/] ({total} samples; all of it: {self._raw})")
        for name, samples in [*threads.most_common(12), ("", 0), *functions.most_common(LINES)]:
            share = f"{samples / total:6.1%}" if name else ""
            console.print(f"  {share}  {name}", highlight=False, soft_wrap=True)
